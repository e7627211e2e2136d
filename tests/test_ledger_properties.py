"""Whatever is done to a ledger in whatever order, it agrees with a few lines of plain bookkeeping."""

import dataclasses
import itertools
import tempfile

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from calpow.handler.ledger import open_ledger
from calpow.handler.ledger.base import NOTHING, Charge, OpenChallenge, QuoteRequest, Standing, TooManyOpen, Totals
from tests.ledgers import NOW

MAX_OPEN = 3
ACCOUNTS = st.sampled_from(["ada", "bob"])
MODELS = st.sampled_from(["digits", "letters"])
DIGESTS = st.sampled_from(["a", "b", "c", "d", "e"])
HOLDERS = st.sampled_from(["v", "w"])
CHARGES = st.builds(Charge, st.integers(0, 10**12), st.integers(-(10**12), 10**12), st.integers(1, 64))


@dataclasses.dataclass
class Record:
    """The model's view of one challenge."""

    owner: tuple[str, str]
    digest: str
    challenge: OpenChallenge
    state: str = "open"
    holder: str = ""


class Accounting(RuleBasedStateMachine):
    """The ledger beside a plain model of it."""

    folder = ""
    numbers = itertools.count()

    def __init__(self) -> None:
        super().__init__()
        self.uri = f"sqlite:///{self.folder}/{next(self.numbers)}.db"
        self.ledger = open_ledger(self.uri)
        self.now = NOW
        self.totals: dict[tuple[str, str], Totals] = {}
        self.records: dict[str, Record] = {}

    def open_of(self, owner: tuple[str, str]) -> list[Record]:
        return [
            each
            for each in self.records.values()
            if each.owner == owner and each.state == "open" and each.challenge.expires > self.now
        ]

    def expected_standing(self, owner: tuple[str, str], digest: str) -> Standing:
        still_open = self.open_of(owner)
        same = [each.challenge for each in still_open if each.digest == digest]
        return Standing(
            max(same, key=lambda challenge: challenge.expires, default=None),
            len(still_open),
            min((each.challenge.expires for each in still_open), default=None),
        )

    @rule(
        model=MODELS,
        asked=st.lists(st.tuples(ACCOUNTS, DIGESTS, CHARGES, st.integers(1, 1000)), min_size=1, max_size=5),
    )
    def quote(self, model: str, asked: list[tuple[str, str, Charge, int]]) -> None:
        drafts: list[OpenChallenge | TooManyOpen] = []
        seen: list[Totals] = []

        def request(account: str, digest: str, charge: Charge, lasts: int) -> QuoteRequest:
            owner = (model, account)
            standing = self.expected_standing(owner, digest)
            number = next(self.numbers)
            made = OpenChallenge(f"{number:x}", f"token{number}", self.now + lasts + number / 1e6, 1)
            if standing.challenge is None and standing.soonest_expiry is not None and standing.open_count >= MAX_OPEN:
                drafts.append(TooManyOpen(standing.soonest_expiry - self.now))
            elif standing.challenge is None:
                self.totals[owner] = self.totals.get(owner, NOTHING) + charge
                self.records[made.id] = Record(owner, digest, made)
                drafts.append(made)
                seen.append(self.totals[owner])
            else:
                drafts.append(standing.challenge)

            def draft(totals: Totals) -> OpenChallenge:
                assert totals == seen.pop(0)
                return made

            return QuoteRequest(account, digest, charge, Charge(0, 0, 0), draft)

        requests = [request(*each) for each in asked]
        quotes = self.ledger.quote(model, requests, now=self.now, max_open=MAX_OPEN)
        assert [each if isinstance(each, TooManyOpen) else each.challenge for each in quotes] == drafts
        assert seen == []

    @precondition(lambda self: self.records)
    @rule(data=st.data(), holder=HOLDERS)
    def redeem(self, data: st.DataObject, holder: str) -> None:
        names = self.some(data)
        expected = {
            name
            for name in names
            if self.records[name].state == "open" and self.records[name].challenge.expires > self.now
        }
        assert self.ledger.redeem([*names, "unknown"], now=self.now, holder=holder) == expected
        for name in expected:
            self.records[name].state, self.records[name].holder = "held", holder

    @precondition(lambda self: self.records)
    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        names = self.some(data)
        self.ledger.settle(names)
        self.change(names, "spent")

    @precondition(lambda self: self.records)
    @rule(data=st.data())
    def undo(self, data: st.DataObject) -> None:
        names = self.some(data)
        self.ledger.undo(names)
        self.change(names, "open")

    @rule(alive=st.sets(HOLDERS))
    def recover(self, alive: set[str]) -> None:
        dead = [each for each in self.records.values() if each.state == "held" and each.holder not in alive]
        unexpired = sum(each.challenge.expires > self.now for each in dead)
        assert unexpired <= self.ledger.recover(alive.__contains__) <= len(dead)
        for each in dead:
            each.state = "open"

    @rule(seconds=st.integers(1, 600))
    def wait(self, seconds: int) -> None:
        self.now += seconds

    @rule()
    def reopen(self) -> None:
        self.ledger = open_ledger(self.uri)

    @invariant()
    def the_books_agree(self) -> None:
        for model, account in itertools.product(["digits", "letters"], ["ada", "bob"]):
            owner = (model, account)
            assert self.ledger.totals(model, account) == self.totals.get(owner, NOTHING)
            for digest in "ab":
                expected = self.expected_standing(owner, digest)
                assert self.ledger.standing(model, account, digest, self.now) == expected

    def some(self, data: st.DataObject) -> list[str]:
        return data.draw(st.lists(st.sampled_from(list(self.records)[-12:]), max_size=6))

    def change(self, names: list[str], state: str) -> None:
        for name in names:
            if self.records[name].state == "held":
                self.records[name].state = state


def test_any_history_adds_up() -> None:
    with tempfile.TemporaryDirectory() as folder:
        machine = type("AccountingHere", (Accounting,), {"folder": folder})
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=60,
                stateful_step_count=30,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
