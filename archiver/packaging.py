"""Packaging of a victim, its teachers and its calibration into a protected `.mar`."""

import math
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml
from model_archiver.model_archiver_config import ModelArchiverConfig
from model_archiver.model_archiver_error import ModelArchiverError
from model_archiver.model_packaging import generate_model_archive

import calpow.handler
import calpow.puzzle
from calpow.archiver.errors import ArchiveError
from calpow.archiver.victim_archive import VictimArchive, copy_victim, open_copy
from calpow.handler.archive_parts import load_parts
from calpow.handler.config import (
    CALIBRATION_FILE,
    ENSEMBLE_FILE,
    EXPLANATION_FACTOR,
    FILE,
    MOST_SAMPLES,
    NEIGHBOURS_FILE,
    SCHEMA,
    VICTIM_FILE,
    GateConfig,
    Mode,
    file_sha256,
)
from calpow.handler.errors import GateMisconfigured
from calpow.handler.ledger.uri import shared_uri
from calpow.handler.model_archive import read_manifest
from calpow.handler.observe.records import shared_path

ENTRY_MODULE = "calpow_gate_entry"
ENTRY = '''"""The handler that TorchServe loads: the gate in front of the embedded victim."""

from calpow.handler.torchserve import GateHandler


class CalpowGate(GateHandler):
    """TorchServe wants exactly one class defined in a handler's own module."""
'''
ROOMS = ("puzzle", "handler")
# Settings of workers under which a request is not one call of one handler, which the gate cannot guard.
UNGUARDABLE = ("asyncCommunication", "continuousBatching", "sequenceBatching", "parallelType")


@dataclass(frozen=True)
class ArchiveOrder:
    """The parts and settings of a protected archive, and where to write it.

    max_samples: the most samples that a request may hold.
    explanation_factor: the price of an explanation in predictions; 0 refuses explanations.
    """

    victim: Path
    ensemble: Path | None
    calibration: Path
    export_path: Path
    model_name: str
    neighbours: Path | None = None
    version: str | None = None
    ledger: str | None = None
    max_samples: int = MOST_SAMPLES
    explanation_factor: float = EXPLANATION_FACTOR
    mode: str = "enforce"
    records: str | None = None
    force: bool = False

    @property
    def parts(self) -> dict[str, Path]:
        """The files that scores need, by their names in the archive."""
        given = {ENSEMBLE_FILE: self.ensemble, NEIGHBOURS_FILE: self.neighbours}
        return {name: path for name, path in given.items() if path is not None}

    @property
    def target(self) -> Path:
        """The path of the archive."""
        return self.export_path / f"{self.model_name}.mar"


def build(order: ArchiveOrder) -> Path:
    """Check that the parts fit each other, write the archive and return its path.

    Raises ArchiveError, GateMisconfigured, VictimError, CalibrationError or EnsembleError.
    """
    _check_settings(order)
    _check_paths(order)
    with copy_victim(order.victim) as victim:
        return write_archive(order, victim)


def write_archive(order: ArchiveOrder, victim: VictimArchive) -> Path:
    """Write the archive that an order describes around a copy of its victim, and return the archive's path.

    Raises the errors of `build`.
    """
    manifest = read_manifest(victim.path)
    with tempfile.TemporaryDirectory(prefix="calpow-archive-") as scratch:
        stage = Path(scratch) / "stage"
        carried = Path(scratch) / "carried"
        stage.mkdir()
        carried.mkdir()
        _stage_parts(order, victim, stage)
        _stage_code(stage)
        _package(order, victim, manifest, stage, carried)
    return order.target


def _check_paths(order: ArchiveOrder) -> None:
    target = order.target
    for path in (order.victim, *order.parts.values(), order.calibration):
        if not path.is_file():
            raise ArchiveError(f"{path} does not exist: give the file that its command wrote")
    if not order.export_path.is_dir():
        raise ArchiveError(f"{order.export_path} is not a folder: create it or give another --export-path")
    if target.exists() and not order.force:
        raise ArchiveError(f"{target} already exists: give --force to overwrite it")
    if target.resolve() == order.victim.resolve():
        raise ArchiveError(f"{target} is the victim itself: give another --model-name or --export-path")


def _check_settings(order: ArchiveOrder) -> None:
    if order.records is not None:
        if order.mode != "observe":
            raise ArchiveError("--records is for --mode observe: leave it out, or observe")
        shared_path(order.records)
    if order.ledger is not None:
        shared_uri(order.ledger)
    if order.max_samples < 1:
        raise ArchiveError(f"--max-samples {order.max_samples}: give at least 1, or every request is refused")
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
        parts={name: file_sha256(stage / name) for name in order.parts},
        calibration_sha256=file_sha256(stage / CALIBRATION_FILE),
        ledger=order.ledger,
        max_samples=order.max_samples,
        explanation_factor=order.explanation_factor,
        mode=Mode(order.mode),
        records=order.records,
    )
    (stage / FILE).write_text(settings.to_json())
    with open_copy(victim) as opened:
        load_parts(stage, opened.victim, GateConfig.read(stage))


def _stage_code(stage: Path) -> None:
    """Copy our own rooms, so that the archive runs on a TorchServe with nothing else installed."""
    for room, package in zip(ROOMS, (calpow.puzzle, calpow.handler), strict=True):
        source = Path(package.__path__[0])
        for file in sorted(source.rglob("*.py")):
            copy = stage / "calpow" / room / file.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)


def _package(
    order: ArchiveOrder, victim: VictimArchive, manifest: Mapping[str, object], stage: Path, carried: Path
) -> None:
    entry = carried / f"{ENTRY_MODULE}.py"
    entry.write_text(ENTRY)
    settings = ModelArchiverConfig(
        model_name=order.model_name,
        handler=str(entry),
        version=order.version or str(manifest.get("modelVersion") or "1.0"),
        extra_files=str(stage),
        export_path=str(order.export_path),
        force=order.force,
        requirements_file=_carry(victim.path, manifest.get("requirementsFile"), carried),
        config_file=_carry(victim.path, manifest.get("configFile"), carried),
    )
    if settings.config_file:
        _check_guardable(Path(settings.config_file))
    try:
        with _private_tempdir(carried):
            generate_model_archive(settings)
    except ModelArchiverError as problem:
        raise ArchiveError(" ".join(str(problem).split())) from problem


def _carry(mar: Path, name: object, carried: Path) -> str | None:
    """Copy a file that TorchServe reads from the outer archive only out of the victim's archive; return its path."""
    if not isinstance(name, str):
        return None
    with zipfile.ZipFile(mar) as archive:
        try:
            content = archive.read(name)
        except KeyError:
            raise ArchiveError(
                f"{mar.name} names {name} in its manifest but does not hold it: archive it again"
            ) from None
    copy = carried / Path(name).name
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
