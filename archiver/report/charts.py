"""The report's pictures, from evidence: score and work against queries, and what honest users pay."""

import math
from collections.abc import Callable, Sequence
from operator import truediv

from calpow.archiver.calibration.calibration_document import Band, RehearsalEvidence, SimulatedProfile
from calpow.archiver.report.svg import Chart, Scale, Series, Tick, decades, escape, linear, steps
from calpow.archiver.report.verdicts import (
    attackers,
    duration,
    envelope,
    exactly,
    honest,
    milestones,
    multiple,
    times,
)

# Colours and dashes the page's style knows: s0, s1, ...
STYLES = 6
_TIMES = tuple(
    size * unit
    for unit, sizes in (
        (1e-3, (1, 100)),
        (1, (1, 10)),
        (60, (1, 10)),
        (3_600, (1, 10)),
        (86_400, (1, 10, 100)),
        (365.25 * 86_400, (1, 10, 100, 1_000)),
    )
    for size in sizes
)
_LINEAR_UP_TO = 6.0


def letter(index: int) -> str:
    """Return the mark of an attacker's line: A to Z, then AA and on."""
    return (letter(index // 26 - 1) if index >= 26 else "") + chr(ord("A") + index % 26)


def style(index: int) -> str:
    """Return the CSS class of an attacker's line."""
    return f"s{index % STYLES}"


def score_chart(evidence: RehearsalEvidence) -> Chart:
    """Draw the mean score so far against queries; honest users and attackers converge to different values."""

    def mean(profile: SimulatedProfile) -> Band:
        rows = (profile.score.low, profile.score.middle, profile.score.high)
        return Band(*(tuple(map(truediv, row, evidence.checkpoints)) for row in rows))

    bands = [mean(each) for each in evidence.profiles]
    low, high = min(min(band.low) for band in bands), max(max(band.high) for band in bands)
    scale = Scale(low, high, linear) if high > low else Scale(low - 1, high + 1, linear)
    ticks = tuple(Tick(scale(each), f"{each:,.4g}") for each in steps(scale.low, scale.high, 6))
    return _chart(evidence, "score a query", scale, ticks, (), mean)


def work_chart(evidence: RehearsalEvidence, floor_seconds: float) -> Chart:
    """Draw summed work against queries, both log: floors on the left, time of the reference client on the right."""
    bands = [each.work for each in evidence.profiles]
    low, high = min(min(band.low) for band in bands), max(max(band.high) for band in bands)
    scale = Scale(low, max(high, 10 * low), math.log10)
    durations = [each for each in _TIMES if low <= each / floor_seconds <= scale.high]
    return _chart(
        evidence,
        "summed work",
        scale,
        tuple(Tick(scale(each), _number(each)) for each in decades(low, scale.high, 6)),
        tuple(Tick(scale(each / floor_seconds), duration(each)) for each in durations),
        lambda profile: profile.work,
    )


def overhead_rows(evidence: RehearsalEvidence) -> str:
    """Draw one row a legitimate profile: 1st to 99th percentile, the middle half, the median, and the budget."""
    scale, ticks = _overhead_axis(evidence)
    rows = sorted(honest(evidence), key=lambda each: -each.overhead[99])
    axis = "".join(
        f'<text x="{scale(tick):.2%}" y="14" text-anchor="middle">{escape(exactly(tick))}</text>' for tick in ticks
    )
    drawn = "".join(_overhead_row(each, scale, ticks, evidence.overhead_budget) for each in rows)
    return (
        f'<div class="rows">{drawn}<div class="row axis" aria-hidden="true"><span></span>'
        f'<svg width="100%" height="20">{axis}</svg><span></span></div></div>'
    )


def accuracy_bars(evidence: RehearsalEvidence) -> str:
    """Draw the accuracy of a single teacher and of the vote."""
    return "".join(
        f'<div class="row wide"><span>{name}</span><svg width="100%" height="18" role="img" aria-label="{value:.1%}">'
        f'<rect class="track" width="100%" height="18"/><rect class="bar" width="{min(max(value, 0), 1):.2%}"'
        f' height="18"/></svg><span class="value">{value:.1%}</span></div>'
        for name, value in (("One teacher", evidence.teacher_accuracy), ("Their vote", evidence.vote_accuracy))
    )


def _chart(
    evidence: RehearsalEvidence,
    what: str,
    scale: Scale,
    y_ticks: tuple[Tick, ...],
    right_ticks: tuple[Tick, ...],
    band_of: Callable[[SimulatedProfile], Band],
) -> Chart:
    first, last = evidence.checkpoints[0], evidence.checkpoints[-1]
    across = Scale(first, max(last, 10 * first), math.log10)
    x = [across(point) for point in evidence.checkpoints]

    def line(profile: SimulatedProfile, style: str, badge: str = "", badge_at: float = 0.0) -> Series:
        points = tuple(zip(x, map(scale, band_of(profile).middle), strict=True))
        return Series(profile.name, style, points, _hint(evidence, profile), badge, badge_at)

    thieves = attackers(evidence)
    places = [0.3 + 0.68 * (index + 0.5) / len(thieves) for index in range(len(thieves))]
    low, high = (list(map(scale, edge)) for edge in envelope([band_of(each) for each in honest(evidence)]))
    return Chart(
        text=_alternative(evidence, what),
        x_ticks=tuple(Tick(across(each), f"{each:,.0f}") for each in decades(first, last, 7)),
        y_ticks=y_ticks,
        right_ticks=right_ticks,
        band=(*zip(x, high, strict=True), *reversed(tuple(zip(x, low, strict=True)))),
        lines=(
            *(line(each, "honest") for each in honest(evidence)),
            *(line(each, style(index), letter(index), places[index]) for index, each in enumerate(thieves)),
        ),
    )


def _hint(evidence: RehearsalEvidence, profile: SimulatedProfile) -> str:
    paid = ", ".join(f"{times(multiple(evidence, profile, each))} at {each:,}" for each in milestones(evidence))
    return f"{profile.name}: {paid} queries"


def _alternative(evidence: RehearsalEvidence, what: str) -> str:
    names = ", ".join(each.name for each in attackers(evidence)) or "none"
    return (
        f"{what.capitalize()} against queries, up to {evidence.checkpoints[-1]:,}: the band of {len(honest(evidence))}"
        f" kinds of honest users, and a line for each attacker ({names}). The table of attackers has the numbers."
    )


def _overhead_axis(evidence: RehearsalEvidence) -> tuple[Scale, list[float]]:
    most = max(evidence.overhead_budget, *(each.overhead[99] for each in honest(evidence)))
    least = min(1.0, *(each.overhead[1] for each in honest(evidence)))
    if most <= _LINEAR_UP_TO:
        scale = Scale(least, max(most * 1.08, least + 0.1), linear)
        return scale, steps(scale.low, scale.high, 5)
    scale = Scale(least, most * 1.3, math.log10)
    return scale, decades(scale.low, scale.high, 5)


def _overhead_row(profile: SimulatedProfile, scale: Scale, ticks: Sequence[float], budget: float) -> str:
    low, quarter, middle, three, high = (scale(profile.overhead[each]) for each in (1, 25, 50, 75, 99))
    state = "over" if profile.overhead[99] > budget else "within"
    said = (
        f"{profile.name}: median {times(profile.overhead[50])}, 99th percentile {times(profile.overhead[99])},"
        f" {state} the budget"
    )
    grid = "".join(f'<line class="rule" x1="{scale(tick):.2%}" x2="{scale(tick):.2%}" y2="26"/>' for tick in ticks)
    return (
        f'<div class="row {state}"><span class="name">{escape(profile.name)}</span>'
        f'<svg width="100%" height="26" role="img" data-overhead="{escape(profile.name)}" aria-label="{escape(said)}">'
        f"<title>{escape(said)}</title>{grid}"
        f'<line class="budget" x1="{scale(budget):.2%}" x2="{scale(budget):.2%}" y2="26"/>'
        f'<line class="whisker" x1="{low:.2%}" x2="{high:.2%}" y1="13" y2="13"/>'
        f'<rect class="box" x="{quarter:.2%}" width="{three - quarter:.2%}" y="7" height="12"/>'
        f'<line class="median" x1="{middle:.2%}" x2="{middle:.2%}" y1="5" y2="21"/>'
        f'<circle class="end" cx="{high:.2%}" cy="13" r="4"/></svg>'
        f'<span class="value">{escape(times(profile.overhead[99]))}</span></div>'
    )


def _number(value: float) -> str:
    if abs(value) >= 1e6:
        return f"{value / 1e6:,.0f} M"
    return f"{value:,.0f}" if abs(value) >= 1 or value == 0 else f"{value:g}"
