"""The report's pictures, from evidence: what users and thieves pay, and how score and payments grow."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from calpow.archiver.calibration.calibration_document import Band, RehearsalEvidence, SimulatedProfile
from calpow.archiver.calibration.judgement import AIM, MOST_TOLERATED, changers, dearest, strangers, theft
from calpow.archiver.report.formats import floors, number, times
from calpow.archiver.report.multiples import Multiples, envelope, mean_prices, milestones, work_at
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


@dataclass(frozen=True)
class ChartRow:
    """A row of a chart: its name, the mark of an attacker, its figure and a remark, its CSS class, and its SVG."""

    name: str
    mark: str
    value: str
    remark: str
    state: str
    drawing: Markup


@dataclass(frozen=True)
class RowChart:
    """Rows above one axis."""

    rows: tuple[ChartRow, ...]
    axis: Markup


def price_chart(evidence: RehearsalEvidence, multiples: Multiples) -> RowChart:
    """Draw in floors what an answer costs honest users, and below them what a stolen one costs each attacker.

    Attackers with data of their own come first, and the cheapest theft first.
    """
    axis = _Axis.of_prices(evidence)
    rows = []
    changed = [profile.dearest for profile in evidence.honest if profile.kind]
    rows = [
        _honest_row(axis, multiples, "honest users", dearest(evidence).dearest, over=multiples.over_budget(evidence))
    ]
    if changed:
        name, most = "honest users, tolerated changes", max(changed)
        rows.append(_honest_row(axis, multiples, name, most, over=most > MOST_TOLERATED))
    places = {attacker.name: index for index, attacker in enumerate(evidence.attackers)}
    for group in (strangers(evidence), changers(evidence)):
        for attacker in sorted(group, key=theft):
            rows.append(_thief_row(axis, multiples, attacker, places[attacker.name]))
    return RowChart(tuple(rows), axis.draw())


def _honest_row(axis: "_Axis", multiples: Multiples, name: str, price: float, *, over: bool) -> ChartRow:
    drawing = axis.bar(f"{name}: {floors(price)} an answer", price)
    state = f"honest {'over' if over else 'within'}"
    return ChartRow(name, "", number(price), times(multiples.of_solving(price)), state, drawing)


def _thief_row(axis: "_Axis", multiples: Multiples, attacker: SimulatedProfile, index: int) -> ChartRow:
    figures = attacker.figures
    assert figures is not None
    hint = (
        f"{attacker.name}: a stolen answer costs {floors(figures.theft)} at the best duty cycle, {floors(figures.five)}"
        f" on accounts of five queries, {floors(figures.pure)} without genuine queries in between"
    )
    drawing = axis.bar(hint, figures.theft, figures.five, figures.pure, style(index))
    state = "attacker over" if figures.theft < AIM and attacker.own_data else "attacker"
    remark = times(multiples.of_solving(figures.theft))
    return ChartRow(attacker.name, letter(index), number(figures.theft), remark, state, drawing)


def honest_chart(evidence: RehearsalEvidence) -> RowChart:
    """Draw the time that an answer takes each kind of honest users, dearest first."""
    profiles = sorted(evidence.honest, key=lambda profile: -profile.overhead[99])
    axis = _Axis.of_times([Spread.of(profile) for profile in profiles], evidence.overhead_budget)
    rows = []
    for profile in profiles:
        spread = Spread.of(profile)
        over = not profile.kind and round(spread.high, 2) > evidence.overhead_budget
        drawing = axis.spread(profile.name, spread)
        rows.append(ChartRow(profile.name, "", times(spread.high), "", "over" if over else "within", drawing))
    return RowChart(tuple(rows), axis.draw())


def score_chart(evidence: RehearsalEvidence) -> Chart:
    """Draw the number that the policy acts on against queries; it stays low for honest users."""
    bands = [profile.score for profile in evidence.profiles]
    low, high = min(min(band.low) for band in bands), max(max(band.high) for band in bands)
    scale = Scale(low, high, linear) if high > low else Scale(low - 1, high + 1, linear)
    ticks = tuple(Tick(scale(step), f"{step:,.4g}") for step in steps(scale.low, scale.high, 6))
    return _chart(
        evidence, evidence.score_name, scale, ticks, lambda profile: profile.score, lambda profile: profile.name
    )


def growth_chart(evidence: RehearsalEvidence) -> Chart:
    """Draw the mean price of a query so far against queries, in floors, both log."""
    bands = [mean_prices(evidence, profile) for profile in evidence.profiles]
    low, high = min(min(band.low) for band in bands), max(max(band.high) for band in bands)
    scale = Scale(low, max(high, 10 * low), math.log10)
    ticks = tuple(Tick(scale(power), f"{power:,.6g}") for power in decades(low, scale.high, 6))

    def hint(profile: SimulatedProfile) -> str:
        paid = (
            f"{floors(work_at(evidence, profile, queries) / queries)} at {queries:,}"
            for queries in milestones(evidence)
        )
        return f"{profile.name}: {', '.join(paid)} queries"

    return _chart(evidence, "floors a query", scale, ticks, lambda profile: mean_prices(evidence, profile), hint)


def accuracy_rows(evidence: RehearsalEvidence) -> tuple[ChartRow, ...]:
    """Draw the accuracy of a single teacher and of the vote as bars."""
    return tuple(
        ChartRow(name, "", f"{accuracy:.1%}", "", "wide", _bar(accuracy))
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
    """The axis of a chart of rows, with a line across them: the budget of honest users, or the aim for thieves."""

    scale: Scale
    ticks: tuple[float, ...]
    unit: str
    line: float

    @classmethod
    def of_prices(cls, evidence: RehearsalEvidence) -> "_Axis":
        """Return a logarithmic axis of floors, with the aim."""
        figures = [attacker.figures for attacker in evidence.attackers if attacker.figures]
        prices = [profile.dearest for profile in evidence.honest]
        prices += [price for paid in figures for price in (paid.theft, paid.five, paid.pure)]
        return cls._log(min(1.0, *prices), max(AIM, *prices), "", AIM)

    @classmethod
    def of_times(cls, spreads: Sequence[Spread], budget: float) -> "_Axis":
        """Return an axis of multiples with the budget: linear where all multiples are small, else logarithmic."""
        most = max(budget, *(spread.high for spread in spreads))
        least = min(1.0, *(spread.low for spread in spreads))
        if most > _LINEAR_UP_TO:
            return cls._log(least, most, "×", budget)
        scale = Scale(least, max(most * 1.08, least + 0.1), linear)
        return cls(scale, tuple(steps(scale.low, scale.high, 5)), "×", budget)

    @classmethod
    def _log(cls, low: float, high: float, unit: str, line: float) -> "_Axis":
        scale = Scale(low, max(high * 1.3, 10 * low), math.log10)
        return cls(scale, tuple(decades(scale.low, scale.high, 5)), unit, line)

    def draw(self) -> Markup:
        ticks = "".join(
            f'<text x="{self.scale(tick):.2%}" y="14" text-anchor="middle">{tick:,.6g}{self.unit}</text>'
            for tick in self.ticks
        )
        return Markup(f'<svg width="100%" height="20">{ticks}</svg>')  # noqa: S704  # numbers only

    def bar(
        self, hint: str, price: float, five: float | None = None, pure: float | None = None, css: str = ""
    ) -> Markup:
        """Return a bar up to a price; of a thief, with a ring at `five` and a bar at `pure`."""
        centre, end = _ROW_HEIGHT // 2, self.scale(price)
        marks = f'<rect class="box" width="{end:.2%}" y="8" height="10"/>'
        if five is not None and pure is not None:
            least, most = sorted((self.scale(five), self.scale(pure)))
            low, high = min(least, end), max(most, end)
            marks = (
                f'<rect class="reach" x="{low:.2%}" width="{high - low:.2%}" y="11" height="4"/>{marks}'
                f'<line class="median" x1="{self.scale(pure):.2%}" x2="{self.scale(pure):.2%}" y1="5" y2="21"/>'
                f'<circle class="ring" cx="{self.scale(five):.2%}" cy="{centre}" r="4.5"/>'
            )
        return self._row(hint, f'{marks}<circle class="end" cx="{end:.2%}" cy="{centre}" r="5.5"/>', css)

    def spread(self, name: str, spread: Spread) -> Markup:
        """Return a box with whiskers."""
        low, quarter, middle, three, high = map(
            self.scale, (spread.low, spread.quarter, spread.middle, spread.three_quarters, spread.high)
        )
        centre = _ROW_HEIGHT // 2
        return self._row(
            f"{name}: median {times(spread.middle)}, 99th percentile {times(spread.high)}",
            f'<rect class="reach" width="{middle:.2%}" y="9" height="8"/>'
            f'<line class="whisker" x1="{low:.2%}" x2="{high:.2%}" y1="{centre}" y2="{centre}"/>'
            f'<rect class="box" x="{quarter:.2%}" width="{max(0.0, three - quarter):.2%}" y="7" height="12"/>'
            f'<line class="median" x1="{middle:.2%}" x2="{middle:.2%}" y1="5" y2="21"/>'
            f'<circle class="end" cx="{high:.2%}" cy="{centre}" r="4"/>',
        )

    def _row(self, hint: str, marks: str, css: str = "") -> Markup:
        text, line = escape(hint), self.scale(self.line)
        grid = "".join(
            f'<line class="rule" x1="{self.scale(tick):.2%}" x2="{self.scale(tick):.2%}" y2="{_ROW_HEIGHT}"/>'
            for tick in self.ticks
        )
        return Markup(  # noqa: S704  # the hint is escaped
            f'<svg class="spread {css}" width="100%" height="{_ROW_HEIGHT}" role="img" aria-label="{text}">'
            f"<title>{text}</title>{grid}"
            f'<line class="limit" x1="{line:.2%}" x2="{line:.2%}" y2="{_ROW_HEIGHT}"/>{marks}</svg>'
        )
