"""Composition of the privacy costs of several answers. Importable without torch."""

import math


def rdp_epsilon(rdp: float, order: float, delta: float) -> float:
    """Return epsilon at `delta` of queries whose RDP at `order` sums to `rdp` (Mironov 2017, proposition 3)."""
    return rdp - math.log(delta) / (order - 1)
