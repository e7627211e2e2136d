"""Rehearsal evidence as of a calibration, made up: 36 kinds of honest users and 7 attackers."""

import numpy as np
from numpy.typing import NDArray

from calpow.archiver.calibration.calibration_document import (
    Band,
    RehearsalEvidence,
    Role,
    SimulatedProfile,
    ThiefFigures,
)

Floats = NDArray[np.float64]

EXPONENT, CEILING = 0.7, 14.0
QUERIES, USERS = 10_000, 20
CHECKPOINTS = np.unique(np.geomspace(1, QUERIES, 25).round().astype(np.int64))
FLOOR_OVER_LATENCY = 0.5
CLASSES = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
TOLERATED = ("noise", "shift")
# What a query of an attacker adds to his log wealth, whether he brings data of his own, and what he pays.
ATTACKERS = {
    "noise": (2.3, True, ThiefFigures(19_900, 19_700, 18_300, 4_120, 19_800, 62.4, 20, 812, 0)),
    "dead leaves": (1.2, True, ThiefFigures(19_700, 19_100, 9_870, 41, 17_900, 31.2, 20, 166, 0.5)),
    "strokes": (0.6, True, ThiefFigures(19_400, 17_500, 3_310, 1.9, 9_240, 24.6, 14, 92, 1.25)),
    "digits": (0.8, True, ThiefFigures(19_600, 18_200, 6_730, 5.7, 14_100, 28.3, 14, 120, 1)),
    "cutmix": (0.25, False, ThiefFigures(18_900, 8_020, 12, 1.1, 1.3, 10.8, 4, 5.2, 4.5)),
    "mixup": (0.1, False, ThiefFigures(16_300, 412, 1.6, 1.05, 1, 7.4, 4, 2.6, 6)),
    "perturbed": (0.003, False, ThiefFigures(1.7, 1.3, 1.1, 1.02, 1, 1.7, 0, 1.3, 43)),
}
# What users would pay if nothing were tolerated, by the change of their samples.
INTOLERANT = {"": 1.6, "noise": 260.0, "shift": 7.3}


def simulated_evidence(warnings: tuple[str, ...] = (), seed: int = 0) -> RehearsalEvidence:
    """Return evidence of users whose log wealth is exponential, and of attackers whose log wealth grows evenly."""
    rng = np.random.default_rng(seed)
    honest = {
        (f"{name}, {kind}" if kind else name): (kind, oddness * (1.2 if kind else 1.0))
        for kind in ("", *TOLERATED)
        for name, oddness in {"uniform": 0.3, "mixture": 0.4, **{f"class {name}": 0.5 for name in CLASSES}}.items()
    }
    profiles = [
        _profile(name, kind, rng.exponential(oddness, (USERS, QUERIES))) for name, (kind, oddness) in honest.items()
    ]
    for name, (growth, *_) in ATTACKERS.items():
        profiles.append(_profile(name, "", np.cumsum(rng.normal(growth, 0.3 * growth, (USERS, QUERIES)), axis=1)))
    return RehearsalEvidence(
        score_name="log of the mean wealth of the bets",
        horizon=QUERIES,
        overhead_budget=2.0,
        checkpoints=tuple(CHECKPOINTS.tolist()),
        profiles=tuple(profiles),
        tolerated=TOLERATED,
        intolerant={name: INTOLERANT[kind] for name, (kind, _) in honest.items()}
        | {name: 1.4 * figures.theft for name, (_, _, figures) in ATTACKERS.items()},
        teacher_accuracy=0.797,
        vote_accuracy=0.855,
        warnings=warnings,
    )


def _profile(name: str, kind: str, log_wealth: Floats) -> SimulatedProfile:
    scores = np.clip(log_wealth, 0, CEILING)
    prices = np.exp(EXPONENT * scores)
    work = np.cumsum(prices, axis=1)[:, CHECKPOINTS - 1]
    growth, own_data, figures = ATTACKERS.get(name, (0.0, False, None))
    oddness = 1 - np.exp(-2 * growth)
    lengths = np.array([100, 1_000, QUERIES])
    payments = np.cumsum(prices, axis=1)[:, lengths - 1] / lengths
    return SimulatedProfile(
        name=name,
        role=Role.legitimate if figures is None else Role.attacker,
        kind=kind,
        own_data=own_data,
        samples=500,
        score=_band(scores[:, CHECKPOINTS - 1]),
        work=_band(work),
        overhead=tuple(np.percentile(1 + work[:, -1] / QUERIES * FLOOR_OVER_LATENCY, range(101)).tolist()),
        dearest=float(np.percentile(payments, 99, axis=0).max()),
        auroc={"pate": 0.5 + 0.3 * oddness, "energy": 0.4 + 0.6 * oddness, "norm": 0.5 - 0.45 * oddness}
        if figures
        else {},
        figures=figures,
    )


def _band(values: Floats) -> Band:
    low, middle, high = np.percentile(values, (1, 50, 99), axis=0)
    return Band(tuple(low.tolist()), tuple(middle.tolist()), tuple(high.tolist()))
