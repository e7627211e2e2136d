"""Payments of honest users who send the fresh half of a domain's test data: class mixes, shifts, and repetitions."""

import math

import numpy as np
import torch

from benchmarks.range.trials.policies import PAPER, Document, FittedPolicy, recently_near
from benchmarks.range.trials.scored_sets import ScoredDomain, ScoredSet
from calpow.archiver.calibration.policy_fit.user_profiles import Profile, draw_samples, profiles
from calpow.archiver.calibration.policy_fit.wealth import mean_payments
from calpow.archiver.calibration.samples import Floats, Ints, Samples
from calpow.archiver.progress import track
from calpow.handler.ledger.history import DIGEST_BYTES, NO_HISTORY, SampleIdentity

USERS, SHIFTED_USERS, REPEATERS = 200, 100, 200
LENGTHS = (100, 1_000, 10_000)
SHIFTED_LENGTHS = (100, 1_000)
# The changes that a calibration may tolerate, by the shift of the range that is one of them.
TOLERATED_AS = {
    "noise .05": "noise",
    "noise .02": "noise",
    "1 px": "shift",
    "flip": "flip",
    "JPEG 80": "jpeg",
    "brightness .8": "brightness",
    "gamma .8": "brightness",
    "blur .5": "blur",
    "words lost": "words",
}


def class_mixes(
    policy: FittedPolicy, scored: ScoredDomain, classes: tuple[str, ...], seed: int
) -> dict[str, dict[str, float]]:
    """Return by class mix what the 99th percentile of users pays after each number of queries, in floors."""
    users = profiles(_samples(scored.fresh, scored.fresh_classes, classes), ())
    rng = np.random.default_rng(seed)
    return {
        profile.name: {
            str(length): paid
            for length, paid in zip(LENGTHS, _dearest(policy, scored.fresh, profile, USERS, LENGTHS, rng), strict=True)
        }
        for profile in track(users, "class mixes", "mix")
    }


def shifted(
    policy: FittedPolicy, scored: ScoredDomain, classes: tuple[str, ...], tolerated: tuple[str, ...], seed: int
) -> dict[str, Document]:
    """Return by shift whether it is tolerated, and what users of all classes and of the dearest class pay."""
    users = [
        profile
        for profile in profiles(_samples(scored.fresh, scored.fresh_classes, classes), ())
        if len(profile.strata) == 1
    ]
    rng = np.random.default_rng(seed)
    found: dict[str, Document] = {}
    for name, shifted_set in track(scored.shifts.items(), "shifts", "shift"):
        paid = {
            profile.name: max(_dearest(policy, shifted_set, profile, SHIFTED_USERS, SHIFTED_LENGTHS, rng))
            for profile in users
        }
        uniform = paid.pop(users[0].name)
        dearest = max(paid, key=lambda mix: paid[mix])
        found[name] = {
            "tolerated": TOLERATED_AS[name] in tolerated,
            "uniform": uniform,
            "one class": paid[dearest],
            "class": dearest,
        }
    return found


def repeaters(policy: FittedPolicy, scored: ScoredDomain, seed: int) -> float:
    """Return what the 99th percentile of users pays who send one payload 100 times, by the arithmetic of a worker."""
    rng = np.random.default_rng(seed)
    chosen = rng.integers(len(scored.fresh), size=REPEATERS)
    evidence, fresh = policy.served(scored), scored.fresh.scored
    payments = []
    for number in chosen.tolist():
        identity = SampleIdentity(number.to_bytes(DIGEST_BYTES, "big"), scored.fresh.sketches[number].tobytes())
        charge = evidence.charge(fresh.costs[number].tolist(), int(fresh.labels[number]), identity)
        history = evidence.after(NO_HISTORY, charge)
        rule = policy.paper if policy.name == PAPER else evidence
        first = math.exp(min(rule.log_multiple(history), math.log(policy.evidence.cap)))
        assert history.holds(identity)
        assert evidence.after(history, charge) == history
        payments.append((first + LENGTHS[0] - 1) / LENGTHS[0])
    return float(np.percentile(payments, 99))


def _dearest(
    policy: FittedPolicy,
    samples: ScoredSet,
    profile: Profile,
    users: int,
    lengths: tuple[int, ...],
    rng: np.random.Generator,
) -> list[float]:
    """Return what the 99th percentile of users of a profile pays after each number of queries."""
    members, strata = _members(profile)
    pool = policy.pool(samples).take(members)
    index = draw_samples(strata, users, lengths[-1], rng)
    uncredited = recently_near(policy.near(pool), index)
    prices = policy.price(pool, index, uncredited=uncredited).prices
    paid: list[float] = np.percentile(mean_payments(prices, lengths), 99, axis=0).tolist()
    return paid


def _members(profile: Profile) -> tuple[Ints, Profile]:
    """Return the samples that a profile draws from, and the profile with positions among them."""
    members: Ints = np.concatenate(profile.strata)
    ends = np.cumsum([len(stratum) for stratum in profile.strata])
    strata = tuple(np.arange(end - len(stratum), end) for stratum, end in zip(profile.strata, ends, strict=True))
    return members, Profile(profile.name, profile.kind, profile.of_class, strata, profile.concentration)


def _samples(fresh: ScoredSet, fresh_classes: Ints, classes: tuple[str, ...]) -> Samples:
    costs: Floats = fresh.scored.costs.numpy()
    labels: Ints = fresh.scored.labels.numpy()
    samples = Samples.of_arrays(costs, labels, fresh_classes, np.arange(len(labels)), classes)
    assert isinstance(samples.classes, torch.Tensor)
    return samples
