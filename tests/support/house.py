"""A gate on a real ledger without a server, and what its clients do."""

import sqlite3
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from hashlib import sha256
from pathlib import Path
from typing import cast

import pytest

from calpow.handler.gate import challenges as issuer
from calpow.handler.gate import problems
from calpow.handler.gate.decision import Decision, Refused, Released, Request
from calpow.handler.gate.gate import Allowance, Gate
from calpow.handler.ledger import open_ledger
from calpow.handler.ledger.ledger import Account, Ledger
from calpow.handler.policy.calibration_file import Calibration
from calpow.puzzle.algorithms import Digest, ScryptCost, digest_of
from calpow.puzzle.prepaid import prepaid_resource
from calpow.puzzle.profiles import DEFAULT_PROFILE, PROFILES, Kind
from calpow.puzzle.puzzle import Puzzle
from calpow.puzzle.solving.solver import solve
from calpow.puzzle.wire import Challenge, Prepaid, Solution, format_prepaid, format_solution, parse_solution
from tests.support.parts import FLOOR_SECONDS, TextRunner, calibration

START = 1_800_000_000.0
MODEL = "digits"


class Meddled:
    """A ledger of which each method's name is told to `meddle` before it is called; what that raises comes instead."""

    def __init__(self, ledger: Ledger, meddle: Callable[[str], object]) -> None:
        self._ledger = ledger
        self._meddle = meddle

    def __getattr__(self, name: str) -> object:
        method = getattr(self._ledger, name)

        def call(*arguments: object, **named: object) -> object:
            self._meddle(name)
            return method(*arguments, **named)

        return call


class House:
    """A gate on a ledger file, with one account, `ada`, and a clock that stands still until it is moved.

    It asks for puzzles of `kind`, by default a million hashes for each of `floor` seconds; `changes` are those of the
    calibration.
    """

    def __init__(
        self,
        path: Path,
        kind: Kind = PROFILES[DEFAULT_PROFILE].kind,
        floor: float = FLOOR_SECONDS,
        allowance: Allowance = Allowance(256, 10.0),  # noqa: B008  # it cannot be changed
        **changes: object,
    ) -> None:
        self.kind = kind
        self.path = path
        self.now = START
        self.calibration: Calibration = calibration(puzzle=kind, floor_seconds=floor, **changes)
        self.allowance = allowance
        self.ledger: Ledger = open_ledger(f"sqlite:///{path}")
        self.key = self.ledger.add_key("ada")
        self.runner = TextRunner()
        self.gate = self.worker()

    @property
    def passes(self) -> int:
        """How many passes of the victim there were."""
        return len(self.runner.passes)

    def worker(self, model: str = MODEL) -> Gate:
        """Another worker's gate, with a ledger of its own on the same file."""
        ledger = open_ledger(f"sqlite:///{self.path}")
        return Gate(model, ledger, self.calibration, self.allowance, clock=lambda: self.now)

    def meddled(self, meddle: Callable[[str], object]) -> Gate:
        """A gate whose ledger tells `meddle` the name of each of its methods before it is called."""
        ledger = cast(Ledger, Meddled(open_ledger(f"sqlite:///{self.path}"), meddle))
        return Gate(MODEL, ledger, self.calibration, self.allowance, clock=lambda: self.now)

    def request(
        self,
        text: str,
        solution: str | None = None,
        key: str | None = None,
        *,
        explains: bool = False,
        counted: bool = True,
    ) -> Request:
        """A request whose samples are the words of its text; with `counted`, the gate knows how many."""
        return Request(
            key=self.key if key is None else key,
            solution=solution,
            samples=max(1, len(text.split())) if counted else 1,
            explains=explains,
            payload=text,
            digester=lambda: sha256(f"{explains} {text}".encode()).hexdigest(),
        )

    def ask(
        self,
        text: str,
        solution: str | None = None,
        key: str | None = None,
        *,
        explains: bool = False,
        counted: bool = True,
        gate: Gate | None = None,
    ) -> Decision:
        """What the gate, or another worker's, decides on one request."""
        request = self.request(text, solution, key, explains=explains, counted=counted)
        return (gate or self.gate).answer([request], self.runner.run)[0]

    def batch(self, *requests: Request) -> list[Decision]:
        """What the gate decides on a batch."""
        return self.gate.answer(requests, self.runner.run)

    def challenge(self, text: str, key: str | None = None, *, explains: bool = False) -> Challenge:
        """The challenge for a request without work."""
        return challenge_of(self.ask(text, key=key, explains=explains))

    def pay(self, text: str, key: str | None = None) -> str:
        """A solution for a request, solved and not sent yet."""
        return solution(self.challenge(text, key))

    def account(self, name: str = "ada") -> Account:
        """The state of an account."""
        return self.ledger.account(MODEL, name)

    def rows(self) -> list[tuple[object, ...]]:
        """All that the ledger's file holds of accounts, uses and outcomes."""
        with sqlite3.connect(self.path) as connection:
            return [
                (table, *row)
                for table in ("accounts", "uses", "outcomes", "keys", "secrets")
                for row in connection.execute(f"SELECT * FROM {table}")
            ]


def many(samples: int, cost: float = 1.0) -> str:
    """A payload of so many samples of one cost."""
    return " ".join([str(cost)] * samples)


def count_digests(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The stamps of which gates take a digest from now on, each time that they do."""
    taken: list[bytes] = []
    real = digest_of

    def counting(algorithm: str, cost: ScryptCost | None) -> Digest:
        digest = real(algorithm, cost)

        def take(stamp: bytes) -> bytes:
            taken.append(stamp)
            return digest(stamp)

        return take

    monkeypatch.setattr(issuer, "digest_of", counting)
    return taken


def trust_stamps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let gates believe what stamps claim, so that nobody has to solve anything."""
    monkeypatch.setattr("calpow.handler.gate.gate.is_solved", lambda solved: True)


def spare_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ledgers not wait until what they write is on the disk."""
    monkeypatch.setattr(
        "calpow.handler.ledger.sqlite_file._set_durable",
        lambda connection, durable: connection.execute("PRAGMA synchronous = OFF"),
    )


def refused(decision: Decision) -> problems.Problem:
    """Why a request was refused."""
    assert isinstance(decision, Refused), decision
    return decision.problem


def kind_of(decision: Decision) -> str:
    """`answered`, or the type of the problem."""
    return "answered" if isinstance(decision, Released) else decision.problem.type


def released(decision: Decision) -> Released:
    """What was answered."""
    assert isinstance(decision, Released), decision
    return decision


def announced(decision: Decision) -> int:
    """PoW-Next beside an answer."""
    hashes = released(decision).next_hashes
    assert hashes is not None
    return hashes


def challenge_of(decision: Decision) -> Challenge:
    """The challenge of a 402."""
    problem = refused(decision)
    assert problem.status == 402
    assert problem.challenge is not None
    return problem.challenge


def rest_of(decision: Decision) -> Challenge:
    """The challenge of a 402 that asks for a rest."""
    assert kind_of(decision) == "more-required"
    return challenge_of(decision)


def solution(challenge: Challenge) -> str:
    """A challenge solved."""
    return format_solution(challenge.token, solve(challenge.puzzle))


def claimed(challenge: Challenge) -> str:
    """A challenge whose stamps have the right fields and no work: for gates that are told to trust stamps."""
    return format_solution(challenge.token, claimed_stamps(challenge.puzzle, "180115080000"))


def claimed_stamps(puzzle: Puzzle, date: str, rand: str = "r") -> list[str]:
    """Stamps of a puzzle that claim their work and have none."""
    return [f"1:{puzzle.bits}:{date}:{puzzle.resource}:{ext}:{rand}:0" for ext in range(puzzle.count)]


def work_of(sent: str) -> int:
    """The work that the stamps of a header claim."""
    parsed: Solution | Prepaid = parse_solution(sent)
    return sum(1 << int(stamp.split(":")[1]) for stamp in parsed.stamps)


def prepay(house: House, hashes: int, key: str | None = None, realm: str | None = None, at: float | None = None) -> str:
    """A header of stamps minted beforehand, about this much work, dated by the house's clock."""
    return format_prepaid(prepaid_stamps(house, hashes, key, realm, at))


def prepaid_stamps(
    house: House, hashes: int, key: str | None = None, realm: str | None = None, at: float | None = None
) -> Sequence[str]:
    """Stamps minted beforehand, about this much work, dated by the house's clock."""
    resource = prepaid_resource(realm or house.gate.realm, house.key if key is None else key)
    date = datetime.fromtimestamp(house.now if at is None else at, timezone.utc)
    return solve(house.kind.puzzle(hashes, resource), date=date)
