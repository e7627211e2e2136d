"""Points of figures of our attacks: the means over the divisions whose CSV files are in docs/results/attacks."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from benchmarks.attacks.thefts.attack_kinds import ATTACK_KINDS
from benchmarks.attacks.thefts.attack_tables import FLOOR_SECONDS
from benchmarks.attacks.thefts.score_files import ScoreCosts, read_score_costs
from benchmarks.attacks.thefts.stolen_copies import DomainTheft
from benchmarks.attacks.thefts.theft_files import read_thefts
from benchmarks.range.trials.policies import EVIDENCE, PAPER

Numbers = Mapping[str, float]
HEADER = (
    *(
        "domain",
        "attack",
        "queries",
        "divisions",
        "answers",
        "accuracy",
        "least",
        "most",
        "fidelity",
        "privacy",
        "gap",
        "entropy",
    ),
    *("floors_evidence", "floors_paper"),
)


@dataclass(frozen=True)
class AttackPoint:
    """The mean figures of an attack at a number of answers; those that were not measured are missing.

    numbers: accuracy of the copy, its least and most, and fidelity, in percent; sums of privacy, gap and entropy;
    seconds of the reference client without proof of work, and with it under either policy; mean floors of an answer.
    """

    domain: str
    attack: str
    divisions: int
    answers: int
    numbers: Numbers

    def cells(self) -> tuple[object, ...]:
        """Return the numbers of HEADER, empty where they are missing."""
        kind = ATTACK_KINDS[self.attack]
        found = [f"{self.numbers[name]:.6g}" if name in self.numbers else "" for name in HEADER[5:]]
        return self.domain, kind.title, kind.data, self.divisions, self.answers, *found


@dataclass(frozen=True)
class MeasuredAttacks:
    """Measurements of a domain: its stolen copies, and the costs of queries by the scores of Table 3."""

    domain: str
    thefts: Sequence[DomainTheft]
    costs: Sequence[ScoreCosts]

    def copies(self, attack: str) -> list[AttackPoint]:
        """Return the points at which an attack's copies were tried, by number of answers."""
        return list(self._copies(attack))

    def along(self, attack: str) -> list[AttackPoint]:
        """Return the points along an attack's queries, by number; without costs, those of its copies."""
        if not self.costs:
            return self.copies(attack)
        found = [point for costs in self.costs for point in costs.of(attack)]
        return [
            AttackPoint(
                self.domain,
                attack,
                len(self.costs),
                answers,
                {
                    "answers": answers,
                    **{
                        name: fmean(point.sums[score] for point in found if point.answers == answers)
                        for name, score in (("privacy", "pate"), ("gap", "gap"), ("entropy", "entropy"))
                    },
                },
            )
            for answers in sorted({point.answers for point in found})
        ]

    def _copies(self, attack: str) -> Iterator[AttackPoint]:
        for answers in sorted({copy.answers for theft in self.thefts for copy in theft.of(attack)}):
            copies = [copy for theft in self.thefts for copy in theft.of(attack) if copy.answers == answers]
            right = [100 * copy.accuracy for copy in copies]
            floors = {policy: fmean(copy.floors[policy] for copy in copies) for policy in (EVIDENCE, PAPER)}
            numbers = {
                "answers": answers,
                "accuracy": fmean(right),
                "least": min(right),
                "most": max(right),
                "fidelity": 100 * fmean(copy.fidelity for copy in copies),
                "privacy": fmean(copy.privacy for copy in copies),
                "floors_evidence": floors[EVIDENCE],
                "floors_paper": floors[PAPER],
                "seconds": answers * FLOOR_SECONDS,
                "seconds_evidence": answers * floors[EVIDENCE] * FLOOR_SECONDS,
                "seconds_paper": answers * floors[PAPER] * FLOOR_SECONDS,
            }
            yield AttackPoint(self.domain, attack, len(copies), answers, numbers)


def measured_attacks(folder: Path, domain: str) -> MeasuredAttacks:
    """Return what was measured of a domain, which may be nothing."""
    return MeasuredAttacks(domain, read_thefts(folder, domain), read_score_costs(folder, domain))
