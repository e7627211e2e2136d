"""Options that several commands share."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import click

from calpow.client.protocol.budget import DEFAULT_MAX_HASHES, DEFAULT_MAX_SECONDS

_Command = TypeVar("_Command", bound=Callable[..., Any])


class PositiveInteger(click.IntRange):
    """An integer from 1 on."""

    name = "integer"

    def __init__(self) -> None:
        super().__init__(min=1)


class PartName(click.types.StringParamType):
    """The name of a form's part: what a handler looks up in a request."""

    name = "name"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name; it is refused if it is empty, or cannot stand in a form's header as it is."""
        name = str(value)
        if not name or any(ord(character) < 0x20 or character == '"' for character in name):
            self.fail(f"{name!r} is no name of a form's part.", param, ctx)
        return name


class PositiveSeconds(click.FloatRange):
    """A finite number of seconds above 0."""

    name = "number of seconds"

    def __init__(self) -> None:
        super().__init__(min=0, min_open=True, max=math.inf, max_open=True)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number of seconds; NaN, which is in every range, is refused."""
        seconds = super().convert(value, param, ctx)
        if math.isnan(seconds):
            self.fail(f"{value} is not a number of seconds above 0.", param, ctx)
        return seconds


def work_limits(command: _Command) -> _Command:
    """Add --max-hashes and --max-seconds to a command."""
    max_seconds = click.option(
        "--max-seconds",
        type=PositiveSeconds(),
        default=DEFAULT_MAX_SECONDS,
        show_default=True,
        metavar="S",
        help="The most time for the work of one answer; the command gives up as soon as this cannot suffice.",
    )
    max_hashes = click.option(
        "--max-hashes",
        type=PositiveInteger(),
        default=DEFAULT_MAX_HASHES,
        show_default=True,
        metavar="N",
        help="The most work to accept for one answer, in expected hashes.",
    )
    return max_hashes(max_seconds(command))
