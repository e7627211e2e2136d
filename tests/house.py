"""A gate on a real ledger without a server, and what its clients do."""

from datetime import datetime, timezone
from hashlib import sha256
from pathlib import Path

from calpow.handler import problems
from calpow.handler.decision import Decision, Refused, Request
from calpow.handler.gate import Gate
from calpow.handler.ledger import open_ledger
from calpow.handler.ledger.base import Ledger, Totals
from calpow.puzzle.challenge import Challenge, format_prepaid, format_solution
from calpow.puzzle.prepaid import prepaid_resource
from calpow.puzzle.profiles import DEFAULT_PROFILE, PROFILES, Kind
from calpow.puzzle.solver import solve
from tests.parts import FLOOR_SECONDS, TextPricer, calibration


class House:
    """A gate on a ledger file, with one account and a clock that stands still until it is moved.

    It asks for puzzles of `kind`, a million hashes for each of `floor` seconds.
    """

    def __init__(self, path: Path, kind: Kind = PROFILES[DEFAULT_PROFILE].kind, floor: float = FLOOR_SECONDS) -> None:
        self.kind = kind
        self.floor = floor
        self.path = path
        self.now = 1_800_000_000.0
        self.ledger: Ledger = open_ledger(f"sqlite:///{path}")
        self.key = self.ledger.add_key("ada")
        self.pricer = TextPricer()
        self.gate = self.worker("digits")

    def worker(self, model: str, max_open: int = 8) -> Gate:
        ledger = open_ledger(f"sqlite:///{self.path}")
        return Gate(
            model,
            ledger,
            calibration(puzzle=self.kind, floor_seconds=self.floor),
            self.pricer,
            holder=f"worker-{model}",
            max_open=max_open,
            clock=lambda: self.now,
        )

    def request(self, text: str, solution: str | None = None, key: str | None = None) -> Request:
        return Request(self.key if key is None else key, solution, sha256(text.encode()).hexdigest(), text)

    def ask(self, text: str, solution: str | None = None, key: str | None = None) -> Decision:
        return self.gate.admit([self.request(text, solution, key)])[0]

    def challenge(self, text: str, key: str | None = None) -> Challenge:
        return challenge_of(self.ask(text, key=key))

    def totals(self, account: str = "ada") -> Totals:
        return self.ledger.totals("digits", account)


def refused(decision: Decision) -> problems.Problem:
    assert isinstance(decision, Refused)
    return decision.problem


def challenge_of(decision: Decision) -> Challenge:
    problem = refused(decision)
    assert problem.status == 402
    assert problem.challenge is not None
    return problem.challenge


def solution(challenge: Challenge) -> str:
    return format_solution(challenge.token, solve(challenge.puzzle))


def prepay(house: House, hashes: int, key: str | None = None, realm: str | None = None, at: float | None = None) -> str:
    """A header of stamps minted beforehand, about this much work, dated by the house's clock."""
    resource = prepaid_resource(realm or house.gate.realm, house.key if key is None else key)
    date = datetime.fromtimestamp(house.now if at is None else at, timezone.utc)
    return format_prepaid(solve(house.kind.puzzle(hashes, resource), date=date))
