"""Options that several commands share, and types of options."""

import math
import re
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import click

from calpow.archiver.data.media_types import BODY
from calpow.handler.ledger.api_key import normal_name

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
# A model archive: a file, or a folder that torch-model-archiver --archive-format no-archive wrote.
VICTIM = click.Path(exists=True, path_type=Path)
FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
# What torch's and numpy's generators both take.
SEED = click.IntRange(0, 2**63 - 1)


_Command = TypeVar("_Command", bound=Callable[..., Any])


def data_options(command: _Command) -> _Command:
    """Add --part and --classes, which say how a folder of payloads is read, to a command."""
    part = click.option(
        "--part",
        default=BODY,
        show_default=True,
        metavar="NAME",
        help="The part of a request that carries the payload, for handlers that read a form: row['NAME'].",
    )
    classes = click.option(
        "--classes",
        type=FILE,
        metavar="FILE.json",
        help='Names of the classes in the order of the victim\'s output, {"0": "cat", ...}, where that is not the'
        " folders' alphabetical order (default: index_to_name.json in the victim's archive, if it names the folders).",
    )
    return part(classes(command))


class NumberRange(click.FloatRange):
    """A range of numbers, which NaN is never in."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number. NaN needs a check of its own, because all comparisons with it are false."""
        number = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value} is not a number.", param, ctx)
        return number


class AccountName(click.types.StringParamType):
    """The name of an account, converted to the form in which accounts are named."""

    name = "account"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the name. A terminal or a file system may have written its letters in parts."""
        return normal_name(str(value))


class Duration(click.types.StringParamType):
    """A time in minutes, hours, days or weeks, such as 30d, converted to seconds."""

    name = "duration"
    _SECONDS = MappingProxyType({"m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0})
    _FORM = re.compile(r"(\d{1,6}(?:\.\d{1,3})?)([mhdw])", re.ASCII)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the seconds, more than 0."""
        match = self._FORM.fullmatch(str(value))
        if match is None or not float(match[1]):
            self.fail(f"{value!r} is no time such as 90m, 12h, 30d or 52w.", param, ctx)
        return float(match[1]) * self._SECONDS[match[2]]
