"""Types of options that several commands share."""

import math
from pathlib import Path
from typing import Any

import click

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
# What torch's and numpy's generators both take.
SEED = click.IntRange(0, 2**63 - 1)


class NumberRange(click.FloatRange):
    """A range of numbers, which NaN is never in."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number. NaN needs a check of its own, because all comparisons with it are false."""
        number = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value} is not a number.", param, ctx)
        return number
