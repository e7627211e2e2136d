"""`calpow neighbours`: represent training data as the victim sees it, for the score pknn."""

from pathlib import Path

import click

from calpow.archiver.cli.option_types import FOLDER, VICTIM, data_options
from calpow.archiver.cli.results import file_size

_EPILOG = """\b
Example:
  calpow neighbours --victim victim.mar --data train --output neighbours.pt
  calpow calibrate --victim victim.mar --neighbours neighbours.pt --scores pknn entropy --data heldout

`train` is the data the victim was trained on: a folder a class, as for calpow teachers. A worker holds all of it in
memory, as the victim represents it.
"""


@click.command(epilog=_EPILOG)
@click.option(
    "--victim",
    type=VICTIM,
    required=True,
    help="The .mar to protect.",
)
@click.option(
    "--data",
    type=FOLDER,
    required=True,
    help="Its training data, a folder a class.",
)
@click.option("--output", type=click.Path(path_type=Path), required=True, help="Where to write the reference points.")
@click.option(
    "--k",
    type=click.IntRange(min=1),
    default=250,
    show_default=True,
    metavar="N",
    help="How many of the nearest points vote.",
)
@data_options
def neighbours(victim: Path, data: Path, output: Path, k: int, part: str, classes: Path | None) -> None:
    """Take training data into the victim's representation.

    The points nearest to a query vote on it (private kNN), so that the score pknn needs no teachers.
    """
    from calpow.archiver.reference_set import ReferenceOrder, write_reference_set

    card = write_reference_set(ReferenceOrder(victim, data, output, k, part, classes))
    print(f"{output} ({file_size(output)}): {card.points:,} points of {card.width} numbers, the nearest {card.k} vote")
