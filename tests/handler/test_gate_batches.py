"""Several requests at once: in one batch, and in the gates of several workers on one ledger."""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from calpow.handler.gate.decision import Decision, Ran, Released, Request
from calpow.handler.gate.gate import MOST_CONFLICTS, Gate
from calpow.handler.ledger.ledger import MOST_USES, Charge, Ledger, Settlement, Totals
from calpow.handler.ledger.sqlite import SqliteLedger
from calpow.puzzle.wire import format_prepaid
from tests.support.customers import Attempt, AuditedLedger, Customer
from tests.support.house import (
    MODEL,
    House,
    announced,
    kind_of,
    many,
    prepaid_stamps,
    prepay,
    refused,
    released,
    spare_the_disk,
    trust_stamps,
)

FLOOR = 992  # hashes of the puzzle that is nearest to the floor's thousand
THREADS = 8
WORKERS = 4


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path / "ledger.db")


class WatchedLedger(SqliteLedger):
    """Keeps what it was asked to settle; `before` is called before each settling."""

    def __init__(self, path: Path, before: Callable[[], object] = lambda: None) -> None:
        super().__init__(path)
        self.asked: list[list[Settlement]] = []
        self._before = before

    def settle(self, model: str, settlements: Sequence[Settlement], *, now: float) -> list[bool]:
        """Settle."""
        self.asked.append(list(settlements))
        self._before()
        return super().settle(model, settlements, now=now)


def gate_on(house: House, ledger: Ledger) -> Gate:
    """A gate of the house's on this ledger."""
    return Gate(MODEL, ledger, house.calibration, house.allowance, clock=lambda: house.now)


def outcomes(house: House) -> list[tuple[object, ...]]:
    """What was sold, as the ledger's file has it."""
    return [row for row in house.rows() if row[0] == "outcomes"]


# ---- One batch ------------------------------------------------------------------------------------------------------


def test_a_batch_is_decided_in_order_and_nobody_spoils_it_for_others(house: House) -> None:
    paid = [house.pay("1.0") for _ in range(4)]
    said = house.batch(
        house.request("1.0", paid[0]),
        house.request("1.1"),
        house.request("?", paid[1]),
        house.request("1.2", key=""),
        house.request("!", paid[2]),
        house.request("1.3", paid[3]),
        house.request("1.4", "prepaid x"),
        house.request(many(257)),
    )
    assert [kind_of(each) for each in said] == [
        *("answered", "pow-required", "bad-payload", "identity-missing"),
        *("answered", "answered", "malformed-solution", "too-large"),
    ]
    assert [each.answer for each in said if isinstance(each, Released)] == [
        "answer to 1.0",
        "failure on !",
        "answer to 1.3",
    ]
    assert house.runner.calls == [["1.0", "?", "!", "1.3"]]
    assert house.account().totals.queries == 2


def test_an_accounts_requests_in_a_batch_are_settled_together_one_after_another(house: House) -> None:
    ledger = WatchedLedger(house.path)
    house.gate = gate_on(house, ledger)
    bob = house.ledger.add_key("bob")
    requests = [house.request(f"1.{index}", house.pay("1.0")) for index in range(3)]
    requests.insert(1, house.request("2.0", house.pay("1.0", bob), bob))
    said = house.batch(*requests)
    (settlements,) = ledger.asked
    assert [(each.account, len(each.spendings)) for each in settlements] == [("ada", 3), ("bob", 1)]
    assert len({announced(said[index]) for index in (0, 2, 3)}) == 1
    assert (house.account().version, house.account().totals) == (1, Totals(3_300_000, 300_000, 3))


def test_what_one_request_of_a_batch_owes_counts_for_the_next_of_the_same_account(house: House) -> None:
    """Four lists that hide their samples: each could leave alone, at twice what was presented."""
    said = house.batch(*(house.request(f"1.0 1.{index}", house.pay("1.0"), counted=False) for index in range(4)))
    assert [kind_of(each) for each in said] == ["answered", "more-required", "more-required", "more-required"]
    assert house.account().owed == FLOOR
    assert house.account().totals.queries == 8


@pytest.mark.parametrize("prepaid", [False, True])
def test_two_uses_of_one_solution_in_a_batch_run_one_after_the_other(house: House, prepaid: bool) -> None:
    paid = prepay(house, 1000) if prepaid else house.pay("1.0")
    said = house.batch(*(house.request("1.0", paid) for _ in range(3)))
    assert [kind_of(each) for each in said] == ["answered"] * 3
    assert house.runner.calls == [["1.0"]] * 3
    assert (house.account().totals.queries, house.account().version) == (1, 1)


def test_of_two_requests_in_a_batch_with_one_solution_the_first_is_answered(house: House) -> None:
    paid = house.pay("1.0")
    said = house.batch(house.request("1.0", paid), house.request("1.1", paid))
    assert [kind_of(each) for each in said] == ["answered", "challenge-spent"]
    assert house.passes == 1


def test_stamps_that_overlap_in_a_batch_are_spent_once(house: House) -> None:
    stamps = [*prepaid_stamps(house, 1000), *prepaid_stamps(house, 1000), *prepaid_stamps(house, 100)]
    first, second, both = stamps[:31], stamps[31:], stamps[20:60]
    said = house.batch(*(house.request("1.0", format_prepaid(each)) for each in (first, both, second)))
    assert [kind_of(each) for each in said] == ["answered", "challenge-spent", "answered"]


def test_one_solution_in_a_batch_of_64_makes_five_passes(house: House) -> None:
    paid = house.pay("1.0")
    said = house.batch(*(house.request("1.0", paid) for _ in range(64)))
    assert [kind_of(each) for each in said] == ["answered"] * MOST_USES + ["challenge-spent"] * (64 - MOST_USES)
    assert house.passes == MOST_USES


def test_a_failing_first_use_leaves_the_work_to_the_second_in_a_batch(house: House) -> None:
    paid = house.pay("1.0")
    said = house.batch(house.request("?", paid), house.request("1.0", paid))
    assert [kind_of(each) for each in said] == ["bad-payload", "answered"]


# ---- Several workers ------------------------------------------------------------------------------------------------


def at_once(jobs: Sequence[Callable[[], Decision]], threads: int = THREADS) -> list[Decision]:
    """The results of jobs that are done side by side."""
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(lambda job: job(), jobs))


def test_200_simultaneous_uses_of_one_solution_have_one_outcome_and_make_five_passes_at_most(house: House) -> None:
    workers = [house.worker() for _ in range(WORKERS)]
    for index in range(5):
        house.runner.calls.clear()
        text, paid = f"1.{index}", house.pay("1.0")
        said = at_once([partial(house.ask, text, paid, gate=gate) for gate in workers * 50])
        counted = Counter(kind_of(each) for each in said)
        assert 1 <= counted["answered"] <= MOST_USES
        assert counted["answered"] + counted["ledger-unavailable"] == house.passes <= MOST_USES
        assert set(counted) <= {"answered", "challenge-spent", "ledger-unavailable"}
        assert house.account().totals.queries == index + 1
        assert len(outcomes(house)) == index + 1


def test_200_simultaneous_requests_with_one_solution_buy_one_of_them(house: House) -> None:
    workers = [house.worker() for _ in range(WORKERS)]
    paid = house.pay("1.0")
    jobs = [partial(house.ask, f"1.0{'0' * index}", paid, gate=gate) for index, gate in enumerate(workers * 50)]
    counted = Counter(kind_of(each) for each in at_once(jobs))
    assert counted["answered"] <= 1
    assert house.account().totals.queries == len(outcomes(house)) == counted["answered"]
    assert house.passes <= MOST_USES


def test_simultaneous_answers_of_one_account_add_up_exactly_or_are_not_given(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    trust_stamps(monkeypatch)
    spare_the_disk(monkeypatch)
    ledger = AuditedLedger(house.path, house)
    gates = [gate_on(house, AuditedLedger(house.path, house, beside=ledger)) for _ in range(WORKERS)]
    customer = Customer(house, "carla", random.Random(1))
    attempts = [Attempt(customer, customer.text(1), True, customer.prepaid(FLOOR)) for _ in range(160)]
    for each in attempts:
        ledger.texts[each.request().digest] = each.text
    requests = [each.request() for each in attempts]

    def answer(index: int) -> Decision:
        (decision,) = gates[index % WORKERS].answer([requests[index]], house.runner.run)
        return decision

    said = at_once([partial(answer, index) for index in range(len(requests))])
    counted = Counter(kind_of(each) for each in said)
    assert set(counted) <= {"answered", "more-required", "ledger-unavailable"}
    books = ledger.books["carla"]
    assert house.account("carla") == books.account
    assert books.account.totals.queries == len(outcomes(house)) >= counted["answered"] >= 1
    assert counted["ledger-unavailable"] < len(said) / 4


def test_where_the_account_changes_meanwhile_it_is_settled_on_what_it_has_become(house: House) -> None:
    changed: list[int] = []

    def change() -> None:
        if len(changed) < MOST_CONFLICTS - 1:
            changed.append(1)
            house.ledger.charge(MODEL, {"ada": Charge(2_000_000, 1_000_000, 1)})

    ledger = WatchedLedger(house.path, change)
    answer = house.ask("1.0", house.pay("1.0"), gate=gate_on(house, ledger))
    assert len(ledger.asked) == MOST_CONFLICTS
    # Seven strangers came before it: it is priced after them.
    assert kind_of(answer) == "more-required"
    assert house.account().totals == Totals(15_000_000, 7_000_000, 8)
    assert house.passes == 1


def test_after_eight_conflicts_nothing_is_answered_nothing_written_and_the_work_is_good(house: House) -> None:
    ledger = WatchedLedger(house.path, lambda: house.ledger.charge(MODEL, {"ada": Charge(500_000, -250_000, 1)}))
    paid = house.pay("1.0")
    problem = refused(house.ask("1.0", paid, gate=gate_on(house, ledger)))
    assert (problem.status, problem.type, problem.headers["Retry-After"]) == (503, "ledger-unavailable", "5")
    assert len(ledger.asked) == MOST_CONFLICTS
    assert house.account().totals == Totals(4_000_000, -2_000_000, 8)
    assert outcomes(house) == []
    assert house.passes == 1
    released(house.ask("1.0", paid))


def test_one_accounts_conflicts_keep_nobody_elses_answer_back(house: House) -> None:
    bob = house.ledger.add_key("bob")
    ledger = WatchedLedger(house.path, lambda: house.ledger.charge(MODEL, {"ada": Charge(500_000, -250_000, 1)}))
    requests = [house.request("1.0", house.pay("1.0")), house.request("1.0", house.pay("1.0", bob), bob)]
    said = gate_on(house, ledger).answer(requests, house.runner.run)
    assert [kind_of(each) for each in said] == ["ledger-unavailable", "answered"]
    assert [len(each) for each in ledger.asked] == [2] + [1] * (MOST_CONFLICTS - 1)


@pytest.mark.parametrize(("first", "second"), [("1.0", "answered"), ("1.1", "challenge-spent")])
def test_whoever_is_overtaken_with_one_solution_gets_the_outcome_of_the_first(
    house: House, first: str, second: str
) -> None:
    """Another worker settles while this one's victim runs."""
    paid = house.pay("1.0")

    def overtaken(requests: Sequence[Request]) -> list[Ran]:
        released(house.ask(first, paid, gate=house.worker()))
        return house.runner.run(requests)

    (decision,) = house.gate.answer([house.request("1.0", paid)], overtaken)
    assert kind_of(decision) == second
    assert (house.account().totals.queries, len(outcomes(house))) == (1, 1)


def test_whoever_is_overtaken_by_a_withheld_answer_gets_the_same_rest(house: House) -> None:
    paid = house.pay("1.0")
    rests: list[Decision] = []

    def overtaken(requests: Sequence[Request]) -> list[Ran]:
        rests.append(house.ask(many(4), paid, counted=False, gate=house.worker()))
        return house.runner.run(requests)

    (decision,) = house.gate.answer([house.request(many(4), paid, counted=False)], overtaken)
    first, second = refused(rests[0]).challenge, refused(decision).challenge
    assert first is not None
    assert second is not None
    assert first.puzzle == second.puzzle
    assert house.account().totals.queries == 4


def test_a_use_that_shares_but_a_stamp_with_what_overtook_it_is_spent(house: House) -> None:
    stamps = prepaid_stamps(house, 1000)
    more = prepaid_stamps(house, 1000)

    def overtaken(requests: Sequence[Request]) -> list[Ran]:
        released(house.ask("1.0", format_prepaid([stamps[0], *more]), gate=house.worker()))
        return house.runner.run(requests)

    (decision,) = house.gate.answer([house.request("1.0", format_prepaid(stamps))], overtaken)
    assert kind_of(decision) == "challenge-spent"
