"""Victims as the owner's tools use them: a private copy of the archive, opened in this process, without a server."""

import contextlib
import io
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
from ts.metrics.metric_cache_yaml_impl import MetricsCacheYamlImpl

from calpow.archiver.archive_formats import archive_stem, copy_as_mar
from calpow.archiver.victim.fingerprint import fingerprint
from calpow.archiver.victim.load_failures import load_error
from calpow.handler.config import ENTRY_MODULE, file_sha256
from calpow.handler.errors import BadPayload, VictimError
from calpow.handler.leakage.recording import Call, Recorder
from calpow.handler.model_archive import read_manifest
from calpow.handler.victim import LoadSettings, Victim
from calpow.handler.victim_failures import classify_failure
from calpow.puzzle.errors import CalpowError

# TorchServe's own handlers of models that find things or write texts.
NO_CLASSIFIERS = ("object_detector", "image_segmenter", "vllm_handler", "trt_llm_handler")


@dataclass(frozen=True)
class VictimArchive:
    """A private copy of a victim's archive, as a `.mar`.

    source: the archive as its owner named it, for messages.
    sha256: of the copy's bytes.
    fingerprint: of the contents that determine the model's answers, see `calpow.archiver.victim.fingerprint`.
    """

    path: Path
    source: Path
    sha256: str
    fingerprint: str


@dataclass(frozen=True)
class OpenVictim:
    """A victim loaded into this process, with the fingerprint of its archive, which is a SHA-256."""

    fingerprint: str
    victim: Victim

    @property
    def device(self) -> torch.device:
        """The device that the victim's model is on."""
        return self.victim.device

    @property
    def recorder(self) -> Recorder:
        """The hooks on the victim's model."""
        return self.victim.recorder

    def calls(self, row: Mapping[str, object]) -> Sequence[Call]:
        """Return the model's calls when the handler answers a row.

        Raises BadPayload, with the handler's own words, when it cannot answer the row, VictimError when the model's
        calls cannot be followed, and PricingUnavailable when memory or the device fails.
        """
        done = self.victim.run([row], [("calibration", {})])
        if done.error is not None:
            raise _described(done.error, "answer" if done.recording.begun else "read") from done.error
        if not done.recording.calls:
            status = done.processors[0].get_response_status_code()
            if isinstance(status, int) and status >= 400:
                raise BadPayload(f"the handler refuses this payload, with status {status}")
            raise VictimError(
                "the victim's handler answers without a call of its model: it must call the model itself,"
                " self.model(...), not its forward, and no other model"
            )
        return done.recording.calls


def _described(error: Exception, verb: str) -> CalpowError:
    """Return the error of a handler that failed, with the text of what it raised: the owner may read it."""
    failure = classify_failure(error, verb)
    text = " ".join(str(error).split())
    return BadPayload(f"{failure}: {text}") if isinstance(failure, BadPayload) and text else failure


@contextlib.contextmanager
def copy_victim(mar: Path) -> Iterator[VictimArchive]:
    """Context manager that copies a victim's archive, of any format, to a `.mar` in a temporary folder and hashes it.

    What is loaded, measured and packaged within the block is the copy, whatever replaces the file meanwhile. Raises
    VictimError when the file is not a model archive, is protected already, or its handler is not a classifier's.
    """
    with tempfile.TemporaryDirectory(prefix="calpow-victim-") as folder:
        copy = Path(folder) / f"{archive_stem(mar)}.mar"
        copy_as_mar(mar, copy)
        _check_protectable(mar, read_manifest(copy, mar))
        yield VictimArchive(copy, mar, file_sha256(copy), fingerprint(copy))


def _check_protectable(mar: Path, manifest: Mapping[str, object]) -> None:
    """Raise VictimError for handlers that are known to be no classifier's."""
    handler = str(manifest["handler"])
    if Path(handler).stem == ENTRY_MODULE:
        raise VictimError(f"{mar} is protected already: give the victim's own .mar")
    if handler in NO_CLASSIFIERS:
        raise VictimError(
            f"{mar} is served by {handler}, which answers with more than one class a sample: only models that"
            " classify can be protected"
        )


@contextlib.contextmanager
def open_victim(mar: Path) -> Iterator[OpenVictim]:
    """Context manager that opens a private copy of a victim's `.mar`; see `open_copy`."""
    with copy_victim(mar) as archive, open_copy(archive) as victim:
        yield victim


def _check_numpy() -> None:
    """Raise VictimError when the torch of this process was built for an older NumPy than is installed."""
    try:
        torch.empty(0).numpy()
    except RuntimeError as error:
        raise VictimError(f"torch {torch.__version__} was built for NumPy 1: pip install 'numpy<2'") from error


@contextlib.contextmanager
def open_copy(archive: VictimArchive) -> Iterator[OpenVictim]:
    """Context manager that loads a victim into this process and restores the process afterwards.

    Within the block, the working directory is the victim's: make paths absolute beforehand. Raises VictimError when
    the archive cannot be used.
    """
    _check_numpy()
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
        victim = _load(archive, home / "victim")
        victim.keeps_frames = True  # for `calpow --debug`
        yield OpenVictim(archive.fingerprint, victim)
    finally:
        for logger, level in zip(loggers, before_levels, strict=True):
            logger.setLevel(level)
        os.chdir(before_dir)
        sys.path[:] = before_path
        _restore("PYTHONPATH", before_environment)
        _forget(home, set(sys.modules) - before_modules)
        shutil.rmtree(home, ignore_errors=True)


def _load(archive: VictimArchive, directory: Path) -> Victim:
    """Load the victim, with its output kept off the terminal. Raises VictimError, whatever its code raises."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            return Victim.load(archive.path, directory, _surroundings(archive.path))
    except CalpowError:
        raise
    except (Exception, SystemExit) as error:
        raise load_error(error, archive.path, archive.source.name) from error


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
