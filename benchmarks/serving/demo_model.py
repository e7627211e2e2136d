"""The demo's model, which `make demo` protects: its archives, and payloads of its users."""

import argparse
import random
from collections.abc import Mapping
from pathlib import Path

from calpow.handler.model_archive import read_manifest

ROOT = Path(__file__).resolve().parents[2]
HOME = ROOT / "demo"
PROTECTED, UNPROTECTED = "digits", "unprotected"
ARCHIVE = ROOT / "model_store" / f"{PROTECTED}.mar"
USERS = HOME / "users"
SEED = 7
# On a server that runs several requests as one batch.
BATCH_SIZE, BATCH_DELAY_MILLISECONDS = 8, 2


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that name the archives and the payloads."""
    parser.add_argument("--victim", type=Path, default=HOME / "victim.mar", help="the .mar without protection")
    parser.add_argument("--archive", type=Path, default=ARCHIVE, help="the protected one")
    parser.add_argument("--payloads", type=Path, default=USERS, help="folder of honest users' PNG files")


def require(parser: argparse.ArgumentParser, *paths: Path) -> None:
    """End the program with a message where one of these files and folders is missing."""
    for path in paths:
        if not path.exists():
            parser.error(f"{path} does not exist: run make demo first")


def shuffled(folder: Path) -> list[bytes]:
    """Return every honest payload once, in random order."""
    files = sorted(folder.rglob("*.png"))
    random.Random(SEED).shuffle(files)
    return [file.read_bytes() for file in files]


def batching(name: str, archive: Path) -> Mapping[str, object]:
    """Return TorchServe's settings of a model with batches."""
    settings = {
        "defaultVersion": True,
        "marName": f"{name}.mar",
        "minWorkers": 1,
        "maxWorkers": 1,
        "batchSize": BATCH_SIZE,
        "maxBatchDelay": BATCH_DELAY_MILLISECONDS,
        "responseTimeout": 60,
    }
    return {str(read_manifest(archive)["modelVersion"]): settings}
