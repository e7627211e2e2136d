"""Charts as SVG that stretches with the page while its text does not.

Positions along a chart are shares of its width (0 to 1), heights are pixels, so that a phone gets the same text size.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

HEIGHT = 300
_WIDTH = 1000
_BADGE = 8
# The logarithm of a smaller distance between marks is not exact, or there is none.
_CLOSEST = 1e-300


@dataclass(frozen=True)
class Scale:
    """Maps low..high to 0..1 after `warp`; what lies outside is put on the edge."""

    low: float
    high: float
    warp: Callable[[float], float]

    def __call__(self, value: float) -> float:
        """Return the position of a value, from 0 to 1."""
        low, high = self.warp(self.low), self.warp(self.high)
        return min(1.0, max(0.0, (self.warp(min(max(value, self.low), self.high)) - low) / (high - low)))


@dataclass(frozen=True)
class Tick:
    """A mark at a share of an axis and its text."""

    at: float
    text: str


@dataclass(frozen=True)
class Series:
    """A line to draw: `style` is its CSS class, `hint` shows when it is pointed at, `badge` is a letter put on it."""

    name: str
    style: str
    points: tuple[tuple[float, float], ...]
    hint: str
    badge: str = ""
    badge_at: float = 0.5


@dataclass(frozen=True)
class Chart:
    """Lines over a band, all in shares of the axes; `text` is for those who cannot see it."""

    text: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    band: tuple[tuple[float, float], ...]
    lines: tuple[Series, ...]

    def draw(self) -> Markup:
        """Return the `<svg>` element; its ticks stand in the margin around it."""
        return Markup(  # noqa: S704  # every text in it is escaped
            f'<svg class="chart" width="100%" height="{HEIGHT}" role="img" aria-label="{escape(self.text)}">'
            f"{_grid(self.x_ticks, self.y_ticks)}"
            f'<svg viewBox="0 0 {_WIDTH} {HEIGHT}" preserveAspectRatio="none" width="100%" height="{HEIGHT}">'
            f'<polygon class="band" points="{_points(self.band)}"/>{"".join(map(_line, self.lines))}</svg>'
            f"{_labels(self.x_ticks, self.y_ticks)}{''.join(map(_badge, self.lines))}</svg>"
        )


def linear(value: float) -> float:
    """Return the value itself: the warp of a linear Scale."""
    return value


def decades(low: float, high: float, most: int) -> list[float]:
    """Return at most `most` powers of ten from low to high."""
    powers = range(math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9) + 1)
    step = max(1, math.ceil(len(powers) / most))
    return [10.0**power for power in powers[::step]]


def steps(low: float, high: float, most: int) -> list[float]:
    """Return at most `most` round numbers from low to high; `low` alone where they are too close for round numbers."""
    rough = (high - low) / most
    if rough < _CLOSEST:
        return [low]
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * size for size in (1, 2, 2.5, 5, 10) if unit * size >= rough * (1 - 1e-9))
    return [step * index for index in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def escape(text: str) -> str:
    """Escape text for an element or an attribute; unprintable characters are replaced."""
    return str(Markup.escape(printable(text)))


def printable(text: str) -> str:
    """Return the text with a mark in place of each character that cannot be printed."""
    return "".join(character if character.isprintable() else "\ufffd" for character in text)


def _grid(x_ticks: Sequence[Tick], y_ticks: Sequence[Tick]) -> str:
    across = [f'<line x1="0" x2="100%" y1="{_y(tick.at)}" y2="{_y(tick.at)}"/>' for tick in y_ticks]
    up = [f'<line x1="{tick.at:.2%}" x2="{tick.at:.2%}" y1="0" y2="{HEIGHT}"/>' for tick in x_ticks]
    return f'<g class="grid">{"".join(across + up)}</g>'


def _labels(x_ticks: Sequence[Tick], y_ticks: Sequence[Tick]) -> str:
    below = [
        f'<text x="{tick.at:.2%}" y="{HEIGHT + 18}" text-anchor="middle">{escape(tick.text)}</text>' for tick in x_ticks
    ]
    left = [f'<text x="-8" y="{_y(tick.at)}" dy="4" text-anchor="end">{escape(tick.text)}</text>' for tick in y_ticks]
    return f'<g class="ticks" aria-hidden="true">{"".join(below + left)}</g>'


def _line(line: Series) -> str:
    return (
        f'<polyline class="{line.style}" data-series="{escape(line.name)}" points="{_points(line.points)}">'
        f"<title>{escape(line.hint)}</title></polyline>"
    )


def _badge(line: Series) -> str:
    if not line.badge:
        return ""
    x, y = line.badge_at, _height(line.points, line.badge_at)
    return (
        f'<g class="badge {line.style}" aria-hidden="true"><circle cx="{x:.2%}" cy="{_y(y)}" r="{_BADGE}"/>'
        f'<text x="{x:.2%}" y="{_y(y)}" dy="4" text-anchor="middle">{escape(line.badge)}</text></g>'
    )


def _height(points: Sequence[tuple[float, float]], at: float) -> float:
    """Return the height of a line at a share of the width, or that of its last point beyond it."""
    for (x, y), (next_x, next_y) in itertools.pairwise(points):
        if x <= at <= next_x:
            return y + (next_y - y) * (at - x) / (next_x - x)
    return points[-1][1]


def _points(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x * _WIDTH:.1f},{_y(y)}" for x, y in points)


def _y(share: float) -> str:
    return f"{(1 - share) * HEIGHT:.1f}"
