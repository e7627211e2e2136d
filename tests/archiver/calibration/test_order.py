"""Orders of a calibration that make no sense are refused where they are given."""

import math
from pathlib import Path

import pytest

from calpow.archiver.calibration.order import MOST_TESTS, POLICIES, SCORES, TOLERABLE, CalibrationOrder
from calpow.archiver.calibration.policy_fit.wealth import SCHEMES
from calpow.archiver.calibration.synthetic_inputs.tolerances import TOLERANCES
from calpow.archiver.errors import OrderError
from calpow.handler.leakage.specs import ScoreName
from calpow.handler.policy.calibrated_policy import PolicyName
from calpow.handler.policy.tariff import LONGEST_SECONDS
from calpow.handler.policy.validation import MOST_NUMBERS


def order_with(**changes: object) -> CalibrationOrder:
    members: dict[str, object] = {
        "victim": Path("victim.mar"),
        "ensemble": Path("teachers.pt"),
        "data": Path("heldout"),
        "output": Path("calibration.json"),
        **changes,
    }
    return CalibrationOrder(**members)  # type: ignore[arg-type]  # the test's own mapping


def test_every_score_every_policy_and_every_change_can_be_ordered() -> None:
    assert set(SCORES) == {name.value for name in ScoreName}
    assert set(POLICIES) == {name.value for name in PolicyName}
    assert set(TOLERABLE) == set(TOLERANCES)
    # An account has room for the bets and two numbers more, also where the owner names more scores than are chosen.
    for scheme in SCHEMES.values():
        assert MOST_TESTS * len(scheme.bets.shares) * len(scheme.bets.stakes) + 2 <= MOST_NUMBERS
        assert scheme.most_scores <= MOST_TESTS


@pytest.mark.parametrize(
    "changes",
    [
        {"scores": ("energy", "prototypes@blocks.0", "mahalanobis")},
        {"scores": tuple(SCORES[2:7])},
        {"tolerate": ()},
        {"tolerate": TOLERABLE},
        {"cap_seconds": LONGEST_SECONDS},
        {"ensemble": None},
        {"ensemble": None, "neighbours": Path("points.npz"), "scores": ("pknn",)},
    ],
)
def test_orders_that_make_sense_are_taken(changes: dict[str, object]) -> None:
    assert order_with(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"budget": 1.0}, "--overhead-budget 1.0: give more than 1"),
        ({"budget": math.nan}, "--overhead-budget nan: give more than 1"),
        ({"horizon": 5}, "--horizon 5: give a number of queries from 100"),
        ({"cap_seconds": 0.5}, "--cap-seconds 0.5: give from 1 to"),
        ({"cap_seconds": math.nan}, "--cap-seconds nan: give from 1 to"),
        ({"cap_seconds": LONGEST_SECONDS + 1}, "--cap-seconds"),
        ({"rdp_order": 1.0}, "--rdp-order 1.0: give an order above 1"),
        ({"rdp_order": math.nan}, "--rdp-order nan: give an order above 1"),
        ({"scores": ("pate", "pate")}, "--scores names one twice: pate pate"),
        ({"scores": SCORES[: MOST_TESTS + 1]}, f"give at most {MOST_TESTS}"),
        ({"scores": ("energy", "joint")}, "--scores joint: leave it out, the scores that are named make it up"),
        ({"scores": ("speed",)}, "--scores speed: give names of pate, vote-entropy"),
        ({"scores": ("energy@conv",)}, "--scores energy@conv: give NAME@LAYER for mahalanobis, prototypes"),
        ({"scores": ("prototypes@",)}, "--scores prototypes@: give NAME@LAYER for mahalanobis, prototypes"),
        ({"ensemble": None, "scores": ("pate",)}, "score pate needs --ensemble, from calpow teachers"),
        ({"ensemble": None, "scores": ("density",)}, "score density needs --ensemble"),
        ({"scores": ("pknn",)}, "score pknn needs --neighbours, from calpow neighbours"),
        ({"tolerate": ("mirror",)}, "--tolerate mirror: give none, or of noise, shift, flip, jpeg"),
        ({"puzzle": "argon2id"}, "--puzzle argon2id: give one of hashcash-sha1, hashcash-sha256, scrypt, scrypt-hard"),
    ],
)
def test_orders_that_make_no_sense_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(OrderError) as caught:
        order_with(**changes)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
