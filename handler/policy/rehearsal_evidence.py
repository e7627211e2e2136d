"""What a calibration showed: how simulated users and attackers fare under it. The worker never looks at it."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum


class Role(Enum):
    """Who sends the queries of a profile."""

    legitimate = "legitimate"
    attacker = "attacker"


@dataclass(frozen=True)
class Band:
    """A quantity at each of Evidence.checkpoints: 1st percentile, median and 99th over the simulated users."""

    low: tuple[float, ...]
    middle: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True)
class Profile:
    """Simulated users who send one kind of queries.

    samples: how many different ones there were to draw from.
    score: summed score the policy acts on, after so many queries.
    work: summed solving time of all queries so far, in multiples of the floor; the floor itself is one a query.
    overhead: percentiles 0, 1, ..., 100 over users of the time a query takes with the gate over the time it takes
        without, mean over the queries up to the horizon.
    auroc: how well each metric alone tells one such query from a legitimate one of its class (0.5: not at all), by
        the metric's name; empty for legitimate users.
    """

    name: str
    role: Role
    samples: int
    score: Band
    work: Band
    overhead: tuple[float, ...]
    auroc: Mapping[str, float]


@dataclass(frozen=True)
class Evidence:
    """All profiles, and what the owner should know before he deploys.

    score_name: what `Profile.score` is, for the axis of a picture.
    teacher_accuracy, vote_accuracy: of the ensemble, on legitimate samples no teacher was trained on.
    warnings: one sentence each.
    """

    score_name: str
    horizon: int
    overhead_budget: float
    checkpoints: tuple[int, ...]
    profiles: tuple[Profile, ...]
    teacher_accuracy: float
    vote_accuracy: float
    warnings: tuple[str, ...]
