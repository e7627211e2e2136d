"""`calpow report`: what a calibration shows, as one page for the owner to read before he deploys."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from calpow.archiver.report.verdicts import Facts
    from calpow.handler.policy.calibration_file import Calibration, Chosen

EPILOG = """\
Example:
  calpow report calibration.json -o report.html

The page loads nothing from anywhere: open it in a browser, print it, or send it to whoever decides.
"""


def add_command(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `calpow report`."""
    parser = subparsers.add_parser(
        "report",
        help="show what a calibration means for honest users and for attackers",
        description="Write one self-contained HTML page: what honest users and attackers pay under a calibration, how"
        " well they are told apart, and what to look at before deploying.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("calibration", type=Path, metavar="calibration.json", help="from calpow calibrate")
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("report.html"), metavar="FILE.html", help="default: report.html"
    )
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    from calpow.archiver.report.page import render
    from calpow.archiver.report.verdicts import ReportError
    from calpow.handler.policy.calibration_file import Calibration

    made = Calibration.load(args.calibration)
    page = render(made.evidence, facts_of(made))
    try:
        args.output.write_text(page, encoding="utf-8")
    except OSError as problem:
        raise ReportError(f"{args.output} cannot be written ({problem.strerror}): give another --output") from problem
    print(f"{args.output}: open it in a browser")
    return 0


def facts_of(made: "Calibration") -> "Facts":
    """What the page says of a calibration beside its evidence."""
    from calpow.archiver.report.verdicts import Facts

    return Facts(
        victim_sha256=made.victim_sha256,
        parts=made.parts,
        policy=made.policy.value,
        metrics=tuple(_described(each) for each in made.metrics),
        floor_seconds=made.floor_seconds,
        latency_seconds=made.latency_seconds,
        cap=made.cap,
        hashes_per_second=made.solver.hashes_per_second,
        provenance=made.provenance,
    )


def _described(metric: "Chosen") -> str:
    settings = ", ".join(f"{name} {value:g}" for name, value in metric.settings.items())
    return f"{metric.name.value}: {settings}" if settings else metric.name.value
