"""Leakage of a whole model: the privacy cost of the answers to all accounts together.

Costs add up over accounts as they do over queries, by the composition of differential privacy (the paper's section
4.4): what colluding users learn together is what one user would learn.
"""

from calpow.archiver.teachers.vote_noise import DELTA
from calpow.handler.leakage.gnmax.composition import rdp_epsilon
from calpow.handler.leakage.specs import ScoreName
from calpow.handler.policy.calibrated_policy import CalibratedPolicy

_VOTES = (ScoreName.pate, ScoreName.pknn)


def leakage_of(policy: CalibratedPolicy | None, samples: int, cost: float) -> str:
    """Return the leakage of so many samples, whose costs by the policy's first score sum to `cost`, in words.

    Where that score is RDP, it is epsilon of all of them together; where it is each query's epsilon, epsilons and
    deltas are added (Dwork and Roth 2014, theorem 3.16). Else, or without a policy, it is the sum itself.
    """
    first = policy.scores[0] if policy else None
    if first is None or first.name not in _VOTES:
        return f"cost {cost:,.4g}"
    if "order" in first.settings:
        return f"epsilon {rdp_epsilon(cost, first.settings['order'], DELTA):,.4g} at delta {DELTA:g}"
    delta = samples * first.settings["delta"]
    # A delta of one bounds nothing.
    return f"epsilon {cost:,.4g} at delta {delta:.2g}" if delta < 1 else f"a sum of epsilons of {cost:,.4g}"
