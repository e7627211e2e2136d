"""Settlement while several workers use one ledger: conflicts, and simultaneous uses of one solution."""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from calpow.handler.gate.interface import PassResult
from calpow.handler.gate.settler import MOST_CONFLICTS
from calpow.handler.ledger.solutions import MOST_USES
from calpow.puzzle.wire import format_prepaid
from tests.support.calibrations import charge_of
from tests.support.customers import Attempt, AuditedLedger, Customer
from tests.support.gate_harness import (
    FLOOR_HASHES,
    MODEL,
    GateHarness,
    TextDecision,
    WatchedLedger,
    decision_type,
    payload_of,
    prepaid_stamps,
    problem_of,
    released,
    skip_fsync,
    trust_stamps,
)
from tests.support.text_runner import TextRequest

THREADS = 8
WORKERS = 4


def outcomes(harness: GateHarness) -> list[tuple[object, ...]]:
    """Return the rows of the ledger's outcomes."""
    return [row for row in harness.rows() if row[0] == "outcomes"]


def charge(harness: GateHarness, cost: float) -> None:
    """Charge the account for a sample that nobody sent before."""
    sample = charge_of(harness.policy, cost, str(harness.account().version))
    harness.ledger.charge(MODEL, {"ada": lambda account: harness.policy.evidence.charged(account, sample)})


def at_once(jobs: Sequence[Callable[[], TextDecision]], threads: int = THREADS) -> list[TextDecision]:
    """Run jobs side by side and return their results."""
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(lambda job: job(), jobs))


@pytest.mark.slow
def test_200_simultaneous_uses_of_one_solution_have_one_outcome_and_make_five_passes_at_most(
    harness: GateHarness,
) -> None:
    workers = [harness.worker() for _ in range(WORKERS)]
    for index in range(5):
        harness.runner.calls.clear()
        text, paid = f"1.{index}", harness.pay("1.0")
        decisions = at_once([partial(harness.ask, text, paid, gate=gate) for gate in workers * 50])
        counted = Counter(decision_type(decision) for decision in decisions)
        assert 1 <= counted["answered"] <= MOST_USES
        assert counted["answered"] + counted["ledger-unavailable"] == harness.pass_count <= MOST_USES
        assert set(counted) <= {"answered", "challenge-spent", "ledger-unavailable"}
        assert harness.account().history.queries == index + 1
        assert len(outcomes(harness)) == index + 1


def test_200_simultaneous_requests_with_one_solution_buy_one_of_them(harness: GateHarness) -> None:
    workers = [harness.worker() for _ in range(WORKERS)]
    paid = harness.pay("1.0")
    jobs = [partial(harness.ask, f"1.0{'0' * index}", paid, gate=gate) for index, gate in enumerate(workers * 50)]
    counted = Counter(decision_type(decision) for decision in at_once(jobs))
    assert counted["answered"] <= 1
    assert harness.account().history.queries == len(outcomes(harness)) == counted["answered"]
    assert harness.pass_count <= MOST_USES


def test_simultaneous_answers_of_one_account_add_up_exactly_or_are_not_given(
    harness: GateHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    trust_stamps(monkeypatch)
    skip_fsync(monkeypatch)
    ledger = AuditedLedger(harness.path, harness)
    gates = [harness.worker_on(AuditedLedger(harness.path, harness, beside=ledger)) for _ in range(WORKERS)]
    customer = Customer(harness, "carla", random.Random(1))
    attempts = [Attempt(customer, customer.text(1), True, customer.prepaid(FLOOR_HASHES)) for _ in range(160)]
    for attempt in attempts:
        ledger.texts[attempt.request().digest] = attempt.text
    requests = [attempt.request() for attempt in attempts]

    def answer(index: int) -> TextDecision:
        (decision,) = gates[index % WORKERS].answer([requests[index]], harness.runner.run)
        return decision

    decisions = at_once([partial(answer, index) for index in range(len(requests))])
    counted = Counter(decision_type(decision) for decision in decisions)
    assert set(counted) <= {"answered", "more-required", "ledger-unavailable"}
    books = ledger.books["carla"]
    assert harness.account("carla") == books.account
    assert books.account.history.queries == len(outcomes(harness)) >= counted["answered"] >= 1
    assert counted["ledger-unavailable"] < len(decisions) / 4


def test_where_the_account_changes_meanwhile_it_is_settled_on_what_it_has_become(harness: GateHarness) -> None:
    changed: list[int] = []

    def change() -> None:
        if len(changed) < MOST_CONFLICTS - 1:
            changed.append(1)
            charge(harness, 2.0)

    ledger = WatchedLedger(harness.path, change)
    answer = harness.ask("1.0", harness.pay("1.0"), gate=harness.worker_on(ledger))
    assert len(ledger.calls) == MOST_CONFLICTS
    # Odd queries were settled before it, so it is priced after them.
    assert decision_type(answer) == "more-required"
    history = harness.account().history
    assert (history.cost_micro, history.queries) == (2_000_000 * (MOST_CONFLICTS - 1) + 1_000_000, MOST_CONFLICTS)
    assert min(history.wealth) > 0
    assert harness.pass_count == 1


def test_after_too_many_conflicts_nothing_is_answered_or_written_and_the_work_is_good(harness: GateHarness) -> None:
    ledger = WatchedLedger(harness.path, lambda: charge(harness, 0.5))
    paid = harness.pay("1.0")
    problem = problem_of(harness.ask("1.0", paid, gate=harness.worker_on(ledger)))
    assert (problem.status, problem.type, problem.headers["Retry-After"]) == (503, "ledger-unavailable", "5")
    assert len(ledger.calls) == MOST_CONFLICTS
    history = harness.account().history
    assert (history.cost_micro, history.queries) == (500_000 * MOST_CONFLICTS, MOST_CONFLICTS)
    assert outcomes(harness) == []
    assert harness.pass_count == 1
    released(harness.ask("1.0", paid))


def test_one_accounts_conflicts_keep_nobody_elses_answer_back(harness: GateHarness) -> None:
    bob = harness.ledger.add_key("bob")
    ledger = WatchedLedger(harness.path, lambda: charge(harness, 0.5))
    requests = [harness.request("1.0", harness.pay("1.0")), harness.request("1.0", harness.pay("1.0", bob), bob)]
    decisions = harness.worker_on(ledger).answer(requests, harness.runner.run)
    assert [decision_type(decision) for decision in decisions] == ["ledger-unavailable", "answered"]
    assert [len(settlements) for settlements in ledger.calls] == [2] + [1] * (MOST_CONFLICTS - 1)


@pytest.mark.parametrize(("first", "second"), [("1.0", "answered"), ("1.1", "challenge-spent")])
def test_a_request_that_is_overtaken_with_its_solution_has_the_outcome_of_the_first(
    harness: GateHarness, first: str, second: str
) -> None:
    """Another worker settles while the victim of this one runs."""
    paid = harness.pay("1.0")

    def overtaken(requests: Sequence[TextRequest]) -> list[PassResult[str | None]]:
        released(harness.ask(first, paid, gate=harness.worker()))
        return harness.runner.run(requests)

    (decision,) = harness.gate.answer([harness.request("1.0", paid)], overtaken)
    assert decision_type(decision) == second
    assert (harness.account().history.queries, len(outcomes(harness))) == (1, 1)


def test_a_request_that_is_overtaken_by_a_withheld_answer_gets_the_same_rest(harness: GateHarness) -> None:
    paid = harness.pay("1.0")
    rests: list[TextDecision] = []

    def overtaken(requests: Sequence[TextRequest]) -> list[PassResult[str | None]]:
        rests.append(harness.ask(payload_of(4), paid, counted=False, gate=harness.worker()))
        return harness.runner.run(requests)

    (decision,) = harness.gate.answer([harness.request(payload_of(4), paid, counted=False)], overtaken)
    first, second = problem_of(rests[0]).challenge, problem_of(decision).challenge
    assert first is not None
    assert second is not None
    assert first.puzzle == second.puzzle
    assert harness.account().history.queries == 4


def test_a_use_that_shares_but_a_stamp_with_what_overtook_it_is_spent(harness: GateHarness) -> None:
    stamps = prepaid_stamps(harness, 1000)
    more = prepaid_stamps(harness, 1000)

    def overtaken(requests: Sequence[TextRequest]) -> list[PassResult[str | None]]:
        released(harness.ask("1.0", format_prepaid([stamps[0], *more]), gate=harness.worker()))
        return harness.runner.run(requests)

    (decision,) = harness.gate.answer([harness.request("1.0", format_prepaid(stamps))], overtaken)
    assert decision_type(decision) == "challenge-spent"
