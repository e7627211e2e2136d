"""Simulations: what cannot be replayed is refused by the order, for callers from Python as well."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from calpow.archiver.errors import SimulationError
from calpow.archiver.replay.simulation import SimulationOrder


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"base": 0.9}, "--base is 0.9"),
        ({"base": math.nan}, "--base is nan"),
        ({"min_seconds": 0.0}, "from 0 to 2948 seconds"),
        ({"min_seconds": 5.0, "max_seconds": 2.0}, "from 5 to 2 seconds"),
        ({"max_seconds": 0.5}, "--max-seconds is 0.5"),
        ({"max_seconds": math.inf}, "to inf seconds"),
        ({"queries": -1.0}, "--queries is -1"),
        ({"queries": math.nan}, "--queries is nan"),
    ],
)
def test_an_order_that_cannot_be_replayed_is_refused(changes: dict[str, float], message: str) -> None:
    order = SimulationOrder(
        Path("legitimate.csv"),
        Path("attacks.csv"),
        None,
        math.inf,
        1.0075,
        min_seconds=0.1,
        max_seconds=2948.0,
        bits=False,
    )
    with pytest.raises(SimulationError, match=message):
        replace(order, **changes)  # type: ignore[arg-type]  # by name
