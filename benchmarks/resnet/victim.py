"""A resnet18 with TorchServe's image_classifier, and enlarged digits of scikit-learn as JPEG files: nothing is fetched.

The body has random weights; the last layer is fitted to its features by ridge regression.
"""

import json
import shutil
import subprocess
import sysconfig
import tempfile
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits
from torch import Tensor, nn
from ts.torch_handler.image_classifier import ImageClassifier

from benchmarks.resnet import NAME
from benchmarks.resnet.model import DigitsResNet

SEED = 0
SIDE = 256  # pixels
QUALITY = 92
TRAINING, USERS = 400, 300
TRAIN, HELD_OUT, SENT = "train", "held-out", "users"
# Of ridge regression, for features of unit deviation.
PENALTY = 20.0
BATCH = 8
LARGEST_VALUE = 16  # of the images as scikit-learn has them


def build(folder: Path, samples: int) -> Path:
    """Write the JPEG files below `folder`, `samples` of them to calibrate with, and the archive; return its path."""
    write_digits(folder, samples)
    files = sorted((folder / TRAIN).rglob("*.jpg"))
    network = fitted(files, torch.tensor([int(file.parent.name) for file in files]))
    return archive(network, folder)


def write_digits(folder: Path, samples: int) -> None:
    """Write the digits, in two random colours each, below `folder`: a folder for each part, and in it for each class.

    Held-out images beyond those of scikit-learn are images that are there already, in other colours.
    """
    rng = np.random.default_rng(SEED)
    bundle = load_digits()
    order = rng.permutation(len(bundle.target))
    parts = {TRAIN: order[:TRAINING], SENT: order[TRAINING : TRAINING + USERS]}
    parts[HELD_OUT] = np.resize(order[TRAINING + USERS :], samples)
    for part, numbers in parts.items():
        shutil.rmtree(folder / part, ignore_errors=True)
        for place, number in enumerate(numbers):
            of_class = folder / part / str(bundle.target[number])
            of_class.mkdir(parents=True, exist_ok=True)
            coloured(bundle.images[number], rng).save(of_class / f"{place:05d}.jpg", quality=QUALITY)


def coloured(image: NDArray[np.float64], rng: np.random.Generator) -> Image.Image:
    """Return a digit `[8, 8]`, enlarged, bright on a dark ground."""
    dark, bright = rng.integers(0, 64, 3), rng.integers(192, 256, 3)
    shares = (image / LARGEST_VALUE)[:, :, None]
    pixels = np.rint(dark + shares * (bright - dark)).astype(np.uint8)
    return Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.BICUBIC)


def fitted(files: list[Path], labels: Tensor) -> DigitsResNet:
    """Return a network whose last layer tells the classes of images, by what the random layers before it show."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        network = DigitsResNet()
        network.eval()
    last, network.fc = network.fc, nn.Identity()
    read = ImageClassifier.image_processing
    parts = []
    with torch.inference_mode():
        for start in range(0, len(files), BATCH):
            parts.append(network(torch.stack([read(Image.open(file)) for file in files[start : start + BATCH]])))
    features = torch.cat(parts).double()
    mean, deviation = features.mean(0), features.std(0) + 1e-6
    inputs = torch.cat([(features - mean) / deviation, torch.ones(len(features), 1, dtype=torch.double)], dim=1)
    # Six for the right class, so that the softmax is as sure as that of a trained network.
    targets = 6.0 * nn.functional.one_hot(labels, last.out_features).double()
    penalty = PENALTY * torch.eye(inputs.shape[1], dtype=torch.double)
    weights = torch.linalg.solve(inputs.T @ inputs + penalty, inputs.T @ targets)
    slopes = weights[:-1] / deviation[:, None]
    last.weight.data, last.bias.data = slopes.T.float().contiguous(), (weights[-1] - mean @ slopes).float()
    network.fc = last
    return network


def archive(network: DigitsResNet, folder: Path) -> Path:
    """Write the archive with the torch-model-archiver command of this Python; return its path."""
    command = shutil.which("torch-model-archiver", path=sysconfig.get_path("scripts"))
    if command is None:
        raise SystemExit("torch-model-archiver is missing: pip install 'calpow[owner]'")
    with tempfile.TemporaryDirectory() as scratch:
        weights, names = Path(scratch) / "resnet.pt", Path(scratch) / "index_to_name.json"
        torch.save(network.state_dict(), weights)
        names.write_text(json.dumps({str(digit): str(digit) for digit in range(10)}))
        arguments = {
            "--model-name": NAME,
            "--version": "1.0",
            "--model-file": Path(__file__).with_name("model.py"),
            "--serialized-file": weights,
            "--handler": "image_classifier",
            "--extra-files": names,
            "--export-path": folder,
        }
        flat = [str(part) for pair in arguments.items() for part in pair]
        subprocess.run([command, *flat, "--force"], check=True)
    return folder / f"{NAME}.mar"
