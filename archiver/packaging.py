"""Packaging of a victim, its teachers and its calibration into a protected `.mar`."""

import math
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import yaml
from model_archiver.model_archiver_config import ModelArchiverConfig
from model_archiver.model_archiver_error import ModelArchiverError
from model_archiver.model_packaging import generate_model_archive

import calpow.handler
import calpow.puzzle
from calpow.archiver.errors import ArchiveError
from calpow.archiver.victim.victim_archive import VictimArchive, copy_victim, open_copy
from calpow.handler.archive_parts import check_files, load_parts
from calpow.handler.config import (
    CALIBRATION_FILE,
    ENSEMBLE_FILE,
    ENTRY_MODULE,
    EXPLANATION_FACTOR,
    FILE,
    MOST_BYTES,
    MOST_PIXELS,
    MOST_SAMPLES,
    NEIGHBOURS_FILE,
    OLDEST_TORCH,
    SCHEMA,
    VICTIM_FILE,
    GateConfig,
    Mode,
    file_sha256,
)
from calpow.handler.errors import GateMisconfigured
from calpow.handler.identity.ways import IdentityWay
from calpow.handler.leakage.teachers.ensemble import Ensemble
from calpow.handler.ledger.uri import holds_password, open_ledger, without_password
from calpow.handler.model_archive import read_whole_manifest
from calpow.handler.policy.calibration_file import load_policy

ENTRY = '''"""The handler that TorchServe loads: the gate in front of the embedded victim."""

try:
    from calpow.handler.torchserve import GateHandler
except ModuleNotFoundError as missing:
    raise SystemExit(
        f"calpow: a worker needs {missing.name}, which is not installed beside TorchServe: pip install {missing.name}"
    ) from None


class CalpowGate(GateHandler):
    """TorchServe wants exactly one class defined in a handler's own module."""
'''
ROOMS = ("puzzle", "handler")
# Settings of workers under which a request is not one call of one handler, which the gate cannot guard.
UNGUARDABLE = ("asyncCommunication", "continuousBatching", "sequenceBatching", "parallelType")
_SQLITE = "sqlite:///"
# What model_archiver takes for the name of a model, which is that of a file, too. It lets a line break pass at the end.
_MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*", re.ASCII)
# Runtimes of handlers in Python.
_RUNTIMES = ("python", "python3")


@dataclass(frozen=True)
class ArchiveOrder:
    """The parts and settings of a protected archive, and where to write it.

    model_name, version: by default those of the victim.
    max_samples: the most samples that a request may hold.
    max_bytes, max_pixels: the most bytes of a request, and pixels of its images; 0 is no limit.
    explanation_factor: the price of an explanation in predictions; 0 refuses explanations.
    identity: the ways in which requests may show their identity, see IdentityWay.
    """

    victim: Path
    ensemble: Path | None
    calibration: Path
    export_path: Path
    model_name: str | None = None
    neighbours: Path | None = None
    version: str | None = None
    ledger: str | None = None
    max_samples: int = MOST_SAMPLES
    max_bytes: int = MOST_BYTES
    max_pixels: int = MOST_PIXELS
    explanation_factor: float = EXPLANATION_FACTOR
    mode: str = "enforce"
    records: str | None = None
    identity: tuple[str, ...] = (IdentityWay.key.value,)
    force: bool = False

    @property
    def parts(self) -> dict[str, Path]:
        """The files that scores need, by their names in the archive."""
        given = {ENSEMBLE_FILE: self.ensemble, NEIGHBOURS_FILE: self.neighbours}
        return {name: path for name, path in given.items() if path is not None}


def build(order: ArchiveOrder) -> Path:
    """Check that the parts fit each other, write the archive and return its path.

    Raises ArchiveError, GateMisconfigured, VictimError, CalibrationError or EnsembleError.
    """
    _check_settings(order)
    _check_paths(order)
    with copy_victim(order.victim) as victim:
        return write_archive(_for_workers(order), victim)


def write_archive(order: ArchiveOrder, victim: VictimArchive) -> Path:
    """Write the archive that an order describes around a copy of its victim, and return the archive's path.

    Raises the errors of `build`.
    """
    manifest = read_whole_manifest(victim.path)
    section = cast("Mapping[str, object]", manifest["model"])
    name = order.model_name or str(section.get("modelName") or victim.path.stem)
    runtime = str(manifest.get("runtime") or "python")
    _check_manifest(victim, name, runtime)
    target = order.export_path / f"{name}.mar"
    _check_target(order, target)
    with tempfile.TemporaryDirectory(prefix="calpow-archive-") as scratch:
        stage = Path(scratch) / "stage"
        carried = Path(scratch) / "carried"
        stage.mkdir()
        carried.mkdir()
        _stage_parts(order, victim, stage)
        _stage_code(stage)
        entry = carried / f"{ENTRY_MODULE}.py"
        entry.write_text(ENTRY)
        _make_folder(order.export_path)
        _package(
            ModelArchiverConfig(
                model_name=name,
                handler=str(entry),
                version=order.version or str(section.get("modelVersion") or "1.0"),
                extra_files=str(stage),
                export_path=str(order.export_path),
                force=order.force,
                runtime=runtime,
                requirements_file=_carry(victim, section.get("requirementsFile"), carried, stage),
                config_file=_carry(victim, section.get("configFile"), carried, stage),
            ),
            carried,
        )
    return target


def _for_workers(order: ArchiveOrder) -> ArchiveOrder:
    """Return the order with absolute paths where workers read them, because each runs in a folder of its own."""
    ledger = order.ledger
    if ledger is not None and ledger.startswith(_SQLITE) and not ledger.startswith((f"{_SQLITE}/", f"{_SQLITE}~")):
        ledger = f"{_SQLITE}{Path(ledger.removeprefix(_SQLITE)).absolute()}"
    records = order.records
    if records is not None and not records.startswith("~"):
        records = str(Path(records).absolute())
    return replace(order, ledger=ledger, records=records)


def _check_paths(order: ArchiveOrder) -> None:
    if not order.victim.exists():
        raise ArchiveError(f"{order.victim} does not exist: give the victim's .mar")
    for path in (*order.parts.values(), order.calibration):
        if not path.is_file():
            raise ArchiveError(f"{path} does not exist: give the file that its command wrote")
    if order.export_path.exists() and not order.export_path.is_dir():
        raise ArchiveError(f"{order.export_path} is a file: give a folder as --export-path")


def _check_manifest(victim: VictimArchive, name: str, runtime: str) -> None:
    if not _MODEL_NAME.fullmatch(name):
        raise ArchiveError(f"{name!r} is no name of a model: give one of letters, digits, _ . and - as --model-name")
    if runtime not in _RUNTIMES:
        raise ArchiveError(f"{victim.source} needs the runtime {runtime!r}: only handlers in Python can be protected")


def _check_target(order: ArchiveOrder, target: Path) -> None:
    if target.exists() and not order.force:
        raise ArchiveError(f"{target} already exists: give --force to overwrite it")
    if target.resolve() == order.victim.resolve():
        raise ArchiveError(f"{target} is the victim itself: give another --model-name or --export-path")


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ArchiveError(f"cannot make the folder {path}: {error.strerror}") from None


def _check_settings(order: ArchiveOrder) -> None:
    if order.records is not None and order.mode != "observe":
        raise ArchiveError("--records is for --mode observe: leave it out, or observe")
    if order.ledger is not None:
        open_ledger(order.ledger)
        if holds_password(order.ledger):
            raise ArchiveError(
                f"the archive would hold the password of {without_password(order.ledger)}: leave --ledger out, and give"
                " the URI to the workers as CALPOW_LEDGER"
            )
    if order.max_samples < 1:
        raise ArchiveError(f"--max-samples {order.max_samples}: give at least 1, or every request is refused")
    for option, most in (("--max-bytes", order.max_bytes), ("--max-pixels", order.max_pixels)):
        if most < 0:
            raise ArchiveError(f"{option} {most}: give at least 1, or 0 for no limit")
    if order.explanation_factor != 0 and not 1 <= order.explanation_factor < math.inf:
        raise ArchiveError(
            f"--explanation-factor {order.explanation_factor:g}: give at least 1, or 0 to refuse explanations"
        )


def _stage_parts(order: ArchiveOrder, victim: VictimArchive, stage: Path) -> None:
    """Copy the parts, write the gate's settings, and check all of it as a worker does when it loads the archive."""
    shutil.copyfile(victim.path, stage / VICTIM_FILE)
    for name, path in order.parts.items():
        shutil.copyfile(path, stage / name)
    shutil.copyfile(order.calibration, stage / CALIBRATION_FILE)
    settings = GateConfig(
        schema=SCHEMA,
        victim_sha256=victim.sha256,
        victim_fingerprint=victim.fingerprint,
        parts={name: file_sha256(stage / name) for name in order.parts},
        calibration_sha256=file_sha256(stage / CALIBRATION_FILE),
        ledger=order.ledger,
        max_samples=order.max_samples,
        max_bytes=order.max_bytes,
        max_pixels=order.max_pixels,
        torch=needed_torch(order.ensemble),
        explanation_factor=order.explanation_factor,
        mode=Mode(order.mode),
        records=order.records,
        identity=tuple(way for way in IdentityWay if way.value in order.identity),
    )
    (stage / FILE).write_text(settings.to_json())
    try:
        check_files(load_policy(order.calibration), settings)
    except GateMisconfigured as error:
        raise GateMisconfigured(f"{order.calibration}: {error}") from error
    with open_copy(victim) as opened:
        load_parts(stage, opened.victim, GateConfig.read(stage))


def needed_torch(ensemble: Path | None) -> str:
    """Return the oldest torch that serves an archive with these teachers, major and minor: `2.0`.

    torch.export promises only that programs run on the version that exported them. Raises EnsembleError.
    """
    exported = Ensemble.load(ensemble).card.torch if ensemble else ""
    return ".".join(exported.split(".")[:2]) or OLDEST_TORCH


def _stage_code(stage: Path) -> None:
    """Copy our own rooms, so that the archive runs on a TorchServe with nothing else installed."""
    for room, package in zip(ROOMS, (calpow.puzzle, calpow.handler), strict=True):
        source = Path(package.__path__[0])
        for file in sorted(source.rglob("*.py")):
            copy = stage / "calpow" / room / file.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)


def _package(settings: ModelArchiverConfig, scratch: Path) -> None:
    if settings.config_file:
        _check_guardable(Path(settings.config_file))
    try:
        with _private_tempdir(scratch):
            generate_model_archive(settings)
    except ModelArchiverError as problem:
        raise ArchiveError(" ".join(str(problem).split())) from problem


def _carry(victim: VictimArchive, name: object, carried: Path, stage: Path) -> str | None:
    """Copy a file that TorchServe reads from the outer archive only out of the victim's archive; return its path.

    There it lies beside what is staged and carried already, and must have another name.
    """
    if not isinstance(name, str):
        return None
    with zipfile.ZipFile(victim.path) as archive:
        try:
            content = archive.read(name)
        except KeyError:
            raise ArchiveError(
                f"{victim.source} names {name} in its manifest but does not hold it: archive it again"
            ) from None
    copy = carried / Path(name).name
    if copy.exists() or (stage / copy.name).exists():
        raise ArchiveError(
            f"{victim.source} holds {name}, and a protected archive has a file of this name, too: rename it"
        )
    copy.write_bytes(content)
    return str(copy)


def _check_guardable(config: Path) -> None:
    try:
        settings = yaml.safe_load(config.read_text()) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as problem:
        raise ArchiveError(f"the victim's {config.name} is not YAML: {' '.join(str(problem).split())}") from problem
    for name in UNGUARDABLE:
        if isinstance(settings, dict) and settings.get(name):
            raise GateMisconfigured(
                f"the victim's {config.name} sets {name}, with which one request is not one call of its handler:"
                " a gate cannot guard that"
            )


@contextmanager
def _private_tempdir(directory: Path) -> Iterator[None]:
    """Give model_archiver a temporary folder of its own: it stages under the model's name, and clears that first."""
    before = tempfile.tempdir
    tempfile.tempdir = str(directory / "staging")
    Path(tempfile.tempdir).mkdir()
    try:
        yield
    finally:
        tempfile.tempdir = before
