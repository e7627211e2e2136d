"""After any operations in any order, a ledger agrees with a few lines of plain bookkeeping."""

import dataclasses
import functools
import itertools
import tempfile

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from calpow.handler.ledger.account import NEW_ACCOUNT, Account
from calpow.handler.ledger.history import History
from calpow.handler.ledger.holders import Standing
from calpow.handler.ledger.ledger import FAILURE_SECONDS, MOST_FAILURES
from calpow.handler.ledger.settlement import Settlement, Spending
from calpow.handler.ledger.solutions import MOST_USES, RETRY_SECONDS, Admission, Outcome, Use, UseResult
from calpow.handler.ledger.uri import open_ledger
from tests.support.ledgers import NOW, charge, on_history

ACCOUNTS = st.sampled_from(["ada", "bob"])
MODELS = st.sampled_from(["digits", "letters"])
DIGESTS = st.sampled_from(["d", "e"])
IDS = "abcdef"
SOLUTIONS = st.sampled_from([*map(tuple, IDS), ("a", "b"), ("c", "d"), ("d", "e"), ("a", "c", "f"), tuple(IDS)])
RESTS = st.sampled_from([0, 0, 7])
SUMS = st.integers(-(10**12), 10**12)
BETS = st.lists(SUMS, max_size=3).map(tuple)
HISTORIES = st.builds(History, SUMS, SUMS, BETS, st.binary(max_size=40), st.binary(max_size=40))
FOREVER = NOW + 1e9


@dataclasses.dataclass
class Books:
    """The ledger, with nothing forgotten."""

    accounts: dict[tuple[str, str], Account] = dataclasses.field(default_factory=dict)
    failures: dict[tuple[str, str], list[float]] = dataclasses.field(default_factory=dict)
    uses: dict[str, int] = dataclasses.field(default_factory=dict)
    spent: dict[str, Outcome] = dataclasses.field(default_factory=dict)

    def account(self, model: str, account: str) -> Account:
        return self.accounts.get((model, account), NEW_ACCOUNT)

    def count(self, ids: tuple[str, ...]) -> bool:
        """Count a use, unless one of the ids has none left."""
        if any(self.uses.get(name, 0) >= MOST_USES for name in ids):
            return False
        self.uses |= {name: self.uses.get(name, 0) + 1 for name in ids}
        return True

    def admit(self, use: Use, now: float) -> UseResult:
        withheld = next((outcome for outcome in self.spent.values() if outcome.solution == use.withheld), None)
        if use.withheld is not None and (withheld is None or withheld.rest == 0 or withheld.digest != use.digest):
            return UseResult(Admission.MISMATCH)
        outcomes = [self.spent.get(name) for name in use.ids]
        outcome = outcomes[0]
        if not any(outcomes):
            if not self.count(use.ids):
                return UseResult(Admission.EXHAUSTED)
            return UseResult(Admission.FRESH, withheld=withheld)
        if (
            outcome is None
            or any(other != outcome for other in outcomes)
            or (outcome.solution, outcome.digest) != (use.solution, use.digest)
            or now - outcome.settled > RETRY_SECONDS
        ):
            return UseResult(Admission.SPENT)
        if outcome.rest == 0 and not self.count(use.ids):
            return UseResult(Admission.EXHAUSTED)
        return UseResult(Admission.REPEAT, outcome, withheld)

    def settle(self, model: str, wanted: Settlement) -> bool:
        ids = [name for spending in wanted.spendings for name in spending.ids]
        if self.account(model, wanted.account).version != wanted.before or len(ids) != len(set(ids) - set(self.spent)):
            return False
        self.accounts[model, wanted.account] = Account(wanted.history, wanted.owed, wanted.before + 1)
        for spending in wanted.spendings:
            self.spend(spending.ids, spending.outcome)
        return True

    def spend(self, ids: tuple[str, ...], outcome: Outcome) -> None:
        self.spent |= dict.fromkeys(ids, outcome)
        self.uses |= {name: self.uses.get(name, 1) for name in ids}

    def fail(self, model: str, account: str, now: float) -> bool:
        """Count a failure, and return whether it spends the work that paid for it."""
        window = self.failures.setdefault((model, account), [])
        if window and now - window[0] > FAILURE_SECONDS:
            window.clear()
        window.append(now)
        return len(window) > MOST_FAILURES


class Accounting(RuleBasedStateMachine):
    """The ledger beside its books."""

    folder = ""
    numbers = itertools.count()

    def __init__(self) -> None:
        super().__init__()
        self.uri = f"sqlite:///{self.folder}/{next(self.numbers)}.db"
        self.ledger = open_ledger(self.uri)
        self.now = NOW
        self.books = Books()

    @rule(wanted=st.lists(st.tuples(SOLUTIONS, DIGESTS, st.none() | SOLUTIONS), min_size=1, max_size=5))
    def admit(self, wanted: list[tuple[tuple[str, ...], str, tuple[str, ...] | None]]) -> None:
        uses = [
            Use("ada", "".join(ids), ids, digest, FOREVER, None if withheld is None else "".join(withheld))
            for ids, digest, withheld in wanted
        ]
        expected = [self.books.admit(use, self.now) for use in uses]
        assert self.ledger.admit(uses, now=self.now) == expected

    @rule(
        model=MODELS,
        wanted=st.lists(
            st.tuples(
                ACCOUNTS,
                st.sampled_from([0, 0, 0, 0, 1, -1]),
                HISTORIES,
                SUMS,
                st.lists(st.tuples(SOLUTIONS, DIGESTS, RESTS), max_size=2),
            ),
            min_size=1,
            max_size=4,
        ),
    )
    def settle(
        self,
        model: str,
        wanted: list[tuple[str, int, History, int, list[tuple[tuple[str, ...], str, int]]]],
    ) -> None:
        settlements = []
        expected = []
        for account, off, history, owed, spendings in wanted:
            settlements.append(
                Settlement(
                    account,
                    self.books.account(model, account).version + off,
                    history,
                    owed,
                    tuple(
                        Spending(ids, Outcome("".join(ids), digest, self.now, 8, 8, rest), FOREVER)
                        for ids, digest, rest in spendings
                    ),
                )
            )
            expected.append(self.books.settle(model, settlements[-1]))
        assert self.ledger.settle(model, settlements, now=self.now) == expected

    @rule(model=MODELS, changes=st.dictionaries(ACCOUNTS, SUMS, max_size=2))
    def charge(self, model: str, changes: dict[str, int]) -> None:
        charges = {name: functools.partial(charge, cost=cost, gain=-1) for name, cost in changes.items()}
        self.ledger.charge(model, {name: on_history(change) for name, change in charges.items()})
        for account, cost in changes.items():
            before = self.books.account(model, account)
            after = Account(charge(before.history, cost, -1), before.owed, before.version + 1)
            self.books.accounts[model, account] = after

    @rule(model=MODELS, account=ACCOUNTS, ids=SOLUTIONS, times=st.sampled_from([1, 4, MOST_FAILURES]))
    def fail(self, model: str, account: str, ids: tuple[str, ...], times: int) -> None:
        for _ in range(times):
            self.ledger.fail(model, account, ids, expires=FOREVER, now=self.now)
            good = tuple(name for name in ids if name not in self.books.spent)
            if self.books.fail(model, account, self.now) and good:
                outcomes = self.ledger.standing(model, account, good).outcomes
                assert set(outcomes) == set(good)
                (outcome,) = set(outcomes.values())
                assert outcome == Outcome(outcome.solution, "", self.now, 0, 0, 0)
                self.books.spend(good, outcome)

    @rule(seconds=st.sampled_from([0.5, 1.0, 100.0, 600.0, 601.0, 3600.0, 3601.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def reopen(self) -> None:
        self.ledger = open_ledger(self.uri)

    @invariant()
    def the_books_agree(self) -> None:
        for model, account in itertools.product(["digits", "letters"], ["ada", "bob"]):
            expected = self.books.account(model, account)
            assert self.ledger.account(model, account) == expected
            assert self.ledger.standing(model, account, list(IDS)) == Standing(expected, self.books.spent)


@pytest.mark.slow
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
