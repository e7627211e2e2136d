"""Several requests in one batch: they are settled together, and uses of one solution run one after another."""

import pytest

from calpow.handler.gate.interface import Released
from calpow.handler.ledger.solutions import MOST_USES
from calpow.puzzle.wire import format_prepaid
from tests.support.gate_harness import (
    FLOOR_HASHES,
    GateHarness,
    WatchedLedger,
    claim_work,
    decision_type,
    next_hashes_of,
    payload_of,
    prepaid_stamps,
    prepay,
    trust_stamps,
)


def test_a_batch_is_decided_in_order_and_nobody_spoils_it_for_others(harness: GateHarness) -> None:
    paid = [harness.pay("1.0") for _ in range(4)]
    decisions = harness.batch(
        harness.request("1.0", paid[0]),
        harness.request("1.1"),
        harness.request("?", paid[1]),
        harness.request("1.2", key=""),
        harness.request("!", paid[2]),
        harness.request("1.3", paid[3]),
        harness.request("1.4", "prepaid x"),
        harness.request(payload_of(257)),
    )
    assert [decision_type(decision) for decision in decisions] == [
        *("answered", "pow-required", "bad-payload", "identity-missing"),
        *("answered", "answered", "malformed-solution", "too-large"),
    ]
    assert [decision.answer for decision in decisions if isinstance(decision, Released)] == [
        "answer to 1.0",
        "failure on !",
        "answer to 1.3",
    ]
    assert harness.runner.calls == [["1.0", "?", "!", "1.3"]]
    assert harness.account().history.queries == 2


@pytest.mark.parametrize("cost", [1e12, 1e38, -1e38])
def test_an_account_of_any_cost_does_not_spoil_its_batch(
    harness: GateHarness, monkeypatch: pytest.MonkeyPatch, cost: float
) -> None:
    """Scores such as the energy of logits have no bounds, and a ledger holds integers of 64 bits."""
    trust_stamps(monkeypatch)
    other = harness.ledger.add_key("eve")
    odd = payload_of(20, cost)
    solved, paid = claim_work(harness.challenge(odd)), claim_work(harness.challenge("1.0", other))
    first, second = harness.batch(harness.request(odd, solved), harness.request("1.0", paid, other))
    assert decision_type(first) in {"answered", "more-required"}
    assert decision_type(second) == "answered"
    assert harness.account().history.queries == 20


def test_an_accounts_requests_in_a_batch_are_settled_together_one_after_another(harness: GateHarness) -> None:
    ledger = WatchedLedger(harness.path)
    harness.gate = harness.worker_on(ledger)
    bob = harness.ledger.add_key("bob")
    requests = [harness.request(f"1.{index}", harness.pay("1.0")) for index in range(3)]
    requests.insert(1, harness.request("2.0", harness.pay("1.0", bob), bob))
    decisions = harness.batch(*requests)
    (settlements,) = ledger.calls
    assert [(settlement.account, len(settlement.spendings)) for settlement in settlements] == [("ada", 3), ("bob", 1)]
    assert len({next_hashes_of(decisions[index]) for index in (0, 2, 3)}) == 1
    history = harness.account().history
    assert (harness.account().version, history.cost_micro, history.queries) == (1, 3_300_000, 3)


def test_what_one_request_of_a_batch_owes_counts_for_the_next_of_the_same_account(harness: GateHarness) -> None:
    """Four lists that hide their samples: any one of them could leave alone, at twice the work presented."""
    decisions = harness.batch(
        *(harness.request(f"1.0#{index} 1.{index}", harness.pay("1.0"), counted=False) for index in range(4))
    )
    assert [decision_type(decision) for decision in decisions] == [
        "answered",
        "more-required",
        "more-required",
        "more-required",
    ]
    assert harness.account().owed == FLOOR_HASHES
    assert harness.account().history.queries == 8


@pytest.mark.parametrize("prepaid", [False, True])
def test_two_uses_of_one_solution_in_a_batch_run_one_after_the_other(harness: GateHarness, prepaid: bool) -> None:
    paid = prepay(harness, 1000) if prepaid else harness.pay("1.0")
    decisions = harness.batch(*(harness.request("1.0", paid) for _ in range(3)))
    assert [decision_type(decision) for decision in decisions] == ["answered"] * 3
    assert harness.runner.calls == [["1.0"]] * 3
    assert (harness.account().history.queries, harness.account().version) == (1, 1)


def test_of_two_requests_in_a_batch_with_one_solution_the_first_is_answered(harness: GateHarness) -> None:
    paid = harness.pay("1.0")
    decisions = harness.batch(harness.request("1.0", paid), harness.request("1.1", paid))
    assert [decision_type(decision) for decision in decisions] == ["answered", "challenge-spent"]
    assert harness.pass_count == 1


def test_stamps_that_overlap_in_a_batch_are_spent_once(harness: GateHarness) -> None:
    stamps = [*prepaid_stamps(harness, 1000), *prepaid_stamps(harness, 1000), *prepaid_stamps(harness, 100)]
    first, second, both = stamps[:31], stamps[31:], stamps[20:60]
    decisions = harness.batch(
        *(harness.request("1.0", format_prepaid(stamps_sent)) for stamps_sent in (first, both, second))
    )
    assert [decision_type(decision) for decision in decisions] == ["answered", "challenge-spent", "answered"]


def test_one_solution_in_a_batch_of_64_makes_five_passes(harness: GateHarness) -> None:
    paid = harness.pay("1.0")
    decisions = harness.batch(*(harness.request("1.0", paid) for _ in range(64)))
    assert [decision_type(decision) for decision in decisions] == ["answered"] * MOST_USES + ["challenge-spent"] * (
        64 - MOST_USES
    )
    assert harness.pass_count == MOST_USES


def test_a_failing_first_use_leaves_the_work_to_the_second_in_a_batch(harness: GateHarness) -> None:
    paid = harness.pay("1.0")
    decisions = harness.batch(harness.request("?", paid), harness.request("1.0", paid))
    assert [decision_type(decision) for decision in decisions] == ["bad-payload", "answered"]
