"""Judgement of a calibration's evidence: when thieves pay too little, and when honest users pay too much.

Verdicts, warnings and the report share these definitions. The figure to judge by is the price of a stolen answer in
floors at the thief's best duty cycle, all that he pays for genuine answers in between included.
"""

from collections.abc import Mapping, Sequence

from calpow.archiver.calibration.calibration_document import RehearsalEvidence, SimulatedProfile
from calpow.handler.policy.calibrated_policy import CalibratedPolicy, PolicyName
from calpow.handler.policy.evidence import ScoreTest
from calpow.handler.policy.joint_oddness import JOINT

# Floors for a stolen answer: below the first, an attacker gets through; the second is the aim.
GETS_THROUGH = 5.0
AIM = 20.0
# Floors that users who send tolerated changes only should pay at most.
MOST_TOLERATED = 4.0


def theft(attacker: SimulatedProfile) -> float:
    """Return what an attacker pays for a stolen answer at his best duty cycle, in floors."""
    assert attacker.figures is not None
    return attacker.figures.theft


def strangers(evidence: RehearsalEvidence) -> tuple[SimulatedProfile, ...]:
    """Return the attackers whom a verdict is about: those with data of their own, or all where there are no such."""
    return tuple(attacker for attacker in evidence.attackers if attacker.own_data) or evidence.attackers


def changers(evidence: RehearsalEvidence) -> tuple[SimulatedProfile, ...]:
    """Return the other attackers, who need genuine samples to change."""
    judged = strangers(evidence)
    return tuple(attacker for attacker in evidence.attackers if attacker not in judged)


def getting_through(attackers: Sequence[SimulatedProfile]) -> tuple[SimulatedProfile, ...]:
    """Return the attackers who get through, the cheapest theft first."""
    return _cheaper(attackers, GETS_THROUGH)


def short_of_aim(attackers: Sequence[SimulatedProfile]) -> tuple[SimulatedProfile, ...]:
    """Return the attackers who pay less than the aim, the cheapest theft first."""
    return _cheaper(attackers, AIM)


def dearest(evidence: RehearsalEvidence) -> SimulatedProfile:
    """Return the legitimate users who pay most, of those who send unchanged samples: the budget is for them."""
    unchanged = [profile for profile in evidence.honest if not profile.kind]
    return max(unchanged or evidence.honest, key=lambda profile: profile.dearest)


def overcharged(evidence: RehearsalEvidence) -> tuple[SimulatedProfile, ...]:
    """Return the users who pay more than MOST_TOLERATED for tolerated changes, the dearest first."""
    found = [profile for profile in evidence.honest if profile.kind and profile.dearest > MOST_TOLERATED]
    return tuple(sorted(found, key=lambda profile: -profile.dearest))


def scores_in_use(policy: CalibratedPolicy) -> Mapping[str, bool]:
    """Return the labels of the scores that a policy acts on, and whether both high and low values are odd."""
    if policy.name is PolicyName.paper:
        return {policy.scores[0].label: True}
    return {score_label(policy, test): bool(test.low) for test in policy.evidence.tests}


def score_label(policy: CalibratedPolicy, test: ScoreTest) -> str:
    """Return the label of the score that a test is of."""
    return JOINT if test.score is None else policy.scores[test.score].label


def _cheaper(attackers: Sequence[SimulatedProfile], limit: float) -> tuple[SimulatedProfile, ...]:
    return tuple(sorted((attacker for attacker in attackers if theft(attacker) < limit), key=theft))
