"""The victim as the owner's tools use it: opened outside any server, run on payloads and asked about tensors."""

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
from calpow.handler.victim import Pass, Surroundings, Victim, blame, read_manifest


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
        """What the model is asked when the handler answers rows one by one, shape `[samples, ...]`.

        Raises BadPayload when the handler cannot answer a row, VictimError when the model is asked otherwise than with
        batches of one tensor, and PricingUnavailable when memory or the device gives out.
        """
        return torch.cat([_asked(self.victim.run([row], [("calibration", {})])) for row in rows])

    def infer(self, inputs: Tensor) -> Tensor:
        """The raw output of the victim's model. Raises BadPayload."""
        return self.victim.infer(inputs)


def _asked(done: Pass) -> Tensor:
    """The inputs of the model's calls during a pass over one row, joined."""
    if done.error is not None:
        raise blame(done.error, "answer" if done.recording.begun else "read") from done.error
    if not done.recording.calls:
        status = done.processors[0].get_response_status_code()
        if isinstance(status, int) and status >= 400:
            raise BadPayload(f"the handler refuses this payload, with status {status}")
        raise VictimError(
            "the victim's handler answers without a call of its model: it must call the model itself, self.model(...),"
            " not its forward, and no other model"
        )
    return torch.cat([_batch(call.inputs) for call in done.recording.calls])


def _batch(inputs: Tensor | None) -> Tensor:
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
def open_victim(mar: Path) -> Iterator[OpenVictim]:
    """Load a victim's `.mar` in this process; on leaving, the process is as it was.

    The working directory is the victim's meanwhile: make paths absolute first. Raises VictimError when the archive
    cannot be used.
    """
    mar = mar.resolve()
    read_manifest(mar)
    before_path, before_dir = list(sys.path), Path.cwd()
    before_environment = os.environ.get("PYTHONPATH")
    before_modules = set(sys.modules)
    home = Path(tempfile.mkdtemp(prefix="calpow-victim-"))
    # One warns of every optional accelerator that is not installed, the other of each failure, with its traceback.
    chatter = [logging.getLogger("ts"), logging.getLogger("calpow.handler.victim")]
    before_levels = [each.level for each in chatter]
    try:
        for each in chatter:
            each.setLevel(logging.ERROR)
        beside = home / mar.name
        beside.symlink_to(mar)
        yield OpenVictim(file_sha256(mar), Victim.load(beside, home / "victim", _surroundings(mar)))
    finally:
        for each, level in zip(chatter, before_levels, strict=True):
            each.setLevel(level)
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
