"""Rehearsal evidence as of a calibration, from a small simulation: 12 kinds of honest users and 6 attackers."""

import numpy as np
from numpy.typing import NDArray

from calpow.archiver.calibration.calibration_document import Band, RehearsalEvidence, Role, SimulatedProfile
from calpow.archiver.calibration.fitting import conditional_multiples
from calpow.archiver.calibration.simulated_users import StreamLengths, stream_sums
from calpow.handler.policy.policies import Conditional
from tests.support.calibrations import plain_standard

Floats = NDArray[np.float64]

POLICY = Conditional(
    (plain_standard(10),), (0.0,) * 10, (0.0,) * 10, deviation=0.8, spread=0.25, burst=3.0, threshold=2.0, growth=3.07
)
LENGTHS = StreamLengths(10_000)
USERS = 60
FLOOR_OVER_LATENCY = 0.8
CLASSES = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
# What an attacker's query exceeds a legitimate one by, in the mean, and the share of his queries that do.
ATTACKERS = {
    "noise": (2.2, 1.0),
    "blobs": (1.6, 1.0),
    "shuffled patches": (1.3, 1.0),
    "digits": (1.8, 1.0),
    "half digits": (1.8, 0.5),
    "perturbed": (0.62, 1.0),
}


def simulated_evidence(warnings: tuple[str, ...] = (), seed: int = 0) -> RehearsalEvidence:
    """Excess of single queries is drawn, summed, and paid for under POLICY."""
    rng = np.random.default_rng(seed)
    honest = {"uniform": 0.02, "mixture": 0.12} | {f"class {name}": 0.19 for name in CLASSES}
    return RehearsalEvidence(
        score_name="excess",
        horizon=10_000,
        overhead_budget=2.0,
        checkpoints=tuple(LENGTHS.checkpoints.tolist()),
        profiles=(
            *(_profile(name, Role.legitimate, spread, 0.0, 1.0, rng) for name, spread in honest.items()),
            *(_profile(name, Role.attacker, 0.1, mean, share, rng) for name, (mean, share) in ATTACKERS.items()),
        ),
        teacher_accuracy=0.797,
        vote_accuracy=0.855,
        warnings=warnings,
    )


def _profile(
    name: str, role: Role, spread: float, mean: float, share: float, rng: np.random.Generator
) -> SimulatedProfile:
    n = LENGTHS.horizon
    own = rng.normal(0.0, spread, (USERS, 1))
    single = own + rng.normal(0.0, 0.8, (USERS, n)) + mean * (rng.random((USERS, n)) < share)
    sums = np.cumsum(single, axis=1)[:, LENGTHS.checkpoints - 1]
    work = stream_sums(conditional_multiples(POLICY, LENGTHS.checkpoints, sums), LENGTHS)
    return SimulatedProfile(
        name=name,
        role=role,
        samples=int(rng.integers(200, 2_000)),
        score=_band(sums),
        work=_band(work),
        overhead=tuple(np.percentile(1 + work[:, -1] / n * FLOOR_OVER_LATENCY, range(101)).tolist()),
        auroc=_auroc(single[0], rng) if role is Role.attacker else {},
    )


def _band(values: Floats) -> Band:
    low, middle, high = np.percentile(values, (1, 50, 99), axis=0)
    return Band(tuple(low.tolist()), tuple(middle.tolist()), tuple(high.tolist()))


def _auroc(excess: Floats, rng: np.random.Generator) -> dict[str, float]:
    legitimate = rng.normal(0.0, 0.8, len(excess))
    entropy = excess + rng.normal(0.3, 0.5, len(excess))
    return {
        "pate": float((excess > legitimate).mean()),
        "entropy": float((entropy > legitimate).mean()),
    }
