"""The victim of one seed, its teachers and its reference points, written once by the owner's commands to a folder."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from tqdm import tqdm

from benchmarks.fashion.data import load, tensor, write_training_folder
from benchmarks.fashion.model import MnistNet
from calpow.archiver.reference_set import ReferenceOrder, write_reference_set
from calpow.archiver.teachers import training

HERE = Path(__file__).resolve().parent
EPOCHS = 4
BATCH = 128
TEACHERS = 250
K = 250


@dataclass(frozen=True)
class Home:
    """Where everything is kept: a folder for all seeds, below which each has its own."""

    folder: Path
    seed: int

    @property
    def train(self) -> Path:
        """The training images, a folder a class."""
        return self.folder / "train"

    @property
    def victim(self) -> Path:
        """The victim's archive."""
        return self._own / "victim.mar"

    @property
    def weights(self) -> Path:
        """The victim's trained weights."""
        return self._own / "victim.pth"

    @property
    def ensemble(self) -> Path:
        """The default teachers."""
        return self._own / "teachers.pt"

    @property
    def independent(self) -> Path:
        """The paper's teachers."""
        return self._own / "independent.pt"

    @property
    def neighbours(self) -> Path:
        """The reference points of pknn."""
        return self._own / "neighbours.pt"

    @property
    def _own(self) -> Path:
        return self.folder / f"seed-{self.seed}"


def build(home: Home) -> None:
    """Make what is missing. Raises the CalpowError of whichever part cannot be made."""
    home.victim.parent.mkdir(parents=True, exist_ok=True)
    if not home.weights.is_file():
        _save(train(home.seed), home.weights)
    if not home.victim.is_file():
        archive(home)
    write_training_folder(home.train)
    if not home.ensemble.is_file():
        training.train(training.TeacherOrder(home.victim, home.train, home.ensemble, TEACHERS, seed=home.seed))
    if not home.neighbours.is_file():
        write_reference_set(ReferenceOrder(home.victim, home.train, home.neighbours, K))


def build_independent(home: Home) -> None:
    """Train the paper's 250 independent networks, which takes about ten minutes."""
    if not home.independent.is_file():
        order = training.TeacherOrder(home.victim, home.train, home.independent, TEACHERS, "none", seed=home.seed)
        training.train(order)


def train(seed: int) -> MnistNet:
    """A network fitted to the 60,000 training images."""
    images = load("train")
    inputs, labels = tensor(images.images), torch.from_numpy(images.labels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = MnistNet()
        optimizer = torch.optim.Adam(network.parameters())
        batches = [batch for _ in range(EPOCHS) for batch in torch.split(torch.randperm(len(inputs)), BATCH)]
        for batch in tqdm(batches, "victim", unit="batch", disable=None):
            loss = nn.functional.cross_entropy(network(inputs[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch
            optimizer.step()
    return network.eval()


def archive(home: Home) -> None:
    """Write the victim's archive with the stock torch-model-archiver."""
    arguments = {
        "--model-name": home.victim.stem,
        "--version": "1.0",
        "--model-file": HERE / "model.py",
        "--serialized-file": home.weights,
        "--handler": HERE / "handler.py",
        "--export-path": home.victim.parent,
    }
    flat = [str(part) for pair in arguments.items() for part in pair]
    code = "from model_archiver.model_packaging import generate_model_archive as main; main()"
    subprocess.run([sys.executable, "-c", code, *flat, "--force"], check=True)


def _save(network: MnistNet, path: Path) -> None:
    scratch = path.with_suffix(f".{os.getpid()}")
    torch.save(network.state_dict(), scratch)
    scratch.replace(path)
