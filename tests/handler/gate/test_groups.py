"""Groups: members share their evidence, a query costs what the dearer of account and group pays, and nothing else."""

import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from calpow.handler.gate.interface import PassResult, Purpose
from calpow.handler.ledger.account import Rule
from calpow.handler.ledger.history import History
from calpow.handler.ledger.solutions import MOST_USES
from calpow.handler.ledger.uri import open_ledger
from calpow.handler.policy.tariff import Tariff
from tests.support.customers import Attempt, Customer
from tests.support.gate_harness import (
    FLOOR_HASHES,
    MODEL,
    GateHarness,
    TextDecision,
    challenge_of,
    claim_work,
    decision_type,
    next_hashes_of,
    rest_challenge,
    skip_fsync,
    trust_stamps,
)
from tests.support.text_runner import TextRequest

WORKERS = 8
# Workers that are busy all the time: two for each core here.
BUSY = 4
# Time of the victim for one answer.
PASS_SECONDS = 0.002
TENANT = "acme"


@pytest.fixture
def harness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GateHarness:
    trust_stamps(monkeypatch)
    return GateHarness(tmp_path / "ledger.db")


@pytest.fixture
def members(harness: GateHarness) -> Iterator[str]:
    """Keys of members of one group, one after another."""

    def keys() -> Iterator[str]:
        for number in range(10_000):
            yield harness.ledger.add_key(f"{TENANT}/user{number}")

    return keys()


def answer(harness: GateHarness, text: str, key: str) -> TextDecision:
    """Return the answer to a request, whose work is claimed as often as it is asked for."""
    decision = harness.ask(text, key=key)
    while decision_type(decision) != "answered":
        decision = harness.ask(text, claim_work(challenge_of(decision)), key)
    return decision


def price(harness: GateHarness, name: str) -> int:
    """Return the price of one more sample of an account, without what it owes."""
    return Tariff(harness.policy).next(harness.account(name))


def prices(harness: GateHarness) -> list[int]:
    """Return the prices of all answers so far, in no order."""
    return sorted(int(str(row[4])) for row in harness.rows() if row[0] == "outcomes" and row[6] == 0)


def test_what_one_member_has_done_every_other_pays_for(harness: GateHarness, members: Iterator[str]) -> None:
    thief, colleague = next(members), next(members)
    for number in range(6):
        answer(harness, f"2.0#{number}", thief)
    dear = price(harness, f"{TENANT}/user0")
    assert harness.challenge("1.0", colleague).puzzle.expected_hashes == dear > 5 * FLOOR_HASHES
    assert harness.challenge("1.0", harness.ledger.add_key(TENANT)).puzzle.expected_hashes == dear
    assert harness.challenge("1.0", harness.ledger.add_key("zoe")).puzzle.expected_hashes == FLOOR_HASHES


def test_the_dearer_of_account_and_group_is_paid(harness: GateHarness, members: Iterator[str]) -> None:
    """Colleagues take the group down again; the member whose queries were odd stays where he is."""
    thief, colleague = next(members), next(members)
    for number in range(6):
        answer(harness, f"2.0#{number}", thief)
    dear = price(harness, f"{TENANT}/user0")
    for number in range(60):
        answer(harness, f"0.5#{number}", colleague)
    assert price(harness, f"{TENANT}/user1") == price(harness, f"{TENANT}/user2") == FLOOR_HASHES
    assert price(harness, f"{TENANT}/user0") == dear
    tariff, account = Tariff(harness.policy), harness.account(f"{TENANT}/user0")
    assert account.group == harness.account(TENANT)
    assert account.group is not None
    assert tariff.next(account) == tariff.next(account._replace(group=None)) > tariff.next(account.group)


def test_members_who_share_a_theft_pay_what_one_account_would(harness: GateHarness, members: Iterator[str]) -> None:
    one = harness.ledger.add_key("one")
    for number in range(40):
        answer(harness, f"2.0#one{number}", one)
    alone = prices(harness)
    for number in range(40):
        answer(harness, f"2.0#all{number}", next(members))
    assert prices(harness) == sorted(alone * 2)
    assert harness.account(TENANT).history.wealth == harness.account("one").history.wealth


def test_what_one_member_was_answered_costs_every_other_the_floor_and_changes_nothing(
    harness: GateHarness, members: Iterator[str]
) -> None:
    first, second = next(members), next(members)
    for number in range(5):
        answer(harness, f"2.0#{number}", first)
    paid, before = prices(harness), harness.account(TENANT).history
    answer(harness, "2.0#3", second)
    assert harness.account(f"{TENANT}/user1").history == History(wealth=harness.policy.evidence.beginning)
    assert harness.account(TENANT).history == before
    assert prices(harness) == sorted([*paid, FLOOR_HASHES])


def test_a_withheld_answer_of_one_member_is_not_for_another_who_pays(
    harness: GateHarness, members: Iterator[str]
) -> None:
    first, second = next(members), next(members)
    text = " ".join(f"2.9#{number}" for number in range(12))
    paid = claim_work(harness.challenge("1.0", first))
    rest = rest_challenge(harness.ask(text, paid, first, counted=False))
    queries = harness.account(TENANT).history.queries
    stolen = harness.ask(text, claim_work(rest), second, counted=False)
    assert decision_type(stolen) == "challenge-mismatch"
    assert decision_type(harness.ask(text, paid, second, counted=False)) == "challenge-mismatch"
    assert harness.pass_count == 1
    assert decision_type(harness.ask(text, claim_work(rest), first, counted=False)) == "answered"
    history = harness.account(TENANT).history
    assert history.queries == queries == 12
    assert len(history.new_digests + history.digests) == 12 * 8


def test_what_is_withheld_raises_the_groups_price_and_earns_its_credit_once_it_is_paid(
    harness: GateHarness, members: Iterator[str]
) -> None:
    first, second = next(members), next(members)
    text = " ".join([*(f"2.9#{number}" for number in range(6)), *(f"0.5#{number}" for number in range(60))])
    rest = rest_challenge(harness.ask(text, claim_work(harness.challenge("1.0", first)), first, counted=False))
    assert harness.challenge("1.0", second).puzzle.expected_hashes > 5 * FLOOR_HASHES
    assert decision_type(harness.ask(text, claim_work(rest), first, counted=False)) == "answered"
    assert price(harness, f"{TENANT}/user1") == FLOOR_HASHES
    own, group = harness.account(f"{TENANT}/user0"), harness.account(TENANT)
    assert own.history == group.history


def test_members_in_one_batch_are_priced_one_after_another(harness: GateHarness, members: Iterator[str]) -> None:
    keys = [next(members) for _ in range(6)]
    keys.append(harness.ledger.add_key(TENANT))
    requests = [
        harness.request(f"2.0#{number}", claim_work(harness.challenge("1.0", key)), key)
        for number, key in enumerate(keys)
    ]
    first = [decision_type(decision) for decision in harness.batch(*requests)]
    assert first[:2] == ["answered", "more-required"]
    group = harness.account(TENANT)
    assert (group.history.queries, group.version) == (7, 7)
    one = harness.ledger.add_key("one")
    list_of_all = " ".join(f"2.0#{number}" for number in range(7))
    harness.ask(list_of_all, claim_work(harness.challenge("1.0", one)), one, counted=False)
    assert harness.account("one").history.wealth == group.history.wealth


def test_a_blocked_group_blocks_its_members_and_a_trusted_one_trusts_them(
    harness: GateHarness, members: Iterator[str]
) -> None:
    def describe(requests: object) -> list[PassResult[str | None]]:
        raise AssertionError("the model was described")

    key = next(members)
    harness.ledger.set_rule(TENANT, Rule.BLOCKED)
    assert decision_type(harness.ask("1.0", key=key)) == "account-blocked"
    request = TextRequest(key, None, 1, Purpose.describe, "", lambda: "")
    assert decision_type(harness.gate.answer([request], describe)[0]) == "account-blocked"
    harness.ledger.set_rule(TENANT, Rule.TRUSTED)
    announced = [next_hashes_of(answer(harness, f"2.0#{number}", key)) for number in range(10)]
    assert announced == [FLOOR_HASHES] * 10
    assert not any(harness.account(TENANT).history.wealth)


def test_200_simultaneous_replays_within_a_group_buy_one_answer(harness: GateHarness, members: Iterator[str]) -> None:
    keys = [next(members) for _ in range(WORKERS)]
    gates = [harness.worker() for _ in range(WORKERS)]
    paid = claim_work(harness.challenge("1.0", keys[0]))

    def replay(number: int) -> TextDecision:
        return harness.ask("1.0#same", paid, keys[number % WORKERS], gate=gates[number // WORKERS % WORKERS])

    with ThreadPoolExecutor(WORKERS) as pool:
        counted = Counter(map(decision_type, pool.map(replay, range(200))))
    assert 1 <= counted["answered"] <= MOST_USES
    assert counted["challenge-mismatch"] == 175
    assert harness.account(TENANT).history.queries == 1
    assert [harness.account(f"{TENANT}/user{number}").version for number in range(WORKERS)] == [1] + [0] * 7


@pytest.mark.slow
def test_members_who_query_through_busy_workers_are_all_answered_and_add_up(
    harness: GateHarness, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All workers are busy with one tenant, and none meets too many conflicts for an answer."""
    skip_fsync(monkeypatch)
    harness.ledger = open_ledger(uri)
    harness.gate = harness.worker_on(harness.ledger)
    rng = random.Random(3)
    customers = [Customer(harness, f"{TENANT}/user{number}", rng) for number in range(2 * BUSY)]
    gates = [harness.worker_on(open_ledger(uri)) for _ in range(BUSY)]
    attempts = [
        Attempt(customer, f"{customer.text(1)}.{customer.name}", True, customer.prepaid(1e9))
        for customer in customers * 40
    ]
    requests = [attempt.request() for attempt in attempts]

    def run(batch: Sequence[TextRequest]) -> list[PassResult[str | None]]:
        time.sleep(PASS_SECONDS)
        return harness.runner.run(batch)

    def work(number: int) -> list[str]:
        decisions = [gates[number].answer([request], run) for request in requests[number::BUSY]]
        return [decision_type(decision) for (decision,) in decisions]

    with ThreadPoolExecutor(BUSY) as pool:
        counted = Counter(kind for kinds in pool.map(work, range(BUSY)) for kind in kinds)
    assert counted == {"answered": len(requests)}
    group = harness.ledger.account(MODEL, TENANT)
    own = [harness.ledger.account(MODEL, customer.name) for customer in customers]
    assert group.history.queries == group.version == len(requests)
    assert [account.history.queries for account in own] == [40] * len(customers)
    assert group.history.cost_micro == sum(account.history.cost_micro for account in own)
