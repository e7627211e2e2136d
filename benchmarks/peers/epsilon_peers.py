"""Epsilons of the same votes by Calpow's formulas and by Google's dp_accounting.

dp_accounting has the Gaussian mechanism, of which GNMax is one where no teachers agree, and the conversion from RDP to
epsilon; it has no bound that depends on votes.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from dp_accounting import GaussianDpEvent
from dp_accounting.rdp import RdpAccountant
from dp_accounting.rdp.rdp_privacy_accountant import compute_epsilon
from torch import Tensor

from benchmarks.peers.accounting_peers import ANSWERS, DELTA, ORDER, SIGMA, TEACHERS, votes
from calpow.handler.leakage.gnmax.accountant import Accountant
from calpow.handler.leakage.gnmax.composition import rdp_epsilon
from calpow.handler.leakage.gnmax.rdp import ORDERS, gnmax_rdp, log_q

# A vote moves from one class to another: the counts change by the square root of 2.
NOISE = SIGMA / math.sqrt(2)


@dataclass(frozen=True)
class ComparedValue:
    """A quantity by both."""

    quantity: str
    ours: float
    theirs: float


def epsilons(answers: int = ANSWERS) -> Iterator[ComparedValue]:
    """Compute what an answer costs at the most, and what all answers cost together, by both."""
    alone = RdpAccountant([ORDER]).compose(GaussianDpEvent(NOISE))
    ours = Accountant.rdp_at(ORDER, SIGMA, TEACHERS).highest
    yield ComparedValue(f"RDP at order {ORDER:g} of an answer, no teachers agreeing", ours, float(alone.rdp[0]))
    dearest = Accountant.epsilon_at(DELTA, SIGMA, TEACHERS).highest
    yield ComparedValue("its epsilon, by its best order", dearest, _gaussian_epsilon(1))
    together = gnmax_rdp(log_q(torch.tensor(votes(answers)), SIGMA), SIGMA, ORDERS).sum(dim=0)
    theirs, _ = compute_epsilon(ORDERS.tolist(), together.tolist(), DELTA)
    yield ComparedValue(f"epsilon of {answers:,} answers together, from the same RDP", _best(together), float(theirs))
    worst = _best(answers * ORDERS / SIGMA**2)
    yield ComparedValue(f"epsilon of {answers:,} answers, no teachers agreeing", worst, _gaussian_epsilon(answers))


def _gaussian_epsilon(answers: int) -> float:
    accountant = RdpAccountant(ORDERS.tolist()).compose(GaussianDpEvent(NOISE), answers)
    return float(accountant.get_epsilon(DELTA))


def _best(rdp: Tensor) -> float:
    """Return the least epsilon of RDP at ORDERS."""
    return min(rdp_epsilon(*pair, DELTA) for pair in zip(rdp.tolist(), ORDERS.tolist(), strict=True))
