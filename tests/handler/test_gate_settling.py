"""What accounts pay over their lives: work paid is what answers cost, to the last hash, in every order of events."""

import random
from collections import Counter
from pathlib import Path

import pytest

from calpow.handler.gate.decision import Released
from calpow.handler.gate.gate import Gate
from calpow.handler.policy.policies import SolverFit
from tests.support.customers import Attempt, AuditedLedger, Customer, rest_ids
from tests.support.house import (
    MODEL,
    House,
    challenge_of,
    kind_of,
    many,
    prepay,
    refused,
    released,
    rest_of,
    solution,
    spare_the_disk,
    trust_stamps,
)

FLOOR = 992  # hashes of the puzzle that is nearest to the floor's thousand
STREAMS = 1000
EVENTS = 6


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path / "ledger.db")


class Market:
    """Customers at one gate, whose ledger is audited."""

    def __init__(self, path: Path) -> None:
        self.house = House(path)
        self.ledger = AuditedLedger(path, self.house)
        house = self.house
        self.gate = Gate(MODEL, self.ledger, house.calibration, house.allowance, clock=lambda: house.now)
        house.gate = self.gate
        self.seen: Counter[str] = Counter()

    def attempt(self, customer: Customer, samples: int, header: str | None = None, *, counted: bool = True) -> Attempt:
        """A request of a new payload."""
        made = Attempt(customer, customer.text(samples), counted, header)
        self.know(made)
        return made

    def know(self, attempt: Attempt) -> None:
        """Tell the auditor what is going to be sent."""
        self.ledger.texts[attempt.request().digest] = attempt.text

    def event(self, customer: Customer) -> None:
        """Something that a customer does."""
        rng = customer.rng
        kind = rng.choice(["single", "list", "hidden list", "exact", "too much", "too little", "failure", "retry"])
        self.seen[kind] += 1
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
        """Let the victim fail on the work of this attempt, first."""
        (decision,) = self.gate.answer([attempt.request()], self.house.runner.run)
        attempt.take(decision)
        text, attempt.text = attempt.text, attempt.customer.rng.choice("?!*")
        (decision,) = self.gate.answer([attempt.request()], self.house.runner.run)
        assert getattr(decision, "next_hashes", None) is None
        attempt.text = text

    def finish(self, attempt: Attempt, *, retry: bool, abandon: bool) -> None:
        """Send a request until it is answered, or leave it when its answer is withheld; perhaps retry it then."""
        run = self.house.runner.run
        while attempt.answer is None:
            (decision,) = self.gate.answer([attempt.request()], run)
            attempt.take(decision)
            if attempt.withheld is not None and attempt.answer is None:
                self.seen["withheld"] += 1
                if abandon:
                    self.seen["abandoned"] += 1
                    return
                again = self.house.request(
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
        """Work paid = prices of the answers given - what is owed + what bought nothing. To the last hash."""
        books = self.ledger.books[customer.name]
        account = self.ledger.account(MODEL, customer.name)
        assert account == books.account, customer
        assert customer.spent == books.prices - account.owed + books.lost + books.clipped, customer
        assert books.clipped >= 0
        assert books.lost >= 0


def test_over_a_thousand_lives_the_work_paid_is_the_sum_of_the_prices_less_what_is_owed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trust_stamps(monkeypatch)
    spare_the_disk(monkeypatch)
    market = Market(tmp_path / "ledger.db")
    for seed in range(STREAMS):
        customer = Customer(market.house, f"customer {seed}", random.Random(seed))
        for _ in range(EVENTS):
            market.event(customer)
        market.check(customer)
        books = market.ledger.books[customer.name]
        assert books.account.owed < max(books.last, 1), customer
        assert customer.spent >= books.prices - books.last, customer
    assert min(market.seen.values()) > STREAMS / 10, market.seen


def test_over_batches_of_many_requests_of_the_same_accounts_it_is_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """64 requests of four accounts, priced before the first of them is settled; then what is left of them again."""
    trust_stamps(monkeypatch)
    spare_the_disk(monkeypatch)
    market = Market(tmp_path / "ledger.db")
    for seed in range(20):
        rng = random.Random(seed)
        customers = [Customer(market.house, f"customer {seed}-{number}", rng) for number in range(4)]
        attempts = [
            market.attempt(customer, rng.choice((1, 1, 3)), customer.prepaid(FLOOR) if rng.random() < 0.5 else None)
            for customer in customers
            for _ in range(16)
        ]
        rng.shuffle(attempts)
        for _ in range(12):
            waiting = [each for each in attempts if each.answer is None]
            if not waiting:
                break
            decisions = market.gate.answer([each.request() for each in waiting], market.house.runner.run)
            for attempt, decision in zip(waiting, decisions, strict=True):
                attempt.take(decision)
        assert all(each.answer is not None or each.withheld is not None for each in attempts)
        for customer in customers:
            market.check(customer)
            assert market.ledger.account(MODEL, customer.name).totals.queries > 16


# ---- Nobody pays for nothing ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("explains", [False, True])
def test_nobody_is_asked_for_work_that_cannot_buy_the_answer(tmp_path: Path, explains: bool) -> None:
    house = House(tmp_path / "ledger.db", floor=200.0, solver=SolverFit(0.0, 50.0))
    decision = house.ask("1.0", explains=explains)
    if explains:
        problem = refused(decision)
        assert (problem.status, problem.challenge) == (413, None)
    else:
        released(house.ask("1.0", solution(challenge_of(decision))))


def test_nobody_can_owe_more_than_one_challenge_may_ask_for(tmp_path: Path) -> None:
    house = House(tmp_path / "ledger.db", floor=600.0, cap=1.0, solver=SolverFit(0.0, 50.0))
    assert kind_of(house.ask(many(4), prepay(house, 60_000), counted=False)) != "answered"
    for index in range(4):
        released(house.ask(f"1.{index}", house.pay("1.0")))
    assert house.account().owed <= 0


def test_whoever_pays_what_is_asked_for_one_sample_gets_its_answer_or_a_rest(tmp_path: Path) -> None:
    """At prices near the longest challenge, for strangers too."""
    house = House(tmp_path / "ledger.db", floor=100.0, solver=SolverFit(0.0, 50.0))
    for index in range(12):
        text = f"2.9{'0' * index}"
        decision = house.ask(text, house.pay(text))
        while not isinstance(decision, Released):
            decision = house.ask(text, solution(rest_of(decision)))
    assert house.account().totals.queries == 12
