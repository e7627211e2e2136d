"""Orders of a calibration that make no sense are refused where they are given."""

import math
from pathlib import Path

import pytest

from calpow.archiver.calibration.order import METRICS, CalibrationOrder
from calpow.archiver.errors import OrderError
from calpow.handler.leakage.specs import ScoreName


def test_every_score_can_be_ordered() -> None:
    assert set(METRICS) == {name.value for name in ScoreName}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"budget": 1.0}, "--overhead-budget 1.0: give more than 1"),
        ({"budget": math.nan}, "--overhead-budget nan: give more than 1"),
        ({"horizon": 5}, "--horizon 5: give a number of queries from 100"),
        ({"rdp_order": 1.0}, "--rdp-order 1.0: give an order above 1"),
        ({"rdp_order": math.nan}, "--rdp-order nan: give an order above 1"),
        ({"metrics": ("pate", "pate")}, "names one twice"),
        ({"ensemble": None}, "metric pate needs --ensemble"),
        ({"metrics": ("entropy",)}, "--ensemble is for metric pate"),
        ({"puzzle": "argon2id"}, "--puzzle argon2id: give one of hashcash-sha1, hashcash-sha256, scrypt, scrypt-hard"),
    ],
)
def test_orders_that_make_no_sense_are_refused(changes: dict[str, object], message: str) -> None:
    members: dict[str, object] = {
        "victim": Path("victim.mar"),
        "ensemble": Path("teachers.pt"),
        "data": Path("heldout"),
        "output": Path("calibration.json"),
        **changes,
    }
    with pytest.raises(OrderError, match=message):
        CalibrationOrder(**members)  # type: ignore[arg-type]  # the test's own mapping
