"""Refinement of the slack of answers, so that users of every kind can afford all chosen tests together."""

from collections.abc import Sequence

import numpy as np

from calpow.archiver.calibration.policy_fit.affordability import QUERIES, USERS, Limits, largest_exponent
from calpow.archiver.calibration.policy_fit.cross_fitting import NO_SLACK, HeldOutCodes
from calpow.archiver.calibration.policy_fit.user_profiles import Profile, draw_samples
from calpow.archiver.calibration.policy_fit.wealth import Wealth, mean_wealth
from calpow.archiver.calibration.samples import Ints

MOST_ROUNDS = 60
# Beyond, a test alone limits nobody.
HIGHEST_EXPONENT = 2.0


def refine_slacks(
    held_out: HeldOutCodes,
    profiles: Sequence[Profile],
    limits: Limits,
    tests: Sequence[int],
    slacks: Ints,
    exponent: float,
    rng: np.random.Generator,
) -> Ints:
    """Return slacks with which users of every profile can afford an exponent, as far as MOST_ROUNDS allow.

    The least slack of an answer was found by users of that class alone. But samples of a class get other answers, too,
    among which they are odd. Of each profile that cannot afford the exponent, the answer with the most odd samples by
    the test that limits it gets the next slack. `slacks` `[tests, classes]` are positions.
    """
    refined: Ints = slacks.copy()
    drawn = {profile.name: draw_samples(profile, USERS, QUERIES, rng) for profile in profiles}
    failing = list(profiles)
    # By code, the most that a sample adds to the log wealth of a bet.
    most_added = np.log(held_out.bets.factors.astype(np.float64)).max(axis=1)
    for _ in range(MOST_ROUNDS):
        codes = held_out.mixed(tests, refined)
        poor = []
        for profile in failing:
            means = mean_wealth(codes[profile.kind][drawn[profile.name]], held_out.bets)
            if largest_exponent(means, limits.fitted(profile), limits.cap, exponent) < exponent:
                poor.append((profile, _limiting_test(means, limits, profile)))
        if not poor and len(failing) == len(profiles):
            break
        failing = [profile for profile, _ in poor] or list(profiles)
        for profile, test in poor:
            samples = np.concatenate(profile.strata)
            growth = most_added[codes[profile.kind][samples, test]]
            _loosen(refined[test], held_out.kinds[profile.kind].labels.numpy()[samples], growth)
    return refined


def _limiting_test(means: Wealth, limits: Limits, profile: Profile) -> int:
    """Return the test that users can afford the least by itself."""
    alone = [
        largest_exponent(means[:, :, [test]], limits.fitted(profile), limits.cap, HIGHEST_EXPONENT)
        for test in range(means.shape[2])
    ]
    return int(np.argmin(alone))


def _loosen(slacks: Ints, answers: Ints, growth: np.ndarray[tuple[int], np.dtype[np.float64]]) -> None:
    """Give the next slack to the answer under which samples add the most wealth; `slacks` `[classes]` changes.

    More slack helps no answer without a sample that adds wealth. Such an answer is left alone, although it takes less
    wealth away than one with many ordinary samples and some odd ones.
    """
    added = np.bincount(answers, growth, len(slacks))
    helped = np.bincount(answers, growth > 0, len(slacks)) > 0
    if not helped.any():
        return
    worst = int(np.where(helped, added, -np.inf).argmax())
    slacks[worst] = min(slacks[worst] + 1, NO_SLACK)
