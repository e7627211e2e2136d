"""GNMax accounting by tables: the values of rdp.py, fast enough for every request.

Votes are integers, so the terms of proposition 7 come from a table of gaps. The rest depends on q alone, and is smooth
wherever one order is the best (orders.py), so polynomials approximate it: a torch operation on a batch of 64 takes 2 to
4 microseconds, whichever it is, and a polynomial needs the fewest of them. Decision 0021.
"""

import math

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
    (`rdp.rdp_epsilon`). `highest` is the largest cost of a query, when no two teachers agree.
    """

    def __init__(self, orders: Tensor, surcharge: float, sigma: float, teachers: int) -> None:
        """A cost is the least of RDP + `surcharge / (order - 1)` over `orders`: float64 `[k]`, ascending, above 1."""
        self.highest = float((orders / sigma**2 + surcharge / (orders - 1)).amin())
        swaps = log_swap(torch.arange(teachers + 1), sigma)
        self._in_logs = float(swaps[-1]) < LEAST_LOG
        # One more entry, for the winner itself, which adds nothing to q.
        self._winner = teachers + 1
        terms = torch.cat([swaps, torch.tensor([-math.inf], dtype=torch.float64)])
        self._terms = terms if self._in_logs else terms.exp()
        cubics = _fit(orders, surcharge, sigma, 1.0 - float(swaps[-1]))
        # Beyond the last piece, theorem 6 gives no bound; the data-independent one remains.
        beyond = torch.tensor([[0.0, self.highest, 0.0, 0.0, 0.0]], dtype=torch.float64)
        self._ends, self._rows = cubics.ends, torch.cat([cubics.rows, beyond])

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
        with torch.inference_mode():
            log_q = self._log_q(votes)
            rows = self._rows.index_select(0, torch.bucketize(log_q, self._ends))
            middle, constant, linear, square, cube = rows.unbind(dim=1)
            offset = log_q.sub_(middle)
            value = torch.addcmul(square, cube, offset)
            value = torch.addcmul(linear, value, offset)
            return torch.addcmul(constant, value, offset).clamp_(0.0, self.highest)

    def _log_q(self, votes: Tensor) -> Tensor:
        """Return `rdp.log_q`, float64 `[n]`, without its upper limit, above which every cost is the highest anyway."""
        top, winner = votes.max(dim=1, keepdim=True)
        gaps = (top - votes).scatter_(1, winner, self._winner)
        terms = self._terms.take(gaps)
        return terms.logsumexp(dim=1) if self._in_logs else terms.sum(dim=1).log_()


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
