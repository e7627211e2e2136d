"""Checkpoints of a training, stored beside its output, from which an interrupted run continues."""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor


class Checkpoints:
    """Named tensors in a folder that belongs to one run, `OUTPUT.partial/FINGERPRINT`.

    The fingerprint covers everything that the run depends on, so that different runs never share checkpoints.
    """

    def __init__(self, output: Path, run: Mapping[str, object]) -> None:
        """`run` holds everything that determines the output, as values that JSON can store."""
        fingerprint = hashlib.sha256(json.dumps(run, sort_keys=True).encode()).hexdigest()[:16]
        self._folder = output.with_name(output.name + ".partial") / fingerprint
        self.resumes = self._folder.is_dir()
        self._folder.mkdir(parents=True, exist_ok=True)

    def load(self, name: str) -> dict[str, Tensor] | None:
        """Return the tensors saved under this name, or None when there are none or they cannot be read."""
        path = self._folder / f"{name}.pt"
        try:
            saved: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
        except FileNotFoundError:
            return None
        except Exception:  # torch.load raises whatever its zip and pickle readers raise; the work is done again
            return None
        return saved

    def save(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        """Save tensors under this name, atomically."""
        path = self._folder / f"{name}.pt"
        scratch = path.with_suffix(f".{os.getpid()}.tmp")
        torch.save(dict(tensors), scratch)
        scratch.replace(path)

    def remove(self) -> None:
        """Remove this run's folder, and its parent unless it holds the folder of another run."""
        shutil.rmtree(self._folder, ignore_errors=True)
        if not any(self._folder.parent.iterdir()):
            self._folder.parent.rmdir()
