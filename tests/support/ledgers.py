"""Uses and settlements for tests of the ledger, and processes that work on one ledger."""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from calpow.handler.ledger.account import AccountChange
from calpow.handler.ledger.history import History
from calpow.handler.ledger.ledger import Ledger
from calpow.handler.ledger.settlement import Settlement, Spending
from calpow.handler.ledger.solutions import Admission, Outcome, Use, UseResult

NOW = 1_800_000_000.0
MODEL = "digits"
ONCE = History(5, 1, (2, 0), b"a" * 8, b"s" * 16)
CHILD = Path(__file__).parent / "ledger_child.py"


HistoryChange = Callable[[History], History]


def on_history(change: HistoryChange) -> AccountChange:
    """Return the change of an account that changes its history alone."""
    return lambda account: account._replace(history=change(account.history))


def charge_once(past: History) -> History:
    """Charge one sample. A new account then has the history ONCE."""
    return charge(past, 5, 2)


def charge(past: History, cost: int, gain: int) -> History:
    """Charge one sample that adds this much to the cost and to the wealth of the first of two bets."""
    first, *others = past.wealth or (0, 0)
    digests, sketches = past.digests + ONCE.digests, past.sketches + ONCE.sketches
    return History(past.cost_micro + cost, past.queries + 1, (first + gain, *others), digests, sketches)


def use(
    *ids: str,
    solution: str | None = None,
    digest: str = "d",
    expires: float = NOW + 900,
    withheld: str | None = None,
    account: str = "ada",
) -> Use:
    """Return a use of an account, whose solution is named after its ids."""
    return Use(account, "+".join(ids) if solution is None else solution, ids, digest, expires, withheld)


def admit(ledger: Ledger, *uses: Use, now: float = NOW) -> list[Admission]:
    """Admit uses, and return their admissions, in order."""
    return [result.admission for result in ledger.admit(uses, now=now)]


def admit_one(ledger: Ledger, use: Use, now: float = NOW) -> UseResult:
    """Admit one use, and return the result."""
    (result,) = ledger.admit([use], now=now)
    return result


def spending(use: Use, *, settled: float = NOW, price: int = 8, work: int = 8, rest: int = 0) -> Spending:
    """Return the spending of a use."""
    return Spending(use.ids, Outcome(use.solution, use.digest, settled, price, work, rest), use.expires)


def settlement(
    *spendings: Spending, account: str = "ada", before: int = 0, history: History = ONCE, owed: int = 0
) -> Settlement:
    """Return a settlement of these spendings; by default, the first one of an account."""
    return Settlement(account, before, history, owed, spendings)


def settle(
    ledger: Ledger,
    *spendings: Spending,
    account: str = "ada",
    model: str = MODEL,
    change: HistoryChange = charge_once,
    owed: int = 0,
    now: float = NOW,
) -> bool:
    """Settle spendings and a change of the account's current version, and return whether that was written."""
    before = ledger.account(model, account)
    (written,) = ledger.settle(
        model, [Settlement(account, before.version, change(before.history), owed, spendings)], now=now
    )
    return written


def spend(ledger: Ledger, use: Use, *, rest: int = 0, now: float = NOW) -> Outcome:
    """Admit and settle a use that must be fresh, and return its outcome."""
    assert admit(ledger, use, now=now) == [Admission.FRESH]
    spent = spending(use, settled=now, rest=rest)
    assert settle(ledger, spent, now=now)
    return spent.outcome


def outcomes(ledger: Ledger, *ids: str) -> dict[str, Outcome]:
    """Return the outcomes of those ids that are spent."""
    return dict(ledger.standing(MODEL, "ada", ids).outcomes)


def fail(ledger: Ledger, *ids: str, times: int = 1, account: str = "ada", model: str = MODEL, now: float = NOW) -> None:
    """Count failures of the victim on requests that these ids paid for."""
    for _ in range(times):
        ledger.fail(model, account, ids, expires=now + 900, now=now)


class Child:
    """A process of `ledger_child.py`, which waits for `go`."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(CHILD), *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.line() == "ready"

    def line(self) -> str:
        """Return the next line that it prints, or an empty text at its end."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")

    def go(self) -> None:
        """Start its work."""
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def remaining_output(self) -> str:
        """Return everything that it prints until it ends, and close its pipes."""
        assert self.process.stdout is not None
        output = self.process.stdout.read()
        self.close()
        return output

    def close(self) -> None:
        """Wait for its end, and close its pipes."""
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()

    def kill(self) -> list[str]:
        """Kill it, and return the rest of the lines that it printed."""
        self.process.kill()
        return self.remaining_output().split("\n")[:-1]


def run_children(commands: Sequence[Sequence[str]]) -> list[dict[str, int]]:
    """Run children side by side, started at the same time, and return their counts."""
    children = [Child(*command) for command in commands]
    try:
        for child in children:
            child.go()
        results: list[dict[str, int]] = [json.loads(child.remaining_output()) for child in children]
    finally:
        for child in children:
            child.process.kill()
            child.close()
    assert [child.process.returncode for child in children] == [0] * len(children)
    return results
