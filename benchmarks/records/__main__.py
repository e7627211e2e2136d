"""Detection of thieves by `calpow calibrate --from-records`, on scikit-learn's digits.

python -m benchmarks.records

Scores are real, accounts are simulated: a user sends mostly a few classes, and only half of the images; a thief sends
ten times as many queries. The table shows how many thieves are detected, for rising shares of thieves.
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.command_line import command_parser
from benchmarks.records.crowds import ScoredCrowd, ThiefKind, recorded, scored_crowd
from calpow.archiver.calibration.records.recorded_samples import vet_records
from calpow.archiver.errors import RecordsError

SHARES = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4)
# Seeds by the number of accounts; large crowds differ little from seed to seed.
SEEDS = {20: 5, 100: 3, 500: 1}


KINDS: Mapping[str, ThiefKind] = {
    "strangers": ThiefKind(),
    "half strangers": ThiefKind(0.5),
    "one stranger in five": ThiefKind(0.2),
    "perturbed": ThiefKind(perturbed=True),
    "strangers, 30 queries": ThiefKind(queries=30),
    "half, 30 queries": ThiefKind(0.5, queries=30),
    "strangers, 5 queries": ThiefKind(queries=5),
}


@dataclass(frozen=True)
class Vetting:
    """The shares of thieves detected and of users dropped."""

    detected: float
    wrong: float


def vetted(pool: ScoredCrowd, accounts: int, share: float, kind: ThiefKind, seed: int) -> Vetting | None:
    """Draw a crowd of accounts and vet it; return None if too few accounts are left."""
    rng = np.random.default_rng(seed)
    crowd, thieves = recorded(pool, accounts, share, kind, rng)
    try:
        left = vet_records(crowd, pool.honest.class_names, rng)
    except RecordsError:
        return None
    dropped = [int(name) for name, _ in left.dropped]
    detected = sum(number < thieves for number in dropped)
    return Vetting(detected / thieves if thieves else np.nan, (len(dropped) - detected) / (accounts - thieves))


def print_vetting(pool: ScoredCrowd) -> None:
    """Print the table."""
    print("Thieves detected / users dropped by mistake, per cent")
    print(f"{'thieves send':<24}{'accounts':>9}" + "".join(f"{share:>14.0%}" for share in SHARES))
    for name, kind in KINDS.items():
        for accounts, seeds in SEEDS.items():
            cells = []
            for share in SHARES:
                runs = [vetted(pool, accounts, share, kind, seed) for seed in range(seeds)]
                done = [run for run in runs if run is not None]
                cells.append(cell(done, share) if done else "too few")
            print(f"{name:<24}{accounts:>9}" + "".join(f"{cell:>14}" for cell in cells), flush=True)


def cell(runs: Sequence[Vetting], share: float) -> str:
    """Return a cell of the table: thieves detected / users dropped, in per cent."""
    detected = f"{100 * np.mean([run.detected for run in runs]):.0f}" if share else "-"
    return f"{detected} / {100 * np.mean([run.wrong for run in runs]):.1f}"


def main() -> None:
    """Print the table."""
    command_parser("benchmarks.records", __doc__).parse_args()
    with tempfile.TemporaryDirectory(prefix="calpow-records-") as home:
        pool = scored_crowd(Path(home))
    print_vetting(pool)


if __name__ == "__main__":
    main()
