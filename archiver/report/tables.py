"""The report's tables, from evidence: thieves, honest users, and the scores that were chosen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from calpow.archiver.calibration.calibration_document import Calibration, RehearsalEvidence, SimulatedProfile
from calpow.archiver.calibration.judgement import AIM, MOST_TOLERATED, score_label, scores_in_use
from calpow.archiver.calibration.timing.tight_loop import TightLoop
from calpow.archiver.report.charts import letter, style
from calpow.archiver.report.formats import number, times
from calpow.archiver.report.multiples import Multiples, score_labels
from calpow.handler.policy.calibrated_policy import CalibratedPolicy, PolicyName
from calpow.handler.policy.evidence import ScoreTest

# Queries for each stolen answer where a half, one in five and one in twenty are strangers.
_HALF, _FIFTH, _TWENTIETH = 2, 5, 20
_CLASS = "class "
ONE_CLASS = "one class, the dearest"


@dataclass(frozen=True)
class Price:
    """A price in floors, what it is of unprotected answers, a remark, and whether it is too low or too high."""

    floors: str
    times: str
    remark: str = ""
    marked: bool = False


@dataclass(frozen=True)
class AttackerRow:
    """An attacker as the tables show it.

    prices: of a stolen answer, under the headings of PRICES. tight_loop: what a stolen answer costs at the best duty
    cycle of a thief whose solver takes digests only, in unprotected answers. free: answers that are had after an honest
    past.
    intolerant: the price of a stolen answer if nothing were tolerated; None where nothing is.
    separations: its AUROC by each score with a mark for the best one; None where it is not known.
    """

    name: str
    mark: str
    style: str
    own_data: bool
    samples: int
    prices: tuple[Price, ...]
    tight_loop: str
    free: str
    intolerant: Price | None
    separations: tuple[tuple[float, bool] | None, ...]

    @property
    def theft(self) -> Price:
        """The price at the best duty cycle."""
        return self.prices[0]


PRICES = (
    "a theft at the best duty cycle",
    "pure",
    "half are thefts",
    "1 in 5",
    "1 in 20",
    "the cheapest third",
    "accounts of five queries",
)


@dataclass(frozen=True)
class HonestRow:
    """Payments of users who send one kind of samples: by the headings of their table, with and without tolerance."""

    change: str
    prices: tuple[tuple[Price, Price | None] | None, ...]


@dataclass(frozen=True)
class HonestTable:
    """Payments of honest users, by the kind of their samples and by their mixture of classes."""

    headings: tuple[str, ...]
    rows: tuple[HonestRow, ...]


@dataclass(frozen=True)
class ScoreRow:
    """A score that is bet on: whether both its sides are odd, and in how many classes each level can be reached."""

    label: str
    two_sided: bool
    classes: tuple[int, ...]


def attacker_rows(calibration: Calibration, multiples: Multiples) -> list[AttackerRow]:
    """Return the rows of all attackers, in the order of their marks."""
    evidence, labels = calibration.rehearsal, score_labels(calibration.rehearsal)
    loop = TightLoop.of(calibration.policy, calibration.measurement.latency_seconds)
    return [
        AttackerRow(
            name=attacker.name,
            mark=letter(index),
            style=style(index),
            own_data=attacker.own_data,
            samples=attacker.samples,
            prices=_thief_prices(attacker, multiples),
            tight_loop=times(loop.theft(attacker.figures)) if attacker.figures else "",
            free=f"{attacker.figures.free:.3g}" if attacker.figures else "",
            intolerant=_intolerant(evidence, attacker, multiples),
            separations=_separations(attacker, labels),
        )
        for index, attacker in enumerate(evidence.attackers)
    ]


def _thief_prices(attacker: SimulatedProfile, multiples: Multiples) -> tuple[Price, ...]:
    """Return the prices of a stolen answer, all that the thief pays in between included."""
    figures = attacker.figures
    assert figures is not None
    prices = (
        figures.theft,
        figures.pure,
        figures.half * _HALF,
        figures.fifth * _FIFTH,
        figures.twentieth * _TWENTIETH,
        figures.cheapest,
        figures.five,
    )
    best, *others = (Price(number(price), times(multiples.of_solving(price))) for price in prices)
    fillers = f"{figures.fillers} in between" if figures.fillers else "nothing in between"
    return (Price(best.floors, best.times, fillers, figures.theft < AIM), *others)


def _intolerant(evidence: RehearsalEvidence, profile: SimulatedProfile, multiples: Multiples) -> Price | None:
    price = evidence.intolerant.get(profile.name)
    return None if price is None else Price(number(price), times(multiples.of_solving(price)))


def _separations(attacker: SimulatedProfile, labels: Sequence[str]) -> tuple[tuple[float, bool] | None, ...]:
    best = max((abs(auroc - 0.5) for auroc in attacker.auroc.values()), default=0.0)
    aurocs = [attacker.auroc.get(label) for label in labels]
    return tuple(None if auroc is None else (auroc, abs(auroc - 0.5) == best and len(labels) > 1) for auroc in aurocs)


def honest_table(evidence: RehearsalEvidence, multiples: Multiples) -> HonestTable:
    """Return what honest users pay; of the users of one class, those of the dearest class."""
    cells: dict[str, dict[str, SimulatedProfile]] = {}
    for profile in evidence.honest:
        mixture = _mixture(profile)
        heading = ONE_CLASS if mixture.startswith(_CLASS) else mixture
        row = cells.setdefault(profile.kind, {})
        if heading not in row or profile.dearest > row[heading].dearest:
            row[heading] = profile
    headings = tuple(dict.fromkeys(heading for row in cells.values() for heading in row))
    return HonestTable(
        headings,
        tuple(
            HonestRow(
                kind or "as they are", tuple(_honest_price(evidence, row.get(name), multiples) for name in headings)
            )
            for kind, row in cells.items()
        ),
    )


def _mixture(profile: SimulatedProfile) -> str:
    """Return the name of a kind of users without the change of their samples."""
    return profile.name.removesuffix(f", {profile.kind}") if profile.kind else profile.name


def _honest_price(
    evidence: RehearsalEvidence, profile: SimulatedProfile | None, multiples: Multiples
) -> tuple[Price, Price | None] | None:
    if profile is None:
        return None
    mixture = _mixture(profile)
    of_class = mixture.removeprefix(_CLASS) if mixture.startswith(_CLASS) else ""
    over = bool(profile.kind) and profile.dearest > MOST_TOLERATED
    paid = Price(number(profile.dearest), times(multiples.of_work(profile.dearest, 1)), of_class, over)
    without = evidence.intolerant.get(profile.name)
    return paid, None if without is None else Price(number(without), times(multiples.of_work(without, 1)))


def score_rows(policy: CalibratedPolicy) -> list[ScoreRow]:
    """Return the scores that are bet on; none under the paper's policy."""
    if policy.name is PolicyName.paper:
        return []
    sides: Mapping[str, bool] = scores_in_use(policy)
    return [
        ScoreRow(score_label(policy, test), sides[score_label(policy, test)], _reachable(test, policy))
        for test in policy.evidence.tests
    ]


def _reachable(test: ScoreTest, policy: CalibratedPolicy) -> tuple[int, ...]:
    """Return the number of classes in which each level can be reached."""
    lows = test.low or ((),) * len(test.high)
    counts = [max(len(high), len(low)) for high, low in zip(test.high, lows, strict=True)]
    return tuple(sum(count > level for count in counts) for level in range(len(policy.evidence.levels)))
