"""Values of the options with which an operator limits accounts; click reads them as types of options."""

import re
from typing import NamedTuple

import click

NONE = "none"
# What a number of 53 bits holds exactly.
MOST_SAMPLES = 10**15


class SampleCount(NamedTuple):
    """A number of samples, in all or a day; None takes the limit away."""

    samples: int | None
    a_day: bool


class Ceiling(NamedTuple):
    """The most work for one sample, in seconds of the reference client or in floors; None takes the limit away."""

    seconds: float | None
    floors: float | None


def samples_a_day(text: str) -> SampleCount:
    """Return the samples of `100/day` or `none`. Raises BadParameter."""
    count = _samples(text)
    if count is None or (count.samples is not None and not count.a_day):
        raise click.BadParameter(f"{text!r} is no number of samples a day: give 100/day or none.")
    return count


def samples(text: str) -> SampleCount:
    """Return the samples of `10000`, `500/day`, `none` or `none/day`. Raises BadParameter."""
    count = _samples(text)
    if count is None:
        raise click.BadParameter(f"{text!r} is no number of samples: give 10000, 500/day, none or none/day.")
    return count


def ceiling(text: str) -> Ceiling:
    """Return the ceiling of `30s`, `20floors` or `none`. Raises BadParameter."""
    match = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)(s|floors)", text, re.ASCII)
    if match is None and text != NONE:
        raise click.BadParameter(f"{text!r} is no ceiling: give 30s (of the reference client), 20floors or none.")
    if match is None:
        return Ceiling(None, None)
    number = float(match[1])
    if number == 0 or (match[2] == "floors" and number < 1):
        raise click.BadParameter(f"{text!r} is no ceiling: a sample costs one floor at the least.")
    return Ceiling(number, None) if match[2] == "s" else Ceiling(None, number)


def _samples(text: str) -> SampleCount | None:
    match = re.fullmatch(r"(none|[0-9]{1,16})(/day)?", text, re.ASCII)
    if match is None or (match[1] != NONE and int(match[1]) > MOST_SAMPLES):
        return None
    return SampleCount(None if match[1] == NONE else int(match[1]), match[2] is not None)
