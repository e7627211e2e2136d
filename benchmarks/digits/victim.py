"""Train the victim on victim-train and archive it with the stock torch-model-archiver.

    python benchmarks/digits/victim.py --out DIR

leaves DIR/victim.mar beside the folders that data.py writes.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

if not __package__:  # run by its path: the sibling modules are found from the repository's root
    sys.path.append(str(Path(__file__).resolve().parents[2]))

from benchmarks.digits.data import write_splits
from benchmarks.digits.handler import read_digit
from benchmarks.digits.model import DigitNet

HERE = Path(__file__).resolve().parent
MODEL_NAME = "victim"
SEED = 0
EPOCHS = 12
BATCH = 64
PEAK_LEARNING_RATE = 4e-3


@dataclass(frozen=True)
class Trained:
    """The trained network and its accuracy on the originals and copies of the users' split."""

    network: DigitNet
    accuracy: float


def read_split(folder: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Every PNG below `folder`, in the order of the paths -> images [n, 1, 8, 8] and labels int64 [n]."""
    files = sorted(folder.rglob("*.png"))
    images = torch.stack([read_digit(file.read_bytes()) for file in files])
    return images, torch.tensor([int(file.relative_to(folder).parts[0]) for file in files])


def train(images: torch.Tensor, labels: torch.Tensor) -> DigitNet:
    """A network fitted to images [n, 1, 8, 8], the same in every run with the same number of threads."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        network = DigitNet()
        optimizer = torch.optim.Adam(network.parameters())
        steps = EPOCHS * -(-len(images) // BATCH)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_LEARNING_RATE, total_steps=steps)
        for _ in range(EPOCHS):
            for batch in torch.split(torch.randperm(len(images)), BATCH):
                loss = nn.functional.cross_entropy(network(images[batch]), labels[batch])
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]  # torch
                optimizer.step()
                schedule.step()
    return network.eval()


def accuracy(network: DigitNet, images: torch.Tensor, labels: torch.Tensor) -> float:
    """The share of images that get their own label."""
    with torch.inference_mode():
        return float((network(images).argmax(dim=1) == labels).double().mean())


def archive(network: DigitNet, out: Path) -> Path:
    """Write out/victim.mar with the torch-model-archiver command of this Python."""
    command = shutil.which("torch-model-archiver", path=sysconfig.get_path("scripts"))
    if command is None:
        raise SystemExit("torch-model-archiver is missing: pip install 'calpow[owner]'")
    with tempfile.TemporaryDirectory() as scratch:
        weights = Path(scratch) / "digits.pt"
        torch.save(network.state_dict(), weights)
        arguments = {
            "--model-name": MODEL_NAME,
            "--version": "1.0",
            "--model-file": HERE / "model.py",
            "--serialized-file": weights,
            "--handler": HERE / "handler.py",
            "--export-path": out,
        }
        flat = [str(part) for pair in arguments.items() for part in pair]
        subprocess.run([command, *flat, "--force"], check=True)
    return out / f"{MODEL_NAME}.mar"


def build(out: Path) -> Trained:
    """Write the splits and out/victim.mar."""
    folders = write_splits(out)
    network = train(*read_split(folders["victim-train"]))
    archive(network, out)
    return Trained(network, accuracy(network, *read_split(folders["users"])))


def main() -> None:
    """Build the victim where --out says."""
    parser = argparse.ArgumentParser(description="Train and archive a victim for scikit-learn's digits.")
    parser.add_argument("--out", type=Path, required=True, help="folder for the splits and victim.mar")
    out = parser.parse_args().out
    trained = build(out)
    print(f"{out / 'victim.mar'}: {trained.accuracy:.2%} of the users' digits are read right")


if __name__ == "__main__":
    main()
