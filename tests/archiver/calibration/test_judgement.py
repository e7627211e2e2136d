"""Judgement of evidence: who gets through, and which scores a policy acts on."""

import dataclasses

from calpow.archiver.calibration.judgement import (
    changers,
    dearest,
    getting_through,
    overcharged,
    scores_in_use,
    short_of_aim,
    strangers,
)
from calpow.handler.leakage.specs import ScoreName, ScoreSpec
from calpow.handler.policy.calibrated_policy import PolicyName
from tests.support.calibrations import EVIDENCE, calibrated_policy, flat_test
from tests.support.evidence import simulated_evidence

EVIDENCE_OF_MANY = simulated_evidence()


def test_attackers_with_data_of_their_own_are_judged_apart_from_those_who_change_samples() -> None:
    assert [attacker.name for attacker in strangers(EVIDENCE_OF_MANY)] == ["noise", "dead leaves", "strokes", "digits"]
    assert [attacker.name for attacker in changers(EVIDENCE_OF_MANY)] == ["cutmix", "mixup", "perturbed"]
    alone = dataclasses.replace(EVIDENCE_OF_MANY, profiles=changers(EVIDENCE_OF_MANY))
    assert strangers(alone) == alone.profiles
    assert changers(alone) == ()


def test_attackers_get_through_below_five_floors_and_fall_short_of_the_aim_below_twenty() -> None:
    attackers = EVIDENCE_OF_MANY.attackers
    assert [attacker.name for attacker in getting_through(attackers)] == ["perturbed"]
    assert [attacker.name for attacker in short_of_aim(attackers)] == ["perturbed", "mixup", "cutmix"]


def test_the_dearest_users_are_of_unchanged_samples_and_only_others_are_overcharged() -> None:
    profiles = tuple(
        dataclasses.replace(profile, dearest={"": 5.0, "noise": 9.0, "shift": 3.0}[profile.kind])
        for profile in EVIDENCE_OF_MANY.honest
    )
    evidence = dataclasses.replace(EVIDENCE_OF_MANY, profiles=profiles)
    assert dearest(evidence).kind == ""
    assert {profile.kind for profile in overcharged(evidence)} == {"noise"}


def test_the_scores_in_use_are_those_of_the_policy() -> None:
    policy = calibrated_policy(
        scores=tuple(ScoreSpec(name, {}) for name in (ScoreName.pate, ScoreName.energy, ScoreName.norm)),
        evidence=dataclasses.replace(
            EVIDENCE,
            tests=(flat_test(2, 1.0, score=2), dataclasses.replace(flat_test(2, 1.0, score=1), low=((-1.0,), (-1.0,)))),
        ),
    )
    assert scores_in_use(policy) == {"norm": False, "energy": True}
    assert scores_in_use(dataclasses.replace(policy, name=PolicyName.paper)) == {"pate": True}
