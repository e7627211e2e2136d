"""The evidence of a calibration: an honest profile, attackers as they are, and each warning where it is due."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from calpow.archiver.calibration.calibration_document import RehearsalEvidence, Role, SimulatedProfile
from calpow.archiver.calibration.fitting import conditional_multiples, excesses_of, fit_conditional
from calpow.archiver.calibration.rehearsal import QueryTimes, RehearsalInputs, RehearsedPolicy, rehearse, warnings
from calpow.archiver.calibration.samples import Samples
from calpow.archiver.calibration.simulated_users import StreamLengths
from calpow.handler.leakage.score import ScoredSamples

CLASSES, PER_CLASS = 3, 120
LENGTHS = StreamLengths(1_000)
TIMES = QueryTimes(latency=0.004, added=0.001, floor=0.002)


def inputs_of(
    strangers: float, per_class: int = PER_CLASS, times: QueryTimes = TIMES
) -> tuple[RehearsedPolicy, RehearsalInputs]:
    """Legitimate queries cost 1 +- 0.3 by two metrics, strangers so much more."""
    rng = np.random.default_rng(0)
    n = CLASSES * per_class
    labels = np.arange(n) % CLASSES
    samples = Samples.of_arrays(rng.normal(1, 0.3, (n, 2)), labels, labels, np.arange(n), ("a", "b", "c"))
    policy = fit_conditional(samples, np.array([9.0, 9.0]), LENGTHS, rng, quiet=True)
    odd = torch.from_numpy(rng.normal(1 + strangers, 0.3, (90, 2)))
    attacks = {"odd": ScoredSamples(odd, torch.arange(90) % CLASSES)}
    rule = RehearsedPolicy(
        "excess",
        lambda costs, labels: excesses_of(policy.policy, costs, labels),
        lambda sums: conditional_multiples(policy.policy, LENGTHS.checkpoints, sums),
        policy.policy.standards,
        ("first", "second"),
    )
    return rule, RehearsalInputs(policy.users, samples, attacks, LENGTHS, times)


def evidence_of(profiles: Sequence[SimulatedProfile], vote_accuracy: float = 0.9) -> RehearsalEvidence:
    checkpoints = tuple(LENGTHS.checkpoints.tolist())
    return RehearsalEvidence("excess", LENGTHS.horizon, 2.0, checkpoints, tuple(profiles), 0.8, vote_accuracy, ())


@pytest.fixture(scope="module")
def far() -> tuple[RehearsedPolicy, RehearsalInputs]:
    return inputs_of(3.0)


@pytest.fixture(scope="module")
def profiles(far: tuple[RehearsedPolicy, RehearsalInputs]) -> dict[str, SimulatedProfile]:
    return {profile.name: profile for profile in rehearse(*far, np.random.default_rng(1))}


def test_everybody_is_there_with_as_many_samples_as_he_has(profiles: dict[str, SimulatedProfile]) -> None:
    honest = {name: profile.samples for name, profile in profiles.items() if profile.role is Role.legitimate}
    assert honest == {"uniform": 360, "mixture": 360, "class a": 120, "class b": 120, "class c": 120}
    thieves = {name: profile.samples for name, profile in profiles.items() if profile.role is Role.attacker}
    assert thieves == {
        "odd": 90,
        "cheapest 30% of strangers": 27,
        "half strangers, half legitimate": 180,
        "one stranger in five": 450,
    }


def test_an_honest_user_pays_the_floor_for_each_query(profiles: dict[str, SimulatedProfile]) -> None:
    uniform = profiles["uniform"]
    assert uniform.work.middle[-1] == pytest.approx(LENGTHS.horizon, rel=0.1)
    least = (TIMES.latency + TIMES.added + TIMES.floor) / TIMES.latency
    assert uniform.overhead[50] == pytest.approx(least, rel=0.05)
    assert list(uniform.overhead) == sorted(uniform.overhead)
    assert all(
        low <= middle <= high
        for band in (uniform.work, uniform.score)
        for low, middle, high in zip(band.low, band.middle, band.high, strict=True)
    )


def test_the_fewer_strangers_among_the_queries_the_less_they_pay(profiles: dict[str, SimulatedProfile]) -> None:
    names = ("odd", "half strangers, half legitimate", "one stranger in five")
    paid = [profiles[name].work.middle[-1] for name in names]
    assert paid[0] > paid[1] >= paid[2] >= LENGTHS.horizon
    assert paid[0] > 100 * LENGTHS.horizon
    assert profiles["cheapest 30% of strangers"].score.middle[-1] <= profiles["odd"].score.middle[-1]


def test_separation_is_told_by_metric_and_as_it_is(profiles: dict[str, SimulatedProfile]) -> None:
    assert profiles["odd"].auroc == pytest.approx({"first": 1.0, "second": 1.0}, abs=0.01)
    assert profiles["uniform"].auroc == {}


def test_nothing_is_warned_of_where_all_is_well(
    far: tuple[RehearsedPolicy, RehearsalInputs], profiles: dict[str, SimulatedProfile]
) -> None:
    good = evidence_of([profiles["uniform"], profiles["odd"]])
    assert warnings(good, far[1], with_teachers=True) == []


def test_each_warning_comes_where_it_is_due(
    far: tuple[RehearsedPolicy, RehearsalInputs], profiles: dict[str, SimulatedProfile]
) -> None:
    _, inputs = far
    good = [profiles["uniform"], profiles["odd"]]
    few = replace(inputs, legitimate=inputs.legitimate.take(np.arange(3 * 50 - 1)))
    (warning,) = warnings(evidence_of(good), few, with_teachers=True)
    assert warning.startswith("Class c has only 49 independent samples")
    weak = evidence_of(good, vote_accuracy=0.42)
    assert warnings(weak, inputs, with_teachers=True) == [
        "The teachers' vote is right in 42% only: give them more data."
    ]
    assert warnings(weak, inputs, with_teachers=False) == []
    slow = replace(inputs, times=QueryTimes(latency=0.001, added=0.002, floor=0.0005))
    (warning,) = warnings(evidence_of(good), slow, with_teachers=True)
    assert warning.startswith("The overhead budget of 2 cannot be kept")
    assert "takes 3.5 ms instead of 1.0 ms, 3.5 times its time" in warning
    assert "several samples a request share the gate's time" in warning
    assert warning.endswith("--overhead-budget 4 says that this is meant.")
    heavy = replace(inputs, times=QueryTimes(latency=0.001, added=0.0005, floor=0.002))
    (warning,) = warnings(evidence_of(good), heavy, with_teachers=True)
    assert "most of that is the puzzle, which another --puzzle may lower" in warning


@pytest.mark.slow
def test_a_metric_that_tells_no_attacker_is_warned_of() -> None:
    rule, inputs = inputs_of(0.0)
    lines = warnings(evidence_of(rehearse(rule, inputs, np.random.default_rng(1))), inputs, with_teachers=False)
    assert [warning.split(":")[0] for warning in lines] == [
        "Metric first tells no attacker from legitimate users",
        "Metric second tells no attacker from legitimate users",
    ]


def test_the_same_seed_gives_the_same_evidence(far: tuple[RehearsedPolicy, RehearsalInputs]) -> None:
    first, second = (rehearse(*far, np.random.default_rng(4)) for _ in range(2))
    assert first == second
