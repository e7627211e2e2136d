"""GNMax accounting by tables: the values of rdp.py, fast enough for every request.

Votes are integers, so the terms of proposition 7 come from a table of gaps. The rest depends on q alone, and is smooth
wherever one order is the best (orders.py), so polynomials approximate it. They are computed in Python, a query at a
time: ten counts take it two microseconds, as long as one call of torch or numpy, of which some fifteen would be needed.
Decision 0021.
"""

import math
from bisect import bisect_left

import torch
from torch import Tensor

from calpow.handler.leakage.gnmax.cubics import Cubics, fit_cubics
from calpow.handler.leakage.gnmax.orders import find_best_orders, log_moment
from calpow.handler.leakage.gnmax.rdp import ORDERS, log_swap

# The exponential of less is no normal float64.
LEAST_LOG = -700.0


class Accountant:
    """Computes the privacy cost of answering each query from its votes, as the formulas of rdp.py do.

    There are two kinds: `epsilon_at`, the paper's, and `rdp_at`, whose sum over queries bounds them all together
    (`composition.rdp_epsilon`). `highest` is the largest cost of a query, when no two teachers agree.
    """

    def __init__(self, orders: Tensor, surcharge: float, sigma: float, teachers: int) -> None:
        """A cost is the least of RDP + `surcharge / (order - 1)` over `orders`: float64 `[k]`, ascending, above 1."""
        self.highest = float((orders / sigma**2 + surcharge / (orders - 1)).amin())
        swaps = log_swap(torch.arange(teachers + 1), sigma)
        self._in_logs = float(swaps[-1]) < LEAST_LOG
        self._terms: list[float] = (swaps if self._in_logs else swaps.exp()).tolist()
        cubics = _fit(orders, surcharge, sigma, 1.0 - float(swaps[-1]))
        # Beyond the last piece, theorem 6 gives no bound; the data-independent one remains.
        beyond = torch.tensor([[0.0, self.highest, 0.0, 0.0, 0.0]], dtype=torch.float64)
        self._ends: list[float] = cubics.ends.tolist()
        self._rows: list[list[float]] = torch.cat([cubics.rows, beyond]).tolist()

    @classmethod
    def epsilon_at(cls, delta: float, sigma: float, teachers: int) -> "Accountant":
        """Return an accountant of each query's epsilon at `delta`, for the best of ORDERS, as `rdp.gnmax_epsilon`."""
        return cls(ORDERS, -math.log(delta), sigma, teachers)

    @classmethod
    def rdp_at(cls, order: float, sigma: float, teachers: int) -> "Accountant":
        """Return an accountant of each query's RDP at one order above 1, as `rdp.gnmax_rdp`."""
        return cls(torch.tensor([order], dtype=torch.float64), 0.0, sigma, teachers)

    def costs(self, votes: Tensor) -> Tensor:
        """Return costs float64 `[n]` of vote counts int64 `[n, classes]` on the CPU, each at most `teachers`."""
        return torch.tensor([self.cost(row) for row in votes.tolist()], dtype=torch.float64)

    def cost(self, votes: list[int], absent: int = 0) -> float:
        """Return the cost of the vote counts of one query, each at most `teachers`; `absent` further ones are zero."""
        # `rdp.log_q` without its upper limit, above which every cost is the highest anyway.
        table = self._terms
        *others, top = sorted(votes)
        terms = [table[top - count] for count in others]
        if absent:
            of_none = table[top]
            terms.append(of_none + math.log(absent) if self._in_logs else of_none * absent)
        if self._in_logs:
            largest = max(terms)
            log_q = largest + math.log(math.fsum([math.exp(term - largest) for term in terms]))
        else:
            log_q = math.log(math.fsum(terms))
        middle, constant, linear, square, cube = self._rows[bisect_left(self._ends, log_q)]
        offset = log_q - middle
        value = constant + offset * (linear + offset * (square + offset * cube))
        if value >= self.highest:
            return self.highest
        return value if value > 0.0 else 0.0


def _fit(orders: Tensor, surcharge: float, sigma: float, most: float) -> Cubics:
    """Return the cost as a function of log q, from -`most` to where theorem 6 begins to fail."""
    best = find_best_orders(orders, surcharge, sigma, most)
    ends = -best.edges.flip(0)
    starts = torch.cat([torch.tensor([-most], dtype=torch.float64), ends[:-1]])[: len(ends)]
    return fit_cubics(
        lambda log_q, exponents: (log_moment(-log_q, sigma, exponents) + surcharge) / exponents,
        starts,
        ends,
        best.exponents[1:].flip(0),
    )
