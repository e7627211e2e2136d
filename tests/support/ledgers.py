"""What the ledger's tests share: uses and settlements, and real processes."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from calpow.handler.ledger.ledger import (
    Admission,
    Charge,
    Ledger,
    Outcome,
    Settlement,
    Spending,
    Totals,
    Use,
    UseResult,
)

NOW = 1_800_000_000.0
MODEL = "digits"
CHARGE = Charge(5, -2, 1)
ONCE = Totals(5, -2, 1)
CHILD = Path(__file__).parent / "ledger_child.py"


def use(
    *ids: str,
    solution: str | None = None,
    digest: str = "d",
    expires: float = NOW + 900,
    withheld: str | None = None,
) -> Use:
    """A use whose solution is named after its ids."""
    return Use("+".join(ids) if solution is None else solution, ids, digest, expires, withheld)


def admit(ledger: Ledger, *uses: Use, now: float = NOW) -> list[Admission]:
    """How the uses were admitted."""
    return [each.admission for each in ledger.admit(uses, now=now)]


def admit_one(ledger: Ledger, use: Use, now: float = NOW) -> UseResult:
    """What became of one use."""
    (result,) = ledger.admit([use], now=now)
    return result


def spending(use: Use, *, settled: float = NOW, price: int = 8, work: int = 8, rest: int = 0) -> Spending:
    """What the use bought."""
    return Spending(use.ids, Outcome(use.solution, use.digest, settled, price, work, rest), use.expires)


def settlement(
    *spendings: Spending, account: str = "ada", before: int = 0, totals: Totals = ONCE, owed: int = 0
) -> Settlement:
    """A settlement of these spendings; by default, the first one of an account."""
    return Settlement(account, before, totals, owed, spendings)


def settle(
    ledger: Ledger,
    *spendings: Spending,
    account: str = "ada",
    model: str = MODEL,
    charge: Charge = CHARGE,
    owed: int = 0,
    now: float = NOW,
) -> bool:
    """Add a charge to the account as it is, spend, and tell whether it was written."""
    before = ledger.account(model, account)
    (written,) = ledger.settle(
        model, [Settlement(account, before.version, before.totals + charge, owed, spendings)], now=now
    )
    return written


def spend(ledger: Ledger, use: Use, *, rest: int = 0, now: float = NOW) -> Outcome:
    """Admit and settle a use that must be fresh."""
    assert admit(ledger, use, now=now) == [Admission.FRESH]
    spent = spending(use, settled=now, rest=rest)
    assert settle(ledger, spent, now=now)
    return spent.outcome


class Child:
    """A process of `ledger_child.py`, ready and waiting for `go`."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(CHILD), *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.line() == "ready"

    def line(self) -> str:
        """The next line it prints; empty at its end."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")

    def go(self) -> None:
        """Let it begin."""
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def rest(self) -> str:
        """All that it still prints until it ends."""
        assert self.process.stdout is not None
        said = self.process.stdout.read()
        self.process.wait()
        return said

    def kill(self) -> list[str]:
        """Kill it without a warning; the lines it had still printed."""
        self.process.kill()
        return self.rest().split("\n")[:-1]


def crew(commands: Sequence[Sequence[str]]) -> list[dict[str, int]]:
    """Run children side by side, all let go at once; what each of them counted."""
    children = [Child(*command) for command in commands]
    try:
        for child in children:
            child.go()
        results: list[dict[str, int]] = [json.loads(child.rest()) for child in children]
    finally:
        for child in children:
            child.process.kill()
            child.process.wait()
    assert [child.process.returncode for child in children] == [0] * len(children)
    return results
