"""What the ledger's tests share: requests to quote, and real processes."""

import itertools
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from calpow.handler.ledger.base import Charge, Ledger, OpenChallenge, Payment, Quote, QuoteRequest, Totals

NOW = 1_800_000_000.0
MODEL = "digits"
CHARGE = Charge(5, -2, 1)
NO_CREDIT = Charge(0, 0, 0)
CHILD = Path(__file__).parent / "ledger_child.py"

_numbers = itertools.count()


def want(
    digest: str = "d",
    *,
    account: str = "ada",
    charge: Charge = CHARGE,
    credit: Charge = NO_CREDIT,
    expires: float = NOW + 60,
    seen: list[Totals] | None = None,
    hashes: int = 1,
    payment: Payment | None = None,
) -> QuoteRequest:
    """A request whose challenge has an id that was never used; `seen` collects the totals it was drafted from."""

    def draft(totals: Totals) -> OpenChallenge:
        if seen is not None:
            seen.append(totals)
        name = f"{next(_numbers):016x}"
        return OpenChallenge(name, f"token-{name}", expires, hashes)

    return QuoteRequest(account, digest, charge, credit, draft, payment)


def quote(ledger: Ledger, *requests: QuoteRequest, now: float = NOW, model: str = MODEL) -> list[Quote]:
    """Quotes that must not be refused."""
    quotes = ledger.quote(model, requests, now=now, max_open=10_000)
    assert all(isinstance(each, Quote) for each in quotes)
    return [each for each in quotes if isinstance(each, Quote)]


def opened(ledger: Ledger, digest: str = "d", *, expires: float = NOW + 60) -> str:
    """The id of a new challenge."""
    return quote(ledger, want(digest, expires=expires))[0].challenge.id


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
