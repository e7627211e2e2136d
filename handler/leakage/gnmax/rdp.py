"""Renyi differential privacy (RDP) of one GNMax answer, from the teachers' votes.

Papernot et al., "Scalable Private Learning with PATE", ICLR 2018, cited below by its theorem numbers. Everything is
computed in logarithms: with 250 unanimous teachers and sigma 2, q is about 1e-1700, less than any float.
"""

import math

import torch
from torch import Tensor

# The orders that PATE is usually accounted at: every half up to 100, then 200 points up to 1,000.
ORDERS = torch.cat([torch.arange(2.0, 100.0, 0.5, dtype=torch.float64), torch.logspace(2, 3, 200, dtype=torch.float64)])


def log_q(votes: Tensor, sigma: float) -> Tensor:
    """Return the log of a bound q on the probability that GNMax does not answer the class with most votes.

    Proposition 7. `votes` is `[n, classes]` with at least two classes, the result float64 `[n]`, below zero.
    """
    ranked = votes.to(torch.float64).sort(dim=-1, descending=True).values
    union: Tensor = log_swap(ranked[:, :1] - ranked[:, 1:], sigma).logsumexp(dim=-1)
    return union.clamp(max=math.log1p(-1.0 / votes.shape[-1]))


def log_swap(gaps: Tensor, sigma: float) -> Tensor:
    """Return the log of the probability that noise swaps two classes with votes `gaps` apart: float64, same shape."""
    swapped: Tensor = torch.special.log_ndtr(-gaps.to(torch.float64) / (math.sqrt(2.0) * sigma))
    return swapped


def gnmax_rdp(logq: Tensor, sigma: float, orders: Tensor) -> Tensor:
    """Return the RDP of GNMax answers whose q have these logarithms `[n]`, at `orders` `[k]`: float64 `[n, k]`.

    The data-dependent bound of theorem 6 at the higher orders of proposition 10, or the data-independent one where it
    is lower.
    """
    column = logq.unsqueeze(-1)
    independent = orders / sigma**2
    high2 = sigma * (-column).sqrt()
    high1 = high2 + 1
    rdp1, rdp2 = high1 / sigma**2, high2 / sigma**2
    # Where the theorem does not hold, terms may be NaN; `applies` discards them.
    log_keep = torch.log1p(-column.exp())
    log_a = log_keep - torch.log1p(-((column + rdp2) * (high2 - 1) / high2).exp())
    log_b = rdp1 - column / (high1 - 1)
    exponent = orders - 1
    dependent = torch.logaddexp(log_keep + exponent * log_a, column + exponent * log_b) / exponent
    return torch.where(applies(column, sigma, orders), dependent.clamp(min=0.0).minimum(independent), independent)


def applies(logq: Tensor, sigma: float, orders: Tensor) -> Tensor:
    """Return whether theorem 6 holds for these log q and orders, at the higher orders of proposition 10: broadcast."""
    high2 = sigma * (-logq).sqrt()
    high1 = high2 + 1
    rdp2 = high2 / sigma**2
    limit = (high2 - 1) * rdp2 - high2 * (torch.log1p(1 / (high1 - 1)) + torch.log1p(1 / (high2 - 1)))
    return (orders <= high1) & (high2 > 1) & (logq <= limit) & (logq + rdp2 < 0)


def gnmax_epsilon(votes: Tensor, sigma: float, delta: float) -> Tensor:
    """Return epsilon at `delta` of answering each query once by GNMax with noise `sigma`: float64 `[n]`.

    `votes` are counts `[n, classes]`. Each query takes the best of ORDERS (Mironov 2017, proposition 3).
    """
    orders = ORDERS.to(votes.device)
    rdp = gnmax_rdp(log_q(votes, sigma), sigma, orders)
    return (rdp - math.log(delta) / (orders - 1)).amin(dim=-1)
