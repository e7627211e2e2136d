"""Kinds of simulated users: which of the legitimate samples, or of their tolerated changes, they send how often."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from calpow.archiver.calibration.policy_fit.wealth import Codes
from calpow.archiver.calibration.samples import Floats, Ints, Samples

# Dirichlet concentration of the mixtures; most of a user's queries are then of two or three classes.
CONCENTRATION = 0.3
UNIFORM, MIXTURE, RECORDED = "uniform", "mixture", "accounts as recorded"


@dataclass(frozen=True)
class Profile:
    """A kind of users.

    kind: the tolerated change of all their samples; empty for none. of_class: the class of all their samples, or None.
    strata: the samples that they draw from, in groups; each user takes a share of each group. concentration: of the
    Dirichlet distribution of these shares; 0 for users who take one group each, infinite for users who take all
    samples alike.
    """

    name: str
    kind: str
    of_class: int | None
    strata: tuple[Ints, ...]
    concentration: float


def profiles(samples: Samples, tolerated: tuple[str, ...]) -> list[Profile]:
    """Return users of all classes, of mixtures and of single classes, each with every tolerated change or none.

    Accounts as they were recorded are another kind, where there are records.
    """
    classes = samples.classes.numpy()
    of_class = [np.flatnonzero(classes == index) for index in range(len(samples.class_names))]
    every = np.arange(len(classes))
    found = []
    for kind in ("", *tolerated):
        suffix = f", {kind}" if kind else ""
        found.append(Profile(UNIFORM + suffix, kind, None, (every,), np.inf))
        found.append(Profile(MIXTURE + suffix, kind, None, tuple(of_class), CONCENTRATION))
        for index, name in enumerate(samples.class_names):
            if len(of_class[index]):
                found.append(Profile(f"class {name}{suffix}", kind, index, (of_class[index],), np.inf))
    if samples.by_account:
        groups = samples.groups.numpy()
        accounts = tuple(np.flatnonzero(groups == group) for group in np.unique(groups))
        found.append(Profile(RECORDED, "", None, accounts, 0.0))
    return found


def draw_users(
    profile: Profile, codes: Mapping[str, Codes], users: int, queries: int, rng: np.random.Generator
) -> Codes:
    """Return the codes of what users of a profile send, `[users, queries, tests]`."""
    return codes[profile.kind][draw_samples(profile, users, queries, rng)]


def draw_samples(profile: Profile, users: int, queries: int, rng: np.random.Generator) -> Ints:
    """Return the positions of the samples that users send, `[users, queries]`."""
    strata = profile.strata
    if len(strata) == 1:
        return strata[0][rng.integers(len(strata[0]), size=(users, queries))]
    if profile.concentration == 0:
        picks = rng.integers(len(strata), size=users)
        return np.stack([strata[pick][rng.integers(len(strata[pick]), size=queries)] for pick in picks])
    sizes = np.array([len(stratum) for stratum in strata])
    shares: Floats = rng.dirichlet(np.full(len(strata), profile.concentration), users)
    rows = []
    for share in shares:
        share = np.where(sizes > 0, share, 0)
        chosen = rng.choice(len(strata), size=queries, p=share / share.sum())
        places = (rng.random(queries) * sizes[chosen]).astype(np.int64)
        starts = np.cumsum(sizes) - sizes
        rows.append(np.concatenate(strata)[starts[chosen] + places])
    return np.stack(rows)
