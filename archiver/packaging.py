"""`calpow archive`: a protected `.mar` out of a victim, its teachers and its calibration."""

import argparse
import math
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

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
from calpow.puzzle.errors import CalpowError

ENTRY_MODULE = "calpow_gate_entry"
ENTRY = '''"""The handler that TorchServe loads: the gate in front of the embedded victim."""

from calpow.handler.torchserve import GateHandler


class CalpowGate(GateHandler):
    """TorchServe wants exactly one class defined in a handler's own module."""
'''
ROOMS = ("puzzle", "handler")
# Ways of running workers in which one request is not one call of one handler: the gate cannot guard them.
UNGUARDABLE = ("asyncCommunication", "continuousBatching", "sequenceBatching", "parallelType")

EXAMPLE = """example:
  calpow archive --victim victim.mar --ensemble teachers.pt2 --calibration calibration.json \\
      --model-name digits --export-path model_store

--mode observe is for a soft launch: everybody is answered as if there were no gate, and each query is recorded for
calpow calibrate --from-records. What accounts run up meanwhile counts when a model of the same name enforces later.
"""


class ArchiveError(CalpowError):
    """The protected archive cannot be built from these parts."""


@dataclass(frozen=True)
class Order:
    """What goes into a protected archive and where it goes.

    max_samples: how many samples a request may hold. explanation_factor: price of an explanation in predictions; 0
    refuses explanations.
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
        """The files that metrics need, by the name they get in the archive."""
        given = {ENSEMBLE_FILE: self.ensemble, NEIGHBOURS_FILE: self.neighbours}
        return {name: path for name, path in given.items() if path is not None}


def add_command(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `calpow archive`."""
    parser = subparsers.add_parser(
        "archive",
        help="package a victim, its teachers and its calibration into a protected .mar",
        description="Package a victim's .mar, its teachers and its calibration into a protected .mar that runs on"
        " a stock TorchServe.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--victim", type=Path, required=True, help="the .mar to protect, embedded byte for byte")
    parser.add_argument("--ensemble", type=Path, help="from calpow teachers, if the calibration uses it")
    parser.add_argument("--neighbours", type=Path, help="from calpow neighbours, if the calibration uses it")
    parser.add_argument("--calibration", type=Path, required=True, help="from calpow calibrate")
    parser.add_argument("--model-name", help="name of the protected model (default: the victim's)")
    parser.add_argument("--version", "-v", help="version of the protected model (default: the victim's)")
    parser.add_argument("--export-path", type=Path, default=Path(), help="folder for the .mar (default: here)")
    parser.add_argument(
        "--ledger", metavar="URI", help="where accounts are kept (default: CALPOW_LEDGER, else ~/.calpow)"
    )
    parser.add_argument(
        "--max-samples",
        type=int,
        default=MOST_SAMPLES,
        metavar="N",
        help="samples a request may hold, at least 1; larger requests are refused with 413 (default: %(default)s)",
    )
    parser.add_argument(
        "--explanation-factor",
        type=float,
        default=EXPLANATION_FACTOR,
        metavar="X",
        help="price of an explanation in predictions, at least 1; 0 refuses explanations (default: %(default)g)",
    )
    parser.add_argument(
        "--mode",
        choices=("enforce", "observe"),
        default="enforce",
        help="ask for work, or block nobody and only account and record (default: enforce)",
    )
    parser.add_argument(
        "--records",
        metavar="FILE",
        help="where mode observe records queries (default: CALPOW_RECORDS, else ~/.calpow/records.jsonl)",
    )
    parser.add_argument("--force", "-f", action="store_true", help="overwrite an archive of that name")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    from calpow.handler.victim import read_manifest

    name = args.model_name or str(read_manifest(args.victim).get("modelName"))
    made = build(
        Order(
            victim=args.victim,
            ensemble=args.ensemble,
            neighbours=args.neighbours,
            calibration=args.calibration,
            export_path=args.export_path,
            model_name=name,
            version=args.version,
            ledger=args.ledger,
            max_samples=args.max_samples,
            explanation_factor=args.explanation_factor,
            mode=args.mode,
            records=args.records,
            force=args.force,
        )
    )
    does = "guards" if args.mode == "enforce" else "observes and does not guard"
    print(f"{made} ({made.stat().st_size / 1e6:.1f} MB) {does} {args.victim}")
    return 0


def build(order: Order) -> Path:
    """Check that the parts fit each other and write the archive; its path.

    Raises ArchiveError, GateMisconfigured, VictimError, CalibrationError or EnsembleError.
    """
    from calpow.handler.victim import read_manifest

    _check_settings(order)
    for path in (order.victim, *order.parts.values(), order.calibration):
        if not path.is_file():
            raise ArchiveError(f"{path} does not exist: give the file that its command wrote")
    target = order.export_path / f"{order.model_name}.mar"
    if not order.export_path.is_dir():
        raise ArchiveError(f"{order.export_path} is not a folder: create it or give another --export-path")
    if target.exists() and not order.force:
        raise ArchiveError(f"{target} already exists: give --force to overwrite it")
    if target.resolve() == order.victim.resolve():
        raise ArchiveError(f"{target} is the victim itself: give another --model-name or --export-path")
    manifest = read_manifest(order.victim)
    with tempfile.TemporaryDirectory(prefix="calpow-archive-") as scratch:
        stage = Path(scratch) / "stage"
        carried = Path(scratch) / "carried"
        stage.mkdir()
        carried.mkdir()
        _stage_parts(order, stage)
        _check_parts(order, stage)
        _stage_code(stage)
        _package(order, manifest, stage, carried)
    return target


def _check_settings(order: Order) -> None:
    from calpow.handler.ledger import shared_uri
    from calpow.handler.observe.records import shared_path

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


def _stage_parts(order: Order, stage: Path) -> None:
    shutil.copyfile(order.victim, stage / VICTIM_FILE)
    for name, path in order.parts.items():
        shutil.copyfile(path, stage / name)
    shutil.copyfile(order.calibration, stage / CALIBRATION_FILE)
    settings = GateConfig(
        schema=SCHEMA,
        victim_sha256=file_sha256(stage / VICTIM_FILE),
        parts={name: file_sha256(stage / name) for name in order.parts},
        calibration_sha256=file_sha256(stage / CALIBRATION_FILE),
        ledger=order.ledger,
        max_samples=order.max_samples,
        explanation_factor=order.explanation_factor,
        mode=Mode(order.mode),
        records=order.records,
    )
    (stage / FILE).write_text(settings.to_json())


def _check_parts(order: Order, stage: Path) -> None:
    """What a worker checks when it loads the archive, before the archive exists."""
    from calpow.archiver.victim_archive import open_victim
    from calpow.handler.parts import load_parts

    settings = GateConfig.read(stage)
    with open_victim(order.victim) as opened:
        load_parts(stage, opened.victim, settings)


def _stage_code(stage: Path) -> None:
    """Ship our own rooms, so that a stock TorchServe needs nothing installed."""
    import calpow.handler
    import calpow.puzzle

    for room, package in zip(ROOMS, (calpow.puzzle, calpow.handler), strict=True):
        source = Path(package.__path__[0])
        for file in sorted(source.rglob("*.py")):
            copy = stage / "calpow" / room / file.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)


def _package(order: Order, manifest: Mapping[str, object], stage: Path, carried: Path) -> None:
    from model_archiver.model_archiver_config import ModelArchiverConfig
    from model_archiver.model_archiver_error import ModelArchiverError
    from model_archiver.model_packaging import generate_model_archive

    entry = carried / f"{ENTRY_MODULE}.py"
    entry.write_text(ENTRY)
    settings = ModelArchiverConfig(
        model_name=order.model_name,
        handler=str(entry),
        version=order.version or str(manifest.get("modelVersion") or "1.0"),
        extra_files=str(stage),
        export_path=str(order.export_path),
        force=order.force,
        requirements_file=_carry(order.victim, manifest.get("requirementsFile"), carried),
        config_file=_carry(order.victim, manifest.get("configFile"), carried),
    )
    if settings.config_file:
        _check_guardable(Path(settings.config_file))
    try:
        with _private_tempdir(carried):
            generate_model_archive(settings)
    except ModelArchiverError as problem:
        raise ArchiveError(" ".join(str(problem).split())) from problem


def _carry(mar: Path, name: object, carried: Path) -> str | None:
    """Take a file over from the victim's archive: TorchServe reads these from the outer archive only."""
    if not isinstance(name, str):
        return None
    with zipfile.ZipFile(mar) as archive:
        try:
            content = archive.read(name)
        except KeyError:
            raise ArchiveError(f"{mar} names {name} in its manifest but does not hold it: archive it again") from None
    copy = carried / Path(name).name
    copy.write_bytes(content)
    return str(copy)


def _check_guardable(config: Path) -> None:
    import yaml

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
    """model_archiver stages under the model's name in the common temporary folder, and clears what it finds there."""
    before = tempfile.tempdir
    tempfile.tempdir = str(directory / "staging")
    Path(tempfile.tempdir).mkdir()
    try:
        yield
    finally:
        tempfile.tempdir = before
