"""Approximation of smooth functions of one variable by cubic polynomials on short pieces."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

# Largest error of a polynomial, relative to the value and absolute.
RELATIVE = 1e-11
ABSOLUTE = 1e-30
# Shortest half of a piece, relative to its middle: below, rounding of the values dominates the error.
NARROWEST = 1e-7

_DEGREES = torch.arange(4)
_NODES = torch.cos(torch.pi * (2 * _DEGREES.to(torch.float64) + 1) / 8)
_CHECKS = torch.tensor([-1.0, -0.65, 0.0, 0.65, 1.0], dtype=torch.float64)


@dataclass(frozen=True)
class Cubics:
    """Polynomials on adjacent pieces, each of which includes its end: `ends` float64 `[m]`, ascending.

    `rows` is float64 `[m, 5]`: the middle of the piece, then the coefficients of (x - middle) to the powers 0 to 3.
    """

    ends: Tensor
    rows: Tensor


def fit_cubics(value: Callable[[Tensor, Tensor], Tensor], starts: Tensor, ends: Tensor, owners: Tensor) -> Cubics:
    """Fit `value(x, owner)`, smooth from each start to its end, all `[m]`, halving pieces until they are exact."""
    to_powers = torch.linalg.inv(_powers(_NODES)).T
    fitted = [(ends[:0], torch.empty(0, 5, dtype=torch.float64))]
    while len(starts):
        middles, halves = ((starts + ends) / 2).unsqueeze(-1), ((ends - starts) / 2).unsqueeze(-1)
        scaled = value(middles + halves * _NODES, owners.unsqueeze(-1)) @ to_powers
        wanted = value(middles + halves * _CHECKS, owners.unsqueeze(-1))
        error = (scaled @ _powers(_CHECKS).T - wanted).abs()
        wide = (halves > NARROWEST * middles.abs()).squeeze(-1)
        rest = wide & (error > RELATIVE * wanted.abs() + ABSOLUTE).any(dim=-1)
        rows = torch.cat([middles, scaled / halves**_DEGREES], dim=-1)
        fitted.append((ends[~rest], rows[~rest]))
        centre = middles[rest, 0]
        starts, ends = torch.cat([starts[rest], centre]), torch.cat([centre, ends[rest]])
        owners = owners[rest].repeat(2)
    all_ends, order = torch.cat([piece_ends for piece_ends, _ in fitted]).sort()
    return Cubics(all_ends, torch.cat([rows for _, rows in fitted])[order])


def _powers(points: Tensor) -> Tensor:
    return points.unsqueeze(-1) ** _DEGREES
