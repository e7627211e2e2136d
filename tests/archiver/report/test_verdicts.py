"""Verdicts: what users and attackers pay, as numbers and words."""

import dataclasses

import pytest

from calpow.archiver.calibration.calibration_document import RehearsalEvidence, SimulatedProfile
from calpow.archiver.report.verdicts import attackers, duration, honest, multiple, times, verdicts, work_at
from tests.support.evidence import simulated_evidence


@pytest.fixture(scope="module")
def evidence() -> RehearsalEvidence:
    return simulated_evidence(("class coat has few samples",))


def with_profiles(evidence: RehearsalEvidence, *profiles: SimulatedProfile) -> RehearsalEvidence:
    return dataclasses.replace(evidence, profiles=profiles)


def test_the_verdicts_say_who_pays_what(evidence: RehearsalEvidence) -> None:
    users, thousand, ten_thousand = verdicts(evidence)
    worst = max(profile.overhead[99] for profile in honest(evidence))
    assert users.figure == f"at most {times(worst)}"
    assert users.good == (worst <= 2.0)
    for verdict, queries in ((thousand, 1_000), (ten_thousand, 10_000)):
        paid = {profile.name: multiple(evidence, profile, queries) for profile in attackers(evidence)}
        assert verdict.figure == f"at least {times(min(paid.values()))}"
        assert f"{sum(value >= 100 for value in paid.values())} of 6 attackers" in verdict.sentence
        assert not verdict.good
        assert "“perturbed”" in verdict.sentence


def test_attackers_who_all_pay_enough_are_as_they_should_be(evidence: RehearsalEvidence) -> None:
    strong = [profile for profile in attackers(evidence) if profile.name in ("noise", "blobs")]
    _, *attacks = verdicts(with_profiles(evidence, *honest(evidence), *strong))
    assert [(verdict.good, verdict.sentence) for verdict in attacks] == [
        (True, "2 of 2 attackers pay 100× the floor or more.")
    ] * 2


def test_work_between_checkpoints_lies_on_the_line_through_them(evidence: RehearsalEvidence) -> None:
    profile = evidence.profiles[-1]
    middle = (1.0, 1_000.0)
    work = dataclasses.replace(profile.work, low=middle, middle=middle, high=middle)
    two = dataclasses.replace(evidence, checkpoints=(1, 1_000_000))
    changed = dataclasses.replace(profile, work=work)
    assert work_at(two, changed, 10_000) == pytest.approx(100.0)
    assert [work_at(two, changed, queries) for queries in (1, 1_000_000)] == [1.0, 1_000.0]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0004, "0.4 ms"), (0.1, "100 ms"), (1, "1 s"), (90, "1.5 min"), (86_400, "1 day"), (1e9, "32 years")],
)
def test_durations_are_said_as_people_say_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text
