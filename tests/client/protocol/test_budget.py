"""The limits of one request hold for all of its challenges, refusals and waits together."""

import pytest

from calpow.client.errors import TimeLimitExceeded, WorkLimitExceeded
from calpow.client.protocol.budget import MAX_WAITS, Budget, RequestLimits


def test_work_is_allowed_up_to_the_limit_and_refused_beyond() -> None:
    budget = Budget(RequestLimits(max_hashes=40))
    budget.add_hashes(30)
    budget.add_hashes(10)
    budget.add_refusal("too late")
    with pytest.raises(WorkLimitExceeded) as caught:
        budget.add_hashes(1)
    assert (caught.value.expected_hashes, caught.value.limit, caught.value.refusal) == (41, 40, "too late")


def test_seconds_of_work_are_taken_from_those_that_are_left() -> None:
    budget = Budget(RequestLimits(max_seconds=1))
    assert budget.add_hashes(1) == 1
    budget.add_seconds(0.75)
    assert budget.add_hashes(1) == 0.25
    budget.add_seconds(0.5)
    with pytest.raises(TimeLimitExceeded) as caught:
        budget.add_hashes(1)
    assert (caught.value.expected_seconds, caught.value.limit, caught.value.refusal) == (1.25, 1, "")


def test_the_round_trip_of_a_refused_solution_counts_as_a_second_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("calpow.client.protocol.budget.time.monotonic", lambda: now)
    budget = Budget(RequestLimits(max_seconds=10))
    left = [budget.add_hashes(1)]
    for round_trip in (0.25, 60.0, 0.0):
        budget.add_seconds(1.0)
        now += round_trip
        budget.add_refusal("no")
        left.append(budget.add_hashes(1))
    assert left == [10, 8.75, 6.75, 5.75]


def test_waits_are_bounded_together_in_seconds_and_in_number() -> None:
    budget = Budget(RequestLimits(max_wait=10))
    assert [budget.add_wait(4) for _ in range(3)] == [4, 4, None]
    budget = Budget(RequestLimits(max_wait=1e9))
    assert [budget.add_wait(0) for _ in range(MAX_WAITS + 1)] == [1] * MAX_WAITS + [None]
