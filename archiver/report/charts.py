"""The report's pictures, from evidence: what users pay, and how score and payments grow with the queries."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import truediv

from markupsafe import Markup

from calpow.archiver.calibration.calibration_document import Band, RehearsalEvidence, SimulatedProfile
from calpow.archiver.report.formats import exactly, times
from calpow.archiver.report.multiples import Multiples, envelope, milestones
from calpow.archiver.report.svg import Chart, Scale, Series, Tick, decades, escape, linear, steps

# Colours and dashes the page's style knows: s0, s1, ...
STYLES = 6
_LINEAR_UP_TO = 6.0
_ROW_HEIGHT = 26


def letter(index: int) -> str:
    """Return the mark of an attacker's line: A to Z, then AA and on."""
    return (letter(index // 26 - 1) if index >= 26 else "") + chr(ord("A") + index % 26)


def style(index: int) -> str:
    """Return the CSS class of an attacker's line."""
    return f"s{index % STYLES}"


@dataclass(frozen=True)
class Spread:
    """The 1st, 25th, 50th, 75th and 99th percentile of what users pay, in multiples of the unprotected time."""

    low: float
    quarter: float
    middle: float
    three_quarters: float
    high: float

    @classmethod
    def of(cls, profile: SimulatedProfile) -> "Spread":
        """Return the spread of a profile's users."""
        return cls(*(profile.overhead[percentile] for percentile in (1, 25, 50, 75, 99)))

    @classmethod
    def of_all(cls, profiles: Sequence[SimulatedProfile]) -> "Spread":
        """Return the widest spread of several profiles, with the median of the one that pays most."""
        spreads = [cls.of(profile) for profile in profiles]
        return cls(
            min(spread.low for spread in spreads),
            min(spread.quarter for spread in spreads),
            max(spreads, key=lambda spread: spread.high).middle,
            max(spread.three_quarters for spread in spreads),
            max(spread.high for spread in spreads),
        )


@dataclass(frozen=True)
class SpreadRow:
    """A row of a chart: its name, the mark of an attacker, its figure, its CSS class, and its SVG."""

    name: str
    mark: str
    value: str
    state: str
    drawing: Markup


@dataclass(frozen=True)
class SpreadChart:
    """Rows of spreads above one axis."""

    rows: tuple[SpreadRow, ...]
    axis: Markup


def payment_chart(evidence: RehearsalEvidence) -> SpreadChart:
    """Draw what all honest users pay, and below them what each attacker pays, cheapest first; the axis is log."""
    honest = Spread.of_all(evidence.honest)
    thieves = sorted(enumerate(evidence.attackers), key=lambda entry: entry[1].overhead[50])
    axis = _Axis.log([honest, *(Spread.of(thief) for _, thief in thieves)], evidence.overhead_budget)
    state = "over" if honest.high > evidence.overhead_budget else "within"
    kinds = len(evidence.honest)
    name = "honest users" if kinds == 1 else f"honest users, {kinds} kinds"
    rows = [SpreadRow(name, "", times(honest.high), f"honest {state}", axis.row(name, honest))]
    for index, thief in thieves:
        spread = Spread.of(thief)
        drawing = axis.row(thief.name, spread, style(index))
        rows.append(SpreadRow(thief.name, letter(index), times(spread.middle), "attacker", drawing))
    return SpreadChart(tuple(rows), axis.draw())


def honest_chart(evidence: RehearsalEvidence) -> SpreadChart:
    """Draw what each kind of honest users pays, dearest first."""
    profiles = sorted(evidence.honest, key=lambda profile: -profile.overhead[99])
    axis = _Axis.fit([Spread.of(profile) for profile in profiles], evidence.overhead_budget)
    rows = []
    for profile in profiles:
        spread = Spread.of(profile)
        state = "over" if spread.high > evidence.overhead_budget else "within"
        rows.append(SpreadRow(profile.name, "", times(spread.high), state, axis.row(profile.name, spread)))
    return SpreadChart(tuple(rows), axis.draw())


def score_chart(evidence: RehearsalEvidence) -> Chart:
    """Draw the mean score so far against queries; honest users and attackers converge to different values."""

    def mean(profile: SimulatedProfile) -> Band:
        rows = (profile.score.low, profile.score.middle, profile.score.high)
        return Band(*(tuple(map(truediv, row, evidence.checkpoints)) for row in rows))

    bands = [mean(profile) for profile in evidence.profiles]
    low, high = min(min(band.low) for band in bands), max(max(band.high) for band in bands)
    scale = Scale(low, high, linear) if high > low else Scale(low - 1, high + 1, linear)
    ticks = tuple(Tick(scale(step), f"{step:,.4g}") for step in steps(scale.low, scale.high, 6))
    return _chart(evidence, "score a query", scale, ticks, mean, lambda profile: profile.name)


def growth_chart(evidence: RehearsalEvidence, multiples: Multiples) -> Chart:
    """Draw the mean multiple so far against queries, both log."""
    bands = [multiples.band(evidence, profile) for profile in evidence.profiles]
    low, high = min(min(band.low) for band in bands), max(max(band.high) for band in bands)
    scale = Scale(low, max(high, 10 * low), math.log10)
    ticks = tuple(Tick(scale(power), exactly(power)) for power in decades(low, scale.high, 6))

    def hint(profile: SimulatedProfile) -> str:
        paid = (
            f"{times(multiples.after(evidence, profile, queries))} at {queries:,}" for queries in milestones(evidence)
        )
        return f"{profile.name}: {', '.join(paid)} queries"

    quantity = "multiple of the unprotected time"
    return _chart(evidence, quantity, scale, ticks, lambda profile: multiples.band(evidence, profile), hint)


def accuracy_rows(evidence: RehearsalEvidence) -> tuple[SpreadRow, ...]:
    """Draw the accuracy of a single teacher and of the vote as bars."""
    return tuple(
        SpreadRow(name, "", f"{accuracy:.1%}", "wide", _bar(accuracy))
        for name, accuracy in (("One teacher", evidence.teacher_accuracy), ("Their vote", evidence.vote_accuracy))
    )


def _bar(share: float) -> Markup:
    return Markup(  # noqa: S704  # numbers only
        f'<svg width="100%" height="18" role="img" aria-label="{share:.1%}"><rect class="track" width="100%"'
        f' height="18"/><rect class="bar" width="{min(max(share, 0), 1):.2%}" height="18"/></svg>'
    )


def _chart(
    evidence: RehearsalEvidence,
    quantity: str,
    scale: Scale,
    y_ticks: tuple[Tick, ...],
    band_of: Callable[[SimulatedProfile], Band],
    hint: Callable[[SimulatedProfile], str],
) -> Chart:
    first, last = evidence.checkpoints[0], evidence.checkpoints[-1]
    across = Scale(first, max(last, 10 * first), math.log10)
    x = [across(point) for point in evidence.checkpoints]

    def line(profile: SimulatedProfile, style: str, badge: str = "", badge_at: float = 0.0) -> Series:
        points = tuple(zip(x, map(scale, band_of(profile).middle), strict=True))
        return Series(profile.name, style, points, hint(profile), badge, badge_at)

    thieves = evidence.attackers
    places = [0.3 + 0.68 * (index + 0.5) / len(thieves) for index in range(len(thieves))]
    low, high = (list(map(scale, edge)) for edge in envelope([band_of(profile) for profile in evidence.honest]))
    return Chart(
        text=_alternative(evidence, quantity),
        x_ticks=tuple(Tick(across(power), f"{power:,.0f}") for power in decades(first, last, 7)),
        y_ticks=y_ticks,
        band=(*zip(x, high, strict=True), *reversed(tuple(zip(x, low, strict=True)))),
        lines=(
            *(line(profile, "honest") for profile in evidence.honest),
            *(line(thief, style(index), letter(index), places[index]) for index, thief in enumerate(thieves)),
        ),
    )


def _alternative(evidence: RehearsalEvidence, quantity: str) -> str:
    names = ", ".join(attacker.name for attacker in evidence.attackers) or "none"
    return (
        f"{quantity.capitalize()} against queries, up to {evidence.checkpoints[-1]:,}: the band of"
        f" {len(evidence.honest)} kinds of honest users, and a line for each attacker ({names}). The table of attackers"
        " has the numbers."
    )


@dataclass(frozen=True)
class _Axis:
    """The axis of a chart of spreads, with the overhead budget as a line across its rows."""

    scale: Scale
    ticks: tuple[float, ...]
    budget: float

    @classmethod
    def log(cls, spreads: Sequence[Spread], budget: float) -> "_Axis":
        low = min(1.0, *(spread.low for spread in spreads))
        most = max(budget, *(spread.high for spread in spreads))
        scale = Scale(low, max(most * 1.3, 10 * low), math.log10)
        return cls(scale, tuple(decades(scale.low, scale.high, 5)), budget)

    @classmethod
    def fit(cls, spreads: Sequence[Spread], budget: float) -> "_Axis":
        """Return a linear axis where all multiples are small, else a logarithmic one."""
        most = max(budget, *(spread.high for spread in spreads))
        if most > _LINEAR_UP_TO:
            return cls.log(spreads, budget)
        least = min(1.0, *(spread.low for spread in spreads))
        scale = Scale(least, max(most * 1.08, least + 0.1), linear)
        return cls(scale, tuple(steps(scale.low, scale.high, 5)), budget)

    def draw(self) -> Markup:
        ticks = "".join(
            f'<text x="{self.scale(tick):.2%}" y="14" text-anchor="middle">{escape(exactly(tick))}</text>'
            for tick in self.ticks
        )
        return Markup(f'<svg width="100%" height="20">{ticks}</svg>')  # noqa: S704  # numbers only

    def row(self, name: str, spread: Spread, line_style: str = "") -> Markup:
        low, quarter, middle, three, high = map(
            self.scale, (spread.low, spread.quarter, spread.middle, spread.three_quarters, spread.high)
        )
        budget, centre = self.scale(self.budget), _ROW_HEIGHT // 2
        hint = escape(f"{name}: median {times(spread.middle)}, 99th percentile {times(spread.high)}")
        grid = "".join(
            f'<line class="rule" x1="{self.scale(tick):.2%}" x2="{self.scale(tick):.2%}" y2="{_ROW_HEIGHT}"/>'
            for tick in self.ticks
        )
        return Markup(  # noqa: S704  # the name is escaped
            f'<svg class="spread {line_style}" width="100%" height="{_ROW_HEIGHT}" role="img" aria-label="{hint}">'
            f"<title>{hint}</title>{grid}"
            f'<rect class="reach" width="{middle:.2%}" y="9" height="8"/>'
            f'<line class="budget" x1="{budget:.2%}" x2="{budget:.2%}" y2="{_ROW_HEIGHT}"/>'
            f'<line class="whisker" x1="{low:.2%}" x2="{high:.2%}" y1="{centre}" y2="{centre}"/>'
            f'<rect class="box" x="{quarter:.2%}" width="{max(0.0, three - quarter):.2%}" y="7" height="12"/>'
            f'<line class="median" x1="{middle:.2%}" x2="{middle:.2%}" y1="5" y2="21"/>'
            f'<circle class="end" cx="{high:.2%}" cy="{centre}" r="4"/></svg>'
        )
