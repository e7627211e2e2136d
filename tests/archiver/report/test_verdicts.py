"""Verdicts: whether to deploy a calibration, in words."""

import dataclasses
from pathlib import Path

import pytest

from calpow.archiver.calibration.calibration_document import Calibration, SimulatedProfile
from calpow.archiver.errors import ArchiveError, ReportError
from calpow.archiver.report.verdicts import VerdictLevel, WeakAttacker, refuse_weak, verdict
from tests.support.calibrations import calibration

NAMES = ("noise", "blobs", "digits", "letters", "perturbed", "shuffled", "scaled", "mixed")


def paying(
    *thefts: float, changing: tuple[float, ...] = (), honest: float = 1.5, warnings: tuple[str, ...] = ()
) -> Calibration:
    """Return a calibration of attackers who pay so many floors for a stolen answer, and honest users who pay `honest`.

    Attackers who pay `changing` have no data of their own.
    """
    evidence = calibration().rehearsal
    user = dataclasses.replace(evidence.profiles[0], dearest=honest)
    profiles = (
        user,
        *(attacker(name, theft) for name, theft in zip(NAMES, thefts, strict=False)),
        *(dataclasses.replace(attacker(f"changed {theft}", theft), own_data=False) for theft in changing),
    )
    return calibration(rehearsal=dataclasses.replace(evidence, profiles=profiles, warnings=warnings))


def attacker(name: str, theft: float) -> SimulatedProfile:
    (template,) = calibration().rehearsal.attackers
    assert template.figures
    return dataclasses.replace(template, name=name, figures=dataclasses.replace(template.figures, theft=theft))


def judged(
    *thefts: float, changing: tuple[float, ...] = (), honest: float = 1.5, warnings: tuple[str, ...] = ()
) -> tuple[str, str]:
    outcome = verdict(paying(*thefts, changing=changing, honest=honest, warnings=warnings))
    return outcome.level.value, outcome.headline


def test_a_calibration_whose_thefts_all_cost_next_to_nothing_keeps_nobody_off() -> None:
    outcome = verdict(paying(1.5, 1.2, 4.9))
    assert outcome.level is VerdictLevel.weak
    assert outcome.headline == "Do not deploy: it keeps nobody off"
    assert outcome.weak_attackers == (
        WeakAttacker("blobs", 1.2),
        WeakAttacker("noise", 1.5),
        WeakAttacker("digits", 4.9),
    )


def test_five_of_eight_attackers_who_get_through_are_too_many() -> None:
    assert judged(1, 1, 1, 1, 1, 50, 50, 50) == ("weak", "Do not deploy: 5 of 8 attackers get through")


def test_a_few_attackers_who_get_through_are_for_the_owner_to_decide_about() -> None:
    assert judged(1, 50, 50) == ("unclear", "Look closer: 1 of 3 attackers gets through")


def test_thefts_that_all_cost_the_aim_make_it_ready() -> None:
    assert judged(20, 34) == ("ready", "Ready: honest users pay at most 1.5 floors an answer, thieves 20 or more")


def test_every_attacker_with_data_of_his_own_must_pay_the_aim() -> None:
    assert judged(19.9, 50) == ("unclear", "Look closer: 1 of 2 attackers pays less than 20 floors for a stolen answer")
    assert judged(5, 6, 50) == ("unclear", "Look closer: 2 of 3 attackers pay less than 20 floors for a stolen answer")


def test_floors_that_are_too_short_to_matter_are_said_in_the_headline() -> None:
    saved = paying(19, 50)
    slow = dataclasses.replace(saved.measurement, latency_seconds=20 * saved.measurement.latency_seconds)
    outcome = verdict(dataclasses.replace(saved, measurement=slow))
    assert outcome.level is VerdictLevel.unclear
    assert outcome.headline == (
        "Look closer: the work for a stolen answer takes only 0.48× the time of an unprotected one"
    )


def test_attackers_who_need_genuine_samples_are_judged_less_strictly() -> None:
    assert judged(34, changing=(6, 7)) == judged(34, changing=(1, 6)) == judged(34)
    assert judged(34, changing=(1, 1, 6)) == ("unclear", "Look closer: 2 of 3 who change genuine samples get through")
    assert judged(34, changing=(1, 1, 1))[0] == "unclear"
    assert judged(1, changing=(50, 50))[0] == "weak"


def test_where_no_attacker_has_data_of_his_own_all_are_judged() -> None:
    assert judged(changing=(1, 1)) == ("weak", "Do not deploy: it keeps nobody off")


def test_a_budget_that_is_exceeded_and_warnings_ask_for_a_closer_look() -> None:
    # The floor is half an unprotected answer.
    assert judged(50, honest=2)[0] == "ready"
    assert judged(50, honest=3) == ("unclear", "Look closer: honest users pay 2.50×, more than the budget")
    assert judged(50, warnings=("Few samples.",)) == ("unclear", "Look closer: the calibration gave warnings")


def test_the_budget_is_not_for_users_who_send_tolerated_changes() -> None:
    saved = paying(34)
    user = dataclasses.replace(saved.rehearsal.profiles[0], name="uniform, noise", kind="noise", dearest=3.9)
    evidence = dataclasses.replace(saved.rehearsal, profiles=(user, *saved.rehearsal.profiles))
    outcome = verdict(dataclasses.replace(saved, rehearsal=evidence))
    assert outcome.level is VerdictLevel.ready
    assert outcome.reasons[1] == (
        "Tolerated changes: users who send such samples only pay at most 3.9 floors an answer (“uniform, noise”)."
    )


def test_nobody_who_attacks_is_no_evidence() -> None:
    assert judged() == ("unclear", "Look closer: no attacker was simulated")


def test_the_reasons_have_the_figures_and_the_warnings() -> None:
    outcome = verdict(paying(1, 50, changing=(4, 9), warnings=("Few samples.",)))
    assert outcome.reasons == (
        "Honest users: 99 of 100 of every class mix pay at most 1.5 floors an answer, which then takes 1.75× its time;"
        " the budget is 2×. The dearest kind is “uniform”.",
        "Attackers with data of their own: the cheapest, “noise”, pays 1.0 floors (0.50×) for a stolen answer, with 9"
        " genuine answers for each to hide it. 1 of 2 pay 20 floors or more. These pay less than 5, and get through:"
        " “noise” (1.0).",
        "On accounts that are given up after five queries, a stolen answer costs 60 floors or more; after an honest"
        " past, 1 at most can be had before the first that costs more than two floors.",
        "Attackers who change genuine samples, which they must have: the cheapest, “changed 4”, pays 4.0 floors for a"
        " stolen answer, with 9 genuine answers for each to hide it. These get through: “changed 4” (4.0).",
        "Few samples.",
    )


def test_the_cheapest_attacker_is_named_even_if_none_gets_through() -> None:
    assert "the cheapest, “noise”, pays 50 floors (25.0×)" in verdict(paying(50, 60)).reasons[1]


def test_a_weak_calibration_is_refused_with_what_thefts_cost_and_the_way_out() -> None:
    with pytest.raises(ArchiveError, match=r"^weak.json: Do not deploy: .* noise 1.2, blobs 1.2; .*--accept-weak$"):
        refuse_weak(paying(1.2, 1.2), Path("weak.json"))
    refuse_weak(paying(1, 50, 50), Path("unclear.json"))
    refuse_weak(paying(50), Path("ready.json"))


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


def test_an_attacker_without_figures_is_refused() -> None:
    evidence = calibration().rehearsal
    honest, thief = evidence.profiles
    bare = dataclasses.replace(evidence, profiles=(honest, dataclasses.replace(thief, figures=None)))
    with pytest.raises(ReportError, match=r"profile noise lacks values.*calpow calibrate"):
        verdict(calibration(rehearsal=bare))


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
