"""Accounts over their lives: the work that they pay is what their answers cost, to the last hash."""

import random
from collections import Counter
from pathlib import Path

import pytest

from calpow.handler.gate.interface import Released
from calpow.handler.policy.solver_fit import SolverFit
from tests.support.customers import Attempt, AuditedLedger, Customer, rest_ids
from tests.support.gate_harness import (
    FLOOR_HASHES,
    MODEL,
    GateHarness,
    challenge_of,
    decision_type,
    payload_of,
    prepay,
    problem_of,
    released,
    rest_challenge,
    skip_fsync,
    solution,
    trust_stamps,
)

# Kinds of requests that a customer sends, at random.
KINDS = ("single", "list", "hidden list", "exact", "too much", "too little", "failure", "retry")
EVENTS = 6


class Market:
    """A gate on an audited ledger, and a count of what its customers did there."""

    def __init__(self, path: Path) -> None:
        self.harness = GateHarness(path)
        self.ledger = AuditedLedger(path, self.harness)
        harness = self.harness
        self.gate = harness.worker_on(self.ledger)
        harness.gate = self.gate
        self.events: Counter[str] = Counter()

    def attempt(self, customer: Customer, samples: int, header: str | None = None, *, counted: bool = True) -> Attempt:
        """Return a request with a new payload, of which the auditor knows."""
        attempt = Attempt(customer, customer.text(samples), counted, header)
        self.ledger.texts[attempt.request().digest] = attempt.text
        return attempt

    def event(self, customer: Customer) -> None:
        """Let a customer send a request of a random kind."""
        rng = customer.rng
        kind = rng.choice(KINDS)
        self.events[kind] += 1
        header, samples, counted = None, 1, True
        if kind in ("list", "hidden list"):
            samples, counted = rng.randint(2, 12), kind == "list"
        if kind in ("exact", "too much", "too little"):
            header = customer.prepaid(customer.next_hashes * {"exact": 1, "too much": 2.4, "too little": 0.4}[kind])
        attempt = self.attempt(customer, samples, header, counted=counted)
        if kind == "failure":
            self.fail(attempt)
        self.finish(attempt, retry=kind == "retry", abandon=rng.random() < 0.4)

    def fail(self, attempt: Attempt) -> None:
        """Let the victim fail on another payload with the work of this attempt."""
        (decision,) = self.gate.answer([attempt.request()], self.harness.runner.run)
        attempt.take(decision)
        text, attempt.text = attempt.text, attempt.customer.rng.choice("?!*")
        (decision,) = self.gate.answer([attempt.request()], self.harness.runner.run)
        assert getattr(decision, "next_hashes", None) is None
        attempt.text = text

    def finish(self, attempt: Attempt, *, retry: bool, abandon: bool) -> None:
        """Send a request until it is answered; with `abandon`, only until its answer is withheld.

        With `retry`, send it once more afterwards.
        """
        run = self.harness.runner.run
        while attempt.answer is None:
            (decision,) = self.gate.answer([attempt.request()], run)
            attempt.take(decision)
            if attempt.withheld is not None and attempt.answer is None:
                self.events["withheld"] += 1
                if abandon:
                    self.events["abandoned"] += 1
                    return
                again = self.harness.request(
                    attempt.text, attempt.withheld, attempt.customer.key, counted=attempt.counted
                )
                challenge = challenge_of(self.gate.answer([again], run)[0])
                assert rest_ids(challenge) == [] or attempt.chain
        if retry:
            before = self.ledger.account(MODEL, attempt.customer.name)
            (decision,) = self.gate.answer([attempt.request()], run)
            assert isinstance(decision, Released)
            assert self.ledger.account(MODEL, attempt.customer.name) == before
            attempt.chain = []

    def check(self, customer: Customer) -> None:
        """Check that the work paid is the prices of the answers, less the work owed, plus the work that was lost."""
        books = self.ledger.books[customer.name]
        account = self.ledger.account(MODEL, customer.name)
        assert account == books.account, customer
        assert customer.spent == books.prices - account.owed + books.lost + books.clipped, customer
        assert books.clipped >= 0
        assert books.lost >= 0


@pytest.mark.parametrize("lives", [80, pytest.param(1000, marks=pytest.mark.slow)])
def test_over_many_lives_the_work_paid_is_the_sum_of_the_prices_less_what_is_owed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lives: int
) -> None:
    trust_stamps(monkeypatch)
    skip_fsync(monkeypatch)
    market = Market(tmp_path / "ledger.db")
    for seed in range(lives):
        customer = Customer(market.harness, f"customer {seed}", random.Random(seed))
        for _ in range(EVENTS):
            market.event(customer)
        market.check(customer)
        books = market.ledger.books[customer.name]
        assert books.account.owed < max(books.last, 1), customer
        assert customer.spent >= books.prices - books.last, customer
    assert len(market.events) == len(KINDS) + 2
    assert min(market.events.values()) > lives / 10, market.events


@pytest.mark.parametrize("batches", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_over_batches_of_many_requests_of_the_same_accounts_it_is_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batches: int
) -> None:
    """64 requests of four accounts are checked before the first of them is settled; the refused ones are sent again."""
    trust_stamps(monkeypatch)
    skip_fsync(monkeypatch)
    market = Market(tmp_path / "ledger.db")
    for seed in range(batches):
        rng = random.Random(seed)
        customers = [Customer(market.harness, f"customer {seed}-{number}", rng) for number in range(4)]
        attempts = [
            market.attempt(
                customer, rng.choice((1, 1, 3)), customer.prepaid(FLOOR_HASHES) if rng.random() < 0.5 else None
            )
            for customer in customers
            for _ in range(16)
        ]
        rng.shuffle(attempts)
        for _ in range(12):
            waiting = [attempt for attempt in attempts if attempt.answer is None]
            if not waiting:
                break
            decisions = market.gate.answer([attempt.request() for attempt in waiting], market.harness.runner.run)
            for attempt, decision in zip(waiting, decisions, strict=True):
                attempt.take(decision)
        assert all(attempt.answer is not None or attempt.withheld is not None for attempt in attempts)
        for customer in customers:
            market.check(customer)
            assert market.ledger.account(MODEL, customer.name).history.queries > 16


# ---- No work is asked for in vain -----------------------------------------------------------------------------------


@pytest.mark.parametrize("explains", [False, True])
def test_nobody_is_asked_for_work_that_cannot_buy_the_answer(tmp_path: Path, explains: bool) -> None:
    harness = GateHarness(tmp_path / "ledger.db", floor=200.0, solver=SolverFit(0.0, 50.0))
    decision = harness.ask("1.0", explains=explains)
    if explains:
        problem = problem_of(decision)
        assert (problem.status, problem.challenge) == (413, None)
    else:
        released(harness.ask("1.0", solution(challenge_of(decision))))


def test_nobody_can_owe_more_than_one_challenge_may_ask_for(tmp_path: Path) -> None:
    harness = GateHarness(tmp_path / "ledger.db", floor=600.0, cap=1.0, solver=SolverFit(0.0, 50.0))
    assert decision_type(harness.ask(payload_of(4), prepay(harness, 60_000), counted=False)) != "answered"
    for index in range(4):
        released(harness.ask(f"1.{index}", harness.pay("1.0")))
    assert harness.account().owed <= 0


def test_whoever_pays_what_is_asked_for_one_sample_gets_its_answer_or_a_rest(tmp_path: Path) -> None:
    """At prices near the longest challenge, also for odd samples."""
    harness = GateHarness(tmp_path / "ledger.db", floor=100.0, solver=SolverFit(0.0, 50.0))
    for index in range(12):
        text = f"2.9{'0' * index}"
        decision = harness.ask(text, harness.pay(text))
        while not isinstance(decision, Released):
            decision = harness.ask(text, solution(rest_challenge(decision)))
    assert harness.account().history.queries == 12
