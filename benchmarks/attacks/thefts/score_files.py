"""CSV files of the costs of attacks' queries by several scores, one a domain and division."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.attacks.thefts.attack_kinds import ATTACK_KINDS, GENUINE
from benchmarks.attacks.thefts.theft_files import HONEST, HONEST_TITLE, write_rows

# Of the paper's Tables 2 and 3: PATE's privacy cost, and three others.
SCORES = ("pate", "gap", "entropy", "pknn")
HEADER = (
    *("domain", "seed", "commit", "attack", "title", "queries", "answers"),
    *SCORES,
    *(f"floors {score}" for score in SCORES),
    *(f"base {score}" for score in SCORES),
)


@dataclass(frozen=True)
class ScorePoint:
    """The costs of an attack's first queries by score, summed, and the mean price of an answer under the paper's rule.

    Those of a legitimate user (HONEST): the mean sum, and the price of the 99th percentile.
    """

    attack: str
    answers: int
    sums: Mapping[str, float]
    floors: Mapping[str, float]


@dataclass(frozen=True)
class ScoreCosts:
    """The costs of attacks in one division, each at some numbers of answers; bases: of the fitted rule, by score."""

    domain: str
    seed: int
    commit: str
    bases: Mapping[str, float]
    points: tuple[ScorePoint, ...]

    def of(self, attack: str) -> list[ScorePoint]:
        """Return the points of one attack, by number of answers."""
        return [point for point in self.points if point.attack == attack]


def write_score_costs(costs: ScoreCosts, folder: Path) -> Path:
    """Write costs-DOMAIN-SEED.csv into a folder and return its path."""
    return write_rows(folder / f"costs-{costs.domain}-{costs.seed}.csv", HEADER, _rows(costs))


def read_score_costs(folder: Path, domain: str) -> list[ScoreCosts]:
    """Return all divisions of a domain that are in a folder, by seed."""
    found = [_read(path) for path in folder.glob(f"costs-{domain}-*.csv")]
    return sorted(found, key=lambda costs: costs.seed)


def _read(path: Path) -> ScoreCosts:
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    first = rows[0]
    return ScoreCosts(
        domain=first["domain"],
        seed=int(first["seed"]),
        commit=first["commit"],
        bases=_numbers(first, "base "),
        points=tuple(
            ScorePoint(row["attack"], int(row["answers"]), _numbers(row), _numbers(row, "floors ")) for row in rows
        ),
    )


def _numbers(row: Mapping[str, str], before: str = "") -> dict[str, float]:
    return {score: float(row[before + score]) for score in SCORES}


def _rows(costs: ScoreCosts) -> Iterator[Sequence[object]]:
    for point in costs.points:
        kind = ATTACK_KINDS.get(point.attack)
        names = (HONEST_TITLE, GENUINE) if kind is None else (kind.title, kind.data)
        yield (
            *(costs.domain, costs.seed, costs.commit, point.attack, *names, point.answers),
            *(f"{values[score]:.6g}" for values in (point.sums, point.floors, costs.bases) for score in SCORES),
        )


def honest_point(answers: int, sums: Mapping[str, float], floors: Mapping[str, float]) -> ScorePoint:
    """Return the point of a legitimate user."""
    return ScorePoint(HONEST, answers, sums, floors)
