"""Verdicts: whether to deploy a calibration, in words."""

import dataclasses
from pathlib import Path

import pytest

from calpow.archiver.calibration.calibration_document import Calibration, Role, SimulatedProfile
from calpow.archiver.errors import ArchiveError, ReportError
from calpow.archiver.report.verdicts import VerdictLevel, WeakAttacker, refuse_weak, verdict
from tests.support.calibrations import calibration

NAMES = ("noise", "blobs", "digits", "letters", "perturbed", "shuffled", "scaled", "mixed")


def paying(*multiples: float, honest: float = 1.5, warnings: tuple[str, ...] = ()) -> Calibration:
    """Return a calibration of attackers who pay these multiples, and of honest users who pay `honest`."""
    evidence = calibration().rehearsal
    user = dataclasses.replace(evidence.profiles[0], overhead=(honest,) * 101)
    profiles = (user, *(attacker(name, multiple) for name, multiple in zip(NAMES, multiples, strict=False)))
    return calibration(rehearsal=dataclasses.replace(evidence, profiles=profiles, warnings=warnings))


def attacker(name: str, multiple: float) -> SimulatedProfile:
    (template,) = (profile for profile in calibration().rehearsal.profiles if profile.role is Role.attacker)
    return dataclasses.replace(template, name=name, overhead=(multiple,) * 101)


def judged(*multiples: float, honest: float = 1.5, warnings: tuple[str, ...] = ()) -> tuple[str, str]:
    outcome = verdict(paying(*multiples, honest=honest, warnings=warnings))
    return outcome.level.value, outcome.headline


def test_a_calibration_whose_attackers_all_pay_what_honest_users_pay_keeps_nobody_off() -> None:
    outcome = verdict(paying(1.5, 1.5, 1.6))
    assert outcome.level is VerdictLevel.weak
    assert outcome.headline == "Do not deploy: it keeps nobody off"
    assert outcome.weak_attackers == (
        WeakAttacker("noise", 1.5),
        WeakAttacker("blobs", 1.5),
        WeakAttacker("digits", 1.6),
    )


def test_five_of_eight_attackers_who_get_through_are_too_many() -> None:
    assert judged(1, 1, 1, 1, 1, 500, 500, 500) == ("weak", "Do not deploy: 5 of 8 attackers get through")


def test_a_few_attackers_who_get_through_are_for_the_owner_to_decide_about() -> None:
    assert judged(1, 500, 500) == ("unclear", "Look closer: 1 of 3 attackers gets through")


def test_attackers_who_all_pay_a_hundredfold_make_it_ready() -> None:
    assert judged(120, 2000) == ("ready", "Ready: honest users pay at most 1.50×, attackers 120× or more")


def test_most_attackers_must_pay_a_hundredfold() -> None:
    assert judged(20, 500)[0] == "ready"
    assert judged(20, 20, 500) == ("unclear", "Look closer: 2 of 3 attackers pay less than 100×")


def test_a_budget_that_is_exceeded_and_warnings_ask_for_a_closer_look() -> None:
    assert judged(500, honest=2.5) == ("unclear", "Look closer: honest users pay 2.50×, more than the budget")
    assert judged(500, warnings=("Few samples.",)) == ("unclear", "Look closer: the calibration gave warnings")


def test_a_thief_gets_through_who_pays_less_than_twice_what_the_dearest_honest_users_do() -> None:
    # Where the gate takes long in comparison with the model, honest users pay much, and so must thieves.
    assert judged(19, honest=10)[0] == "weak"
    assert judged(21, honest=10)[0] == "unclear"


def test_nobody_who_attacks_is_no_evidence() -> None:
    assert judged() == ("unclear", "Look closer: no attacker was simulated")


def test_the_reasons_have_the_figures_and_the_warnings() -> None:
    outcome = verdict(paying(1, 500, warnings=("Few samples.",)))
    assert outcome.reasons == (
        "Honest users: 99 of 100 of every kind pay at most 1.50×; the budget is 2×. The dearest kind is “uniform”.",
        "Attackers: 1 of 2 pay 100× or more. These pay less than twice what the dearest honest users do, and get"
        " through: “noise” (1.00×).",
        "Few samples.",
    )


def test_the_cheapest_attacker_is_named_even_if_none_gets_through() -> None:
    assert "The cheapest is “noise” (500×)." in verdict(paying(500, 600)).reasons[1]


def test_a_weak_calibration_is_refused_with_what_its_attackers_pay_and_the_way_out() -> None:
    with pytest.raises(ArchiveError, match=r"^weak.json: Do not deploy: .* noise 1.02×, blobs 1.02×; .*--accept-weak$"):
        refuse_weak(paying(1.02, 1.02), Path("weak.json"))
    refuse_weak(paying(1, 500, 500), Path("unclear.json"))
    refuse_weak(paying(500), Path("ready.json"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"profiles": ()}, "holds no evidence"),
        ({"checkpoints": ()}, "holds no evidence"),
        ({"checkpoints": (1, 2, 3)}, "profile uniform lacks values"),
        ({"checkpoints": (10, 1)}, "do not rise"),
        ({"checkpoints": (0, 1)}, "do not rise"),
    ],
)
def test_there_is_no_verdict_on_incomplete_evidence(changes: dict[str, object], message: str) -> None:
    small = dataclasses.replace(calibration().rehearsal, **changes)  # type: ignore[arg-type]  # the table's own mapping
    with pytest.raises(ReportError, match=f"{message}.*calpow calibrate"):
        verdict(calibration(rehearsal=small))


def test_an_attacker_or_a_user_who_takes_no_time_is_refused() -> None:
    evidence = calibration().rehearsal
    first = evidence.profiles[0]
    free = (
        dataclasses.replace(first, overhead=(0.0, *first.overhead[1:])),
        dataclasses.replace(first, work=dataclasses.replace(first.work, low=(0.0, *first.work.low[1:]))),
    )
    for profile in free:
        with pytest.raises(ReportError, match="profile uniform takes no time"):
            verdict(calibration(rehearsal=dataclasses.replace(evidence, profiles=(profile,))))
