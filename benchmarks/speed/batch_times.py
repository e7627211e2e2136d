"""Times of ensemble, victim and accounting on whole batches."""

import functools
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.digits.pricing import inputs_of
from calpow.archiver.victim.victim_archive import open_victim
from calpow.handler.config import CALIBRATION_FILE, ENSEMBLE_FILE, VICTIM_FILE
from calpow.handler.leakage.gnmax.accountant import Accountant
from calpow.handler.leakage.teachers.ensemble import Ensemble
from calpow.handler.policy.calibration_file import load_policy

SIZES = (1, 16, 64)
REPETITIONS = 60
ACCOUNTED = 64


@dataclass(frozen=True)
class Batches:
    """Medians in microseconds of accounting for 64 queries, and of ensemble and victim by batch size."""

    accounting_64: float
    ensemble: Mapping[int, float]
    victim: Mapping[int, float]


def measure_batches(home: Path, payloads: Sequence[bytes]) -> Batches:
    """Time ensemble and victim on whole batches, and the accounting for 64 queries."""
    ensemble = Ensemble.load(home / ENSEMBLE_FILE)
    settings = load_policy(home / CALIBRATION_FILE).scores[0].settings
    accountant = Accountant.epsilon_at(settings["delta"], settings["sigma"], int(settings["teachers"]))
    with open_victim(home / VICTIM_FILE) as victim:
        inputs = inputs_of(victim, payloads[: max(*SIZES, ACCOUNTED)])
        # Heads on the victim's features are given them, projected; their time does not depend on the numbers.
        given = torch.rand(len(inputs), ensemble.card.width) if ensemble.on_features else inputs
        votes = torch.from_numpy(ensemble.votes(given[:ACCOUNTED]))
        calls: dict[str, Callable[[], object]] = {"accounting": lambda: accountant.costs(votes)}
        for size in SIZES:
            calls[f"ensemble {size}"] = functools.partial(ensemble.votes, given[:size])
            calls[f"victim {size}"] = functools.partial(victim.recorder.ask, inputs[:size])
        medians = _in_turns(calls)
    return Batches(
        medians["accounting"],
        {size: medians[f"ensemble {size}"] for size in SIZES},
        {size: medians[f"victim {size}"] for size in SIZES},
    )


def _in_turns(calls: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """Return the median microseconds of the calls. They take turns, so that other load affects all of them alike."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(REPETITIONS):
        for name, call in calls.items():
            begun = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - begun)
    return {name: 1e6 * statistics.median(durations) for name, durations in seconds.items()}
