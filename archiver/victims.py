"""The victim as the owner's tools use it: opened outside any server, asked for tensors and for predictions."""

import contextlib
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import ts
from torch import Tensor
from ts.metrics.metric_cache_yaml_impl import MetricsCacheYamlImpl

from calpow.handler.config import file_sha256
from calpow.handler.victim import Surroundings, Victim, read_manifest


@dataclass(frozen=True)
class OpenVictim:
    """A victim in this process, and the SHA-256 of the archive it came from."""

    sha256: str
    victim: Victim

    @property
    def device(self) -> torch.device:
        """Where the victim runs."""
        return self.victim.device

    def preprocess(self, rows: Sequence[Mapping[str, object]]) -> Tensor:
        """The victim's input tensor for rows, one payload each, shape `[samples, ...]`. Raises BadPayload."""
        return torch.cat([self.victim.preprocess(row) for row in rows])

    def infer(self, inputs: Tensor) -> Tensor | None:
        """The victim's raw output, or None where its handler has no `inference`."""
        return self.victim.infer(inputs)


@contextlib.contextmanager
def open_victim(mar: Path, preprocess: str | None = None) -> Iterator[OpenVictim]:
    """Load a victim's `.mar` in this process; on leaving, the process is as it was.

    The working directory is the victim's meanwhile: make paths absolute first. `preprocess` is
    `FILE.py:FUNCTION`. Raises VictimError when the archive cannot be used.
    """
    mar = mar.resolve()
    read_manifest(mar)
    before_path, before_dir = list(sys.path), Path.cwd()
    before_environment = os.environ.get("PYTHONPATH")
    before_modules = set(sys.modules)
    home = Path(tempfile.mkdtemp(prefix="calpow-victim-"))
    chatter = logging.getLogger("ts")
    before_level = chatter.level
    try:
        # It warns of every optional accelerator that is not installed.
        chatter.setLevel(logging.ERROR)
        beside = home / mar.name
        beside.symlink_to(mar)
        if preprocess:
            source = Path(preprocess.partition(":")[0]).resolve()
            if source.is_file():
                shutil.copy(source, home)
        yield OpenVictim(file_sha256(mar), Victim.load(beside, home / "victim", _surroundings(mar), preprocess))
    finally:
        chatter.setLevel(before_level)
        os.chdir(before_dir)
        sys.path[:] = before_path
        _restore("PYTHONPATH", before_environment)
        _forget(home, set(sys.modules) - before_modules)
        shutil.rmtree(home, ignore_errors=True)


def _surroundings(mar: Path) -> Surroundings:
    metrics = MetricsCacheYamlImpl(config_file_path=str(Path(ts.__file__).parent / "configs" / "metrics.yaml"))
    metrics.initialize_cache()
    return Surroundings(mar.stem, 0 if torch.cuda.is_available() else None, 1, True, metrics)


def _restore(name: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value


def _forget(home: Path, modules: set[str]) -> None:
    """Drop the victim's modules, so that the next victim's of the same name are not taken for them."""
    for name in modules:
        file = getattr(sys.modules.get(name), "__file__", None)
        if file and Path(file).is_relative_to(home):
            del sys.modules[name]
