"""The best order for each q, computed once for all queries.

With v = sqrt(-log q) and t = order - 1, the orders of proposition 10 turn theorem 6 (see rdp.py) into

    t RDP = log((1 - q) A^t + q B^t),  log A = log(1 - exp(-v^2)) - log(1 - exp(-(v - 1/sigma)^2)),
    log B = 2 v / sigma + 1 / sigma^2,

which is convex in t, being a logarithm of summed exponentials. So (t RDP + log(1/delta)) / t falls up to the best t
and rises after it: the best order is the last of the initial run of orders that are each better than the one before.
As -log q grows, an order becomes usable at some point, and is better than the one before except within one interval at
most. The latter is not proved here: the tests compare with trying every order, over many sigmas and deltas.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from calpow.handler.leakage.gnmax.rdp import applies

# The theorem holds nowhere below: its condition on q implies -log q > 1 for every sigma.
LEAST_SURPRISE = 1.0
# Enough to halve any interval used here down to neighbouring float64 numbers.
BISECTIONS = 128
# Steps are at least as fine as this many on a logarithmic scale.
GRID = 512


@dataclass(frozen=True)
class BestOrders:
    """The best exponent, order - 1, as a step function of the surprise -log q.

    `edges` is float64 `[m]`, ascending, at most a GRID-th of the range apart on a logarithmic scale. `exponents` is
    float64 `[m + 1]`: NaN below the first edge, where theorem 6 holds for no order, then the value from each edge on.
    """

    edges: Tensor
    exponents: Tensor


def log_moment(surprise: Tensor, sigma: float, exponents: Tensor) -> Tensor:
    """Return (order - 1) RDP of theorem 6, float64, at surprises -log q and exponents order - 1, broadcast."""
    root = surprise.sqrt()
    log_keep, log_rest = (torch.log1p(-torch.exp(-(distance**2))) for distance in (root, root - 1 / sigma))
    usual = log_keep + exponents * (log_keep - log_rest)
    unusual = exponents * (2 * root / sigma + 1 / sigma**2) - surprise
    return torch.logaddexp(usual, unusual)


def find_best_orders(orders: Tensor, surcharge: float, sigma: float, most: float) -> BestOrders:
    """Return which of `orders` `[k]`, ascending, has the least RDP + surcharge / (order - 1), up to surprise `most`."""
    usable = _first(
        lambda surprise: applies(-surprise, sigma, orders),
        torch.full_like(orders, LEAST_SURPRISE),
        torch.full_like(orders, most),
    )
    lowest = min(float(usable[0]), most)
    grid = torch.logspace(math.log10(lowest), math.log10(most), GRID, dtype=torch.float64)
    start, end = _find_worse(orders - 1, surcharge, sigma, grid)
    edges = torch.cat([usable, start, end, grid[1:]])
    edges = edges[edges < most].unique()  # type: ignore[no-untyped-call]  # torch
    inside = torch.cat([(edges[:-1] + edges[1:]) / 2, edges[-1:] + 1]).unsqueeze(-1)
    better = ~((inside > start) & (inside < end))
    count = torch.minimum((inside >= usable).sum(dim=-1), 1 + better.long().cumprod(dim=-1).sum(dim=-1))
    none = torch.tensor([math.nan], dtype=torch.float64)
    return BestOrders(edges, torch.cat([none, torch.cat([none, orders - 1])[count]]))


def _find_worse(exponents: Tensor, surcharge: float, sigma: float, grid: Tensor) -> tuple[Tensor, Tensor]:
    """Return where each order but the first is worse than the one before: first and last surprise, each `[k - 1]`.

    Both are inf for an order that never is.
    """

    def drawback(surprise: Tensor) -> Tensor:
        before, after = (
            (log_moment(surprise, sigma, side) + surcharge) / side for side in (exponents[:-1], exponents[1:])
        )
        return after - before

    peak = drawback(grid.unsqueeze(-1)).argmax(dim=0)
    top = _peak(drawback, grid[(peak - 1).clamp(min=0)], grid[(peak + 1).clamp(max=GRID - 1)])
    start = _first(lambda surprise: drawback(surprise) > 0, grid[:1].expand_as(top), top)
    end = _first(lambda surprise: drawback(surprise) <= 0, top, grid[-1:].expand_as(top))
    exists = drawback(top) > 0
    return torch.where(exists, start, math.inf), torch.where(exists, end, math.inf)


def _first(holds: Callable[[Tensor], Tensor], low: Tensor, high: Tensor) -> Tensor:
    """Return the least number between `low` and `high` from which on `holds` is true; inf where it never is."""
    never = ~holds(high)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        reached = holds(middle)
        low, high = torch.where(reached, low, middle), torch.where(reached, middle, high)
    return torch.where(never, math.inf, high)


def _peak(value: Callable[[Tensor], Tensor], low: Tensor, high: Tensor) -> Tensor:
    """Return the position of a function's only peak between `low` and `high`, by ternary search."""
    for _ in range(BISECTIONS):
        third = (high - low) / 3
        left, right = low + third, high - third
        rises = value(left) < value(right)
        low, high = torch.where(rises, left, low), torch.where(rises, high, right)
    return (low + high) / 2
