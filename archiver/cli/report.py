"""`calpow report`: one page on what a calibration means, for the owner to read before deploying."""

from pathlib import Path

import click

from calpow.archiver.cli.option_types import FILE

_EPILOG = """\b
Example:
  calpow report calibration.json -o report.html

The page loads nothing from anywhere: open it in a browser, print it, or send it to those who decide.
"""


@click.command(epilog=_EPILOG)
@click.argument("calibration", type=FILE, metavar="calibration.json")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("report.html"),
    show_default=True,
    metavar="FILE.html",
    help="Where to write the page.",
)
def report(calibration: Path, output: Path) -> None:
    """Write one self-contained HTML page about a calibration.

    It says whether to deploy it, the command to run next, what honest users and attackers pay, and how well they are
    told apart.
    """
    from calpow.archiver.calibration.calibration_document import Calibration
    from calpow.archiver.report.page import write_report

    write_report(Calibration.load(calibration), calibration, output)
    print(f"{output}: open it in a browser")
