"""What a training has done so far, beside its output: an interrupted run goes on from there."""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor


class Checkpoints:
    """Tensors by name in a folder that belongs to one run: `OUTPUT.partial/FINGERPRINT`.

    The fingerprint stands for everything the run depends on, so that runs never mix.
    """

    def __init__(self, output: Path, run: Mapping[str, object]) -> None:
        """`run` is everything that decides what the run makes, as JSON can hold it."""
        fingerprint = hashlib.sha256(json.dumps(run, sort_keys=True).encode()).hexdigest()[:16]
        self._folder = output.with_name(output.name + ".partial") / fingerprint
        self.resumes = self._folder.is_dir()
        self._folder.mkdir(parents=True, exist_ok=True)

    def load(self, name: str) -> dict[str, Tensor] | None:
        """What was saved under this name; None where there is nothing, or nothing that can be read."""
        path = self._folder / f"{name}.pt"
        try:
            saved: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
        except FileNotFoundError:
            return None
        except Exception:  # torch.load raises what its readers of zip and pickle raise; the work is done again
            return None
        return saved

    def save(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        """Save under this name, whole or not at all."""
        path = self._folder / f"{name}.pt"
        scratch = path.with_suffix(f".{os.getpid()}.tmp")
        torch.save(dict(tensors), scratch)
        scratch.replace(path)

    def remove(self) -> None:
        """Remove this run's folder, and the folder above when no other run's is in it."""
        shutil.rmtree(self._folder, ignore_errors=True)
        if not any(self._folder.parent.iterdir()):
            self._folder.parent.rmdir()
