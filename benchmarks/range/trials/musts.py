"""Bounds that the policies must keep, by domain, in floors; and the figures they reached, worst of all seeds."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from benchmarks.range.trials.judgement import Figures, Judgement


@dataclass(frozen=True)
class Worst:
    """The worst figure of one row and seed, and of what; the best figure among the same kinds, and of what."""

    value: float
    name: str
    best: float
    best_name: str


Extract: TypeAlias = Callable[[Judgement], Mapping[str, float]]


@dataclass(frozen=True)
class Must:
    """A row that every seed must reach: figures by name, the worst of which is bounded from above or from below.

    bounds: by the kind of domain.
    """

    row: str
    figures: Extract
    is_most: bool
    bounds: Mapping[str, float]

    def worst(self, judgement: Judgement) -> Worst | None:
        """Return the worst and the best figure of a seed; None where there are none."""
        figures = self.figures(judgement)
        if not figures:
            return None
        high, low = max(figures, key=lambda name: figures[name]), min(figures, key=lambda name: figures[name])
        worst, best = (high, low) if self.is_most else (low, high)
        return Worst(figures[worst], worst, figures[best], best)

    def bound(self, domain: str) -> float:
        """Return the bound for a domain."""
        return self.bounds[COLUMNS[domain]]

    def holds(self, domain: str, value: float) -> bool:
        """Return whether a figure is within the bound."""
        return value <= self.bound(domain) if self.is_most else value >= self.bound(domain)


GREY, PHOTOGRAPHS, TABLE, FEW = "grey images", "photographs", "table or text", "few a class"
COLUMNS = {
    "fashion": GREY,
    "mnist": GREY,
    "cifar10": PHOTOGRAPHS,
    "diamonds": TABLE,
    "descriptions": TABLE,
    "digits": FEW,
    "signs": FEW,
}


def _bounds(grey: float, photographs: float, table: float, few: float) -> Mapping[str, float]:
    return {GREY: grey, PHOTOGRAPHS: photographs, TABLE: table, FEW: few}


def _class_mixes(judgement: Judgement) -> Mapping[str, float]:
    return {f"{mix}, {length}": paid for mix, of in judgement.honest.items() for length, paid in of.items()}


def _shifts(figure: str) -> Extract:
    def extract(judgement: Judgement) -> Mapping[str, float]:
        return {
            name if figure == "uniform" else f"{name}, {shift['class']}": float(shift[figure])
            for name, shift in judgement.shifts.items()
            if shift["tolerated"]
        }

    return extract


def own_strangers(judgement: Judgement) -> Mapping[str, Figures]:
    """Return the strangers that share nothing with legitimate inputs."""
    return {name: figures for name, figures in judgement.strangers.items() if not figures["derived"]}


def _strangers(figure: str) -> Extract:
    return lambda judgement: {name: float(of[figure]) for name, of in own_strangers(judgement).items()}


def _repeated(judgement: Judgement) -> Mapping[str, float]:
    found = {}
    for name, figures in own_strangers(judgement).items():
        found[f"{name}, repeated"] = float(figures["repeated"])
        found[f"{name}, {figures['copies of']}"] = float(figures["copies"])
    return found


def _gains(judgement: Judgement) -> Mapping[str, float]:
    return {name: float(of["oracle"]["gain"]) for name, of in own_strangers(judgement).items()}


MUSTS = (
    Must("honest, every class mix", _class_mixes, True, _bounds(2, 2, 2, 2)),
    Must("honest, tolerated shifts, all classes", _shifts("uniform"), True, _bounds(2, 2, 2, 2)),
    Must("honest, tolerated shifts, one class", _shifts("one class"), True, _bounds(4, 4, 4, 6)),
    Must("honest, one payload repeated", lambda judgement: {"": judgement.repeaters}, True, _bounds(2, 2, 2, 2)),
    Must("strangers, pure", _strangers("pure"), False, _bounds(1_000, 1_000, 1_000, 1_000)),
    Must("one in five", _strangers("fifth"), False, _bounds(1_000, 1_000, 1_000, 10)),
    Must("a theft, honest fillers", _strangers("theft"), False, _bounds(25, 18, 25, 10)),
    Must("a theft, one payload or near-copies", _repeated, False, _bounds(22, 16, 22, 9)),
    Must("new accounts of five queries", _strangers("new 5"), False, _bounds(50, 7, 50, 3)),
    Must("gain of a thief who reads prices", _gains, True, _bounds(2, 2, 2, 2)),
    Must("free after 10,000 honest queries", _strangers("free"), True, _bounds(4, 4, 4, 8)),
)


def failures(domain: str, judgements: Sequence[Judgement]) -> Iterator[str]:
    """Yield the rows that a domain's seeds do not reach."""
    for must in MUSTS:
        worst = [found for judgement in judgements if (found := must.worst(judgement)) is not None]
        if any(not must.holds(domain, found.value) for found in worst):
            yield must.row
