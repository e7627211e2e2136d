"""Attacks whose queries do not depend on the copy: Standard, WorstCase and InOut."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.attacks.gated_victim import GatedVictim
from benchmarks.attacks.thief import Attack, Thief

# InOut: strangers in a row, then genuine inputs in a row.
OUTSIDE, INSIDE = 8, 2

Pool = Callable[[Thief], Tensor]


def owned(thief: Thief) -> Tensor:
    """Return the genuine inputs of a thief."""
    return thief.owned


def foreign(thief: Thief) -> Tensor:
    """Return the natural images of another kind that a thief has."""
    return thief.foreign.inputs


def standard(thief: Thief, victim: GatedVictim, answers: int) -> nn.Module:
    """Ask for genuine inputs in random order, as a legitimate user does (section 4.2)."""
    order = torch.from_numpy(thief.rng().permutation(len(thief.owned))[:answers])
    return _stolen(thief, victim, thief.owned[order])


def worst_case(pool: Pool, policy: str) -> Attack:
    """Return WorstCase (section 4.4): the thief knows what every query costs, and sends the cheapest of a pool.

    `policy` says which cost he knows: the evidence, or the paper's privacy cost.
    """

    def attack(thief: Thief, victim: GatedVictim, answers: int) -> nn.Module:
        candidates = pool(thief)
        order = np.argsort(victim.oddness(candidates, policy), kind="stable")[:answers]
        return _stolen(thief, victim, candidates[torch.from_numpy(order)])

    return attack


def in_out(thief: Thief, victim: GatedVictim, answers: int) -> nn.Module:
    """Ask for OUTSIDE strangers, then for INSIDE genuine inputs, and so on (appendix B.4), until either are spent."""
    rng = thief.rng()
    inside = thief.owned[torch.from_numpy(rng.permutation(len(thief.owned)))]
    outside = thief.foreign.inputs[torch.from_numpy(rng.permutation(len(thief.foreign)))]
    rounds = min(len(inside) // INSIDE, len(outside) // OUTSIDE, -(-answers // (INSIDE + OUTSIDE)))
    parts = [
        part
        for number in range(rounds)
        for part in (outside[number * OUTSIDE :][:OUTSIDE], inside[number * INSIDE :][:INSIDE])
    ]
    return _stolen(thief, victim, torch.cat(parts)[:answers])


def _stolen(thief: Thief, victim: GatedVictim, queries: Tensor) -> nn.Module:
    return thief.train(queries, victim.labels(queries))
