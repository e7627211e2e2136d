"""`calpow archive`: package a victim, its teachers and its calibration into a protected `.mar`."""

from pathlib import Path

import click

from calpow.archiver.cli.option_types import FILE, VICTIM
from calpow.archiver.cli.results import file_size, next_commands
from calpow.handler.config import EXPLANATION_FACTOR, MOST_BYTES, MOST_PIXELS, MOST_SAMPLES
from calpow.handler.identity.ways import IdentityWay

_EPILOG = """\b
Example:
  calpow archive --victim victim.mar --ensemble teachers.pt --calibration calibration.json \\
      --model-name digits --export-path model_store

--mode observe is for a soft launch: queries are answered as if there were no gate, and recorded for calpow calibrate
--from-records. What accounts run up meanwhile counts when a model of the same name enforces later.
"""


@click.command(epilog=_EPILOG)
@click.option(
    "--victim",
    type=VICTIM,
    required=True,
    help="The .mar to protect, embedded byte for byte.",
)
@click.option(
    "--ensemble",
    type=FILE,
    help="From calpow teachers, if the calibration uses it.",
)
@click.option(
    "--neighbours",
    type=FILE,
    help="From calpow neighbours, if the calibration uses it.",
)
@click.option(
    "--calibration",
    type=FILE,
    required=True,
    help="From calpow calibrate.",
)
@click.option("--model-name", metavar="NAME", help="Name of the protected model (default: the victim's).")
@click.option("-v", "--version", metavar="VERSION", help="Version of the protected model (default: the victim's).")
@click.option(
    "--export-path",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    help="Folder for the .mar, made if it is missing (default: here).",
)
@click.option("--ledger", metavar="URI", help="Where accounts are kept (default: CALPOW_LEDGER, else ~/.calpow).")
@click.option(
    "--max-samples",
    type=click.IntRange(min=1),
    default=MOST_SAMPLES,
    show_default=True,
    metavar="N",
    help="Samples a request may hold, at least 1; larger requests are refused with 413.",
)
@click.option(
    "--max-bytes",
    type=click.IntRange(min=0),
    default=MOST_BYTES,
    show_default=True,
    metavar="N",
    help="Bytes a request may hold; larger ones are refused with 413. 0 is no limit but the server's.",
)
@click.option(
    "--max-pixels",
    type=click.IntRange(min=0),
    default=MOST_PIXELS,
    show_default=True,
    metavar="N",
    help="Pixels the images of a request may have; larger ones are refused undecoded with 413. 0 is no limit.",
)
@click.option(
    "--explanation-factor",
    type=float,
    default=EXPLANATION_FACTOR,
    show_default=True,
    metavar="X",
    help="Price of an explanation in predictions, at least 1; 0 refuses explanations.",
)
@click.option(
    "--mode",
    type=click.Choice(("enforce", "observe")),
    default="enforce",
    show_default=True,
    help="Ask for work, or answer all queries and only account for them and record them.",
)
@click.option(
    "--records",
    metavar="FILE",
    help="Where mode observe records queries (default: CALPOW_RECORDS, else ~/.calpow/records.jsonl).",
)
@click.option(
    "--identity",
    "identity",
    type=click.Choice([way.value for way in IdentityWay]),
    multiple=True,
    default=[IdentityWay.key.value],
    show_default=True,
    help="How requests show their account; may be given several times. jwt and proxy need CALPOW_IDENTITY at the"
    " workers, anonymous is one account for everybody.",
)
@click.option(
    "--accept-weak",
    is_flag=True,
    help="Package a calibration with the verdict “Do not deploy”, too: under it, stolen answers cost about nothing.",
)
@click.option("-f", "--force", is_flag=True, help="Overwrite an archive of that name.")
def archive(
    victim: Path,
    ensemble: Path | None,
    neighbours: Path | None,
    calibration: Path,
    model_name: str | None,
    version: str | None,
    export_path: Path,
    ledger: str | None,
    max_samples: int,
    max_bytes: int,
    max_pixels: int,
    explanation_factor: float,
    mode: str,
    records: str | None,
    identity: tuple[str, ...],
    accept_weak: bool,
    force: bool,
) -> None:
    """Package a victim's .mar, its teachers and its calibration into a protected .mar.

    It runs on a stock TorchServe.
    """
    from calpow.archiver.calibration.calibration_document import Calibration
    from calpow.archiver.packaging import ArchiveOrder, build, needed_torch
    from calpow.archiver.report.verdicts import refuse_weak

    if not accept_weak:
        refuse_weak(Calibration.load(calibration), calibration)
    mar = build(
        ArchiveOrder(
            victim=victim,
            ensemble=ensemble,
            neighbours=neighbours,
            calibration=calibration,
            export_path=export_path,
            model_name=model_name,
            version=version,
            ledger=ledger,
            max_samples=max_samples,
            max_bytes=max_bytes,
            max_pixels=max_pixels,
            explanation_factor=explanation_factor,
            mode=mode,
            records=records,
            identity=identity,
            force=force,
        )
    )
    effect = "guards" if mode == "enforce" else "observes and does not guard"
    print(f"{mar} ({file_size(mar)}) {effect} {victim} and needs torch >= {needed_torch(ensemble)}")
    serve = ["torchserve", "--start", "--ncs", "--ts-config", "config.properties"]
    serve += ["--model-store", str(mar.parent), "--models", f"{mar.stem}={mar.name}"]
    # The settings of tokens are in a file alone; a proxy's secret may be in a variable of its own.
    server = "a server with CALPOW_IDENTITY set" if IdentityWay.jwt.value in identity else "a server"
    if IdentityWay.key.value not in identity:
        print(next_commands(f"Next, {server}:", serve))
        return
    add_key = ["calpow", "keys", "add", "ACCOUNT", *(["--ledger", ledger] if ledger else [])]
    print(next_commands(f"Next, a key for each account, and {server}:", add_key, serve))
