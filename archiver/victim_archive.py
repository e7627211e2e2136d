"""Victims as the owner's tools use them: a private copy of the archive, opened in this process, without a server."""

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
from calpow.handler.errors import BadPayload, VictimError
from calpow.handler.model_archive import read_manifest
from calpow.handler.victim import LoadSettings, Pass, Victim
from calpow.handler.victim_failures import classify_failure


@dataclass(frozen=True)
class VictimArchive:
    """A private copy of a victim's `.mar`, and the SHA-256 of its bytes."""

    path: Path
    sha256: str


@dataclass(frozen=True)
class OpenVictim:
    """A victim loaded into this process, with the SHA-256 of its archive."""

    sha256: str
    victim: Victim

    @property
    def device(self) -> torch.device:
        """The device that the victim's model is on."""
        return self.victim.device

    def preprocess(self, rows: Sequence[Mapping[str, object]]) -> Tensor:
        """Return the inputs `[samples, ...]` that the model receives when the handler answers rows one by one.

        Raises BadPayload when the handler cannot answer a row, VictimError when the model is called with anything but
        batches of one tensor, and PricingUnavailable when memory or the device fails.
        """
        return torch.cat([_recorded_inputs(self.victim.run([row], [("calibration", {})])) for row in rows])

    def infer(self, inputs: Tensor) -> Tensor:
        """Return the raw output of the victim's model. Raises BadPayload."""
        return self.victim.infer(inputs)


def _recorded_inputs(done: Pass) -> Tensor:
    """Return the inputs of all the model's calls during a pass over one row, concatenated."""
    if done.error is not None:
        raise classify_failure(done.error, "answer" if done.recording.begun else "read") from done.error
    if not done.recording.calls:
        status = done.processors[0].get_response_status_code()
        if isinstance(status, int) and status >= 400:
            raise BadPayload(f"the handler refuses this payload, with status {status}")
        raise VictimError(
            "the victim's handler answers without a call of its model: it must call the model itself, self.model(...),"
            " not its forward, and no other model"
        )
    return torch.cat([_check_batch(call.inputs) for call in done.recording.calls])


def _check_batch(inputs: Tensor | None) -> Tensor:
    if inputs is None:
        raise VictimError(
            "the victim's model is asked with several tensors, or with none: only models of one tensor can be protected"
        )
    if inputs.layout != torch.strided or inputs.is_quantized or inputs.dim() < 2 or len(inputs) == 0:
        raise VictimError(
            f"the victim's model is asked with {inputs.dtype} of shape {tuple(inputs.shape)}: it must be asked with a"
            " dense batch [samples, ...]"
        )
    return inputs


@contextlib.contextmanager
def copy_victim(mar: Path) -> Iterator[VictimArchive]:
    """Context manager that copies a victim's `.mar` to a temporary folder and hashes the copy.

    What is loaded, measured and packaged within the block is the copy, whatever replaces the file meanwhile. Raises
    VictimError when the file is not a model archive.
    """
    mar = mar.resolve()
    read_manifest(mar)
    with tempfile.TemporaryDirectory(prefix="calpow-victim-") as folder:
        copy = Path(folder) / mar.name
        shutil.copyfile(mar, copy)
        yield VictimArchive(copy, file_sha256(copy))


@contextlib.contextmanager
def open_victim(mar: Path) -> Iterator[OpenVictim]:
    """Context manager that opens a private copy of a victim's `.mar`; see `open_copy`."""
    with copy_victim(mar) as archive, open_copy(archive) as victim:
        yield victim


@contextlib.contextmanager
def open_copy(archive: VictimArchive) -> Iterator[OpenVictim]:
    """Context manager that loads a victim into this process and restores the process afterwards.

    Within the block, the working directory is the victim's: make paths absolute beforehand. Raises VictimError when
    the archive cannot be used.
    """
    before_path, before_dir = list(sys.path), Path.cwd()
    before_environment = os.environ.get("PYTHONPATH")
    before_modules = set(sys.modules)
    home = Path(tempfile.mkdtemp(prefix="calpow-unpacked-"))
    # One warns about every optional accelerator that is not installed, the other logs failures with a traceback.
    loggers = [logging.getLogger("ts"), logging.getLogger("calpow.handler.victim")]
    before_levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        victim = Victim.load(archive.path, home / "victim", _surroundings(archive.path))
        yield OpenVictim(archive.sha256, victim)
    finally:
        for logger, level in zip(loggers, before_levels, strict=True):
            logger.setLevel(level)
        os.chdir(before_dir)
        sys.path[:] = before_path
        _restore("PYTHONPATH", before_environment)
        _forget(home, set(sys.modules) - before_modules)
        shutil.rmtree(home, ignore_errors=True)


def _surroundings(mar: Path) -> LoadSettings:
    metrics = MetricsCacheYamlImpl(config_file_path=str(Path(ts.__file__).parent / "configs" / "metrics.yaml"))
    metrics.initialize_cache()
    return LoadSettings(mar.stem, 0 if torch.cuda.is_available() else None, 1, True, metrics)


def _restore(name: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value


def _forget(home: Path, modules: set[str]) -> None:
    """Unload the victim's modules, so that another victim's modules of the same names can be imported."""
    for name in modules:
        file = getattr(sys.modules.get(name), "__file__", None)
        if file and Path(file).is_relative_to(home):
            del sys.modules[name]
