"""A gate on a real ledger, without a server and without a model, and the actions of its clients."""

import sqlite3
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from hashlib import sha256
from pathlib import Path
from typing import cast

import pytest

from calpow.handler.gate import challenges, problems
from calpow.handler.gate.audit import AuditFile
from calpow.handler.gate.gate import Gate
from calpow.handler.gate.interface import Allowance, Decision, Purpose, Refused, Released
from calpow.handler.ledger.account import Account
from calpow.handler.ledger.ledger import Ledger
from calpow.handler.ledger.settlement import Settlement
from calpow.handler.ledger.sqlite.sqlite_ledger import SqliteLedger
from calpow.handler.ledger.uri import open_ledger
from calpow.handler.metrics.tally import Tally
from calpow.handler.policy.calibrated_policy import CalibratedPolicy
from calpow.puzzle.algorithms import Digest, ScryptCost, digest_of
from calpow.puzzle.prepaid import prepaid_resource
from calpow.puzzle.profiles import DEFAULT_PROFILE, PROFILES, PuzzleKind
from calpow.puzzle.puzzle import Puzzle
from calpow.puzzle.solving.solver import solve
from calpow.puzzle.wire import Challenge, Prepaid, Solution, format_prepaid, format_solution, parse_solution
from tests.support.calibrations import FLOOR_SECONDS, calibrated_policy
from tests.support.text_runner import TextRequest, TextRunner

START = 1_800_000_000.0
MODEL = "digits"
# Hashes of the puzzle that is nearest to a thousand, the default floor.
FLOOR_HASHES = 992

TextDecision = Decision[str | None]


class HookedLedger:
    """A ledger that calls `hook` with the name of a method before every call of the method.

    An exception of `hook` is raised instead of calling the method.
    """

    def __init__(self, ledger: Ledger, hook: Callable[[str], object]) -> None:
        self._ledger = ledger
        self._hook = hook

    def __getattr__(self, name: str) -> object:
        method = getattr(self._ledger, name)

        def call(*arguments: object, **named: object) -> object:
            self._hook(name)
            return method(*arguments, **named)

        return call


class WatchedLedger(SqliteLedger):
    """A ledger that keeps the settlements of every call of `settle` in `calls`, and runs `before` first."""

    def __init__(self, path: Path, before: Callable[[], object] = lambda: None) -> None:
        super().__init__(path)
        self.calls: list[list[Settlement]] = []
        self._before = before

    def settle(self, model: str, settlements: Sequence[Settlement], *, now: float) -> list[bool]:
        """Keep the settlements, and settle them."""
        self.calls.append(list(settlements))
        self._before()
        return super().settle(model, settlements, now=now)


class GateHarness:
    """A gate on a ledger file, with one account, `ada`, and a clock that stands still until a test moves it.

    Its puzzles are of `kind`, by default a million hashes a second of `floor`. `changes` are members of the policy.
    """

    def __init__(
        self,
        path: Path,
        kind: PuzzleKind = PROFILES[DEFAULT_PROFILE].kind,
        floor: float = FLOOR_SECONDS,
        allowance: Allowance = Allowance(256, 10.0),  # noqa: B008  # immutable
        **changes: object,
    ) -> None:
        self.kind = kind
        self.path = path
        self.now = START
        self.policy: CalibratedPolicy = calibrated_policy(puzzle=kind, floor_seconds=floor, **changes)
        self.allowance = allowance
        self.ledger: Ledger = open_ledger(f"sqlite:///{path}")
        self.key = self.ledger.add_key("ada")
        self.runner = TextRunner()
        self.gate = self.worker()

    @property
    def pass_count(self) -> int:
        """The number of the victim's passes so far."""
        return len(self.runner.passes)

    def worker(self, model: str = MODEL) -> Gate:
        """Return the gate of another worker, with a ledger of its own on the same file."""
        ledger = open_ledger(f"sqlite:///{self.path}")
        return Gate(model, ledger, self.policy, self.allowance, Tally(), clock=lambda: self.now)

    def hooked_worker(self, hook: Callable[[str], object]) -> Gate:
        """Return the gate of another worker, on a HookedLedger."""
        return self.worker_on(cast(Ledger, HookedLedger(open_ledger(f"sqlite:///{self.path}"), hook)))

    def worker_on(self, ledger: Ledger, audit: AuditFile | None = None) -> Gate:
        """Return the gate of another worker, on this ledger."""
        return Gate(MODEL, ledger, self.policy, self.allowance, Tally(), clock=lambda: self.now, audit=audit)

    def request(
        self,
        text: str,
        solution: str | None = None,
        key: str | None = None,
        *,
        explains: bool = False,
        counted: bool = True,
    ) -> TextRequest:
        """Return a request whose samples are the words of its text. With `counted`, the gate knows their number."""
        purpose = Purpose.explain if explains else Purpose.predict
        return TextRequest(
            self.key if key is None else key,
            solution,
            max(1, len(text.split())) if counted else 1,
            purpose,
            text,
            lambda: sha256(f"{purpose} {text}".encode()).hexdigest(),
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
    ) -> TextDecision:
        """Return the decision of the gate, or of another worker's gate, on one request."""
        request = self.request(text, solution, key, explains=explains, counted=counted)
        return (gate or self.gate).answer([request], self.runner.run)[0]

    def batch(self, *requests: TextRequest) -> list[TextDecision]:
        """Return the gate's decisions on a batch."""
        return self.gate.answer(requests, self.runner.run)

    def challenge(self, text: str, key: str | None = None, *, explains: bool = False) -> Challenge:
        """Return the challenge for a request without work."""
        return challenge_of(self.ask(text, key=key, explains=explains))

    def pay(self, text: str, key: str | None = None) -> str:
        """Return a solution for a request, without sending it."""
        return solution(self.challenge(text, key))

    def account(self, name: str = "ada") -> Account:
        """Return the state of an account."""
        return self.ledger.account(MODEL, name)

    def rows(self) -> list[tuple[object, ...]]:
        """Return the rows of the ledger's tables, with the name of the table before the columns."""
        with sqlite3.connect(self.path) as connection:
            return [
                (table, *row)
                for table in ("accounts", "uses", "outcomes", "keys", "secrets")
                for row in connection.execute(f"SELECT * FROM {table}")
            ]


def payload_of(samples: int, cost: float = 1.0) -> str:
    """Return a payload of `samples` different samples of one cost."""
    return " ".join(f"{cost}#{number}/{samples}" for number in range(samples))


def count_digests(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Return a list to which gates append every stamp that they hash from now on."""
    taken: list[bytes] = []
    real = digest_of

    def counting(algorithm: str, cost: ScryptCost | None) -> Digest:
        digest = real(algorithm, cost)

        def take(stamp: bytes) -> bytes:
            taken.append(stamp)
            return digest(stamp)

        return take

    monkeypatch.setattr(challenges, "digest_of", counting)
    return taken


def trust_stamps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make gates accept the work that stamps claim, so that no test has to solve them."""
    monkeypatch.setattr("calpow.handler.gate.entry_check.is_solved", lambda solved: True)


def skip_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make ledgers return before their writes are on the disk."""
    monkeypatch.setattr(
        "calpow.handler.ledger.sqlite.sqlite_file._set_durable",
        lambda connection, durable: connection.execute("PRAGMA synchronous = OFF"),
    )


def problem_of(decision: TextDecision) -> problems.Problem:
    """Return the problem of a refusal."""
    assert isinstance(decision, Refused), decision
    return decision.problem


def decision_type(decision: TextDecision) -> str:
    """Return `answered`, or the type of the problem."""
    return "answered" if isinstance(decision, Released) else decision.problem.type


def released(decision: TextDecision) -> Released[str | None]:
    """Return a decision that must be an answer."""
    assert isinstance(decision, Released), decision
    return decision


def next_hashes_of(decision: TextDecision) -> int:
    """Return the PoW-Next of an answer."""
    hashes = released(decision).next_hashes
    assert hashes is not None
    return hashes


def challenge_of(decision: TextDecision) -> Challenge:
    """Return the challenge of a 402."""
    problem = problem_of(decision)
    assert problem.status == 402
    assert problem.challenge is not None
    return problem.challenge


def rest_challenge(decision: TextDecision) -> Challenge:
    """Return the challenge of a 402 that asks for a rest."""
    assert decision_type(decision) == "more-required"
    return challenge_of(decision)


def solution(challenge: Challenge) -> str:
    """Return the solution of a challenge."""
    return format_solution(challenge.token, solve(challenge.puzzle))


def claim_work(challenge: Challenge) -> str:
    """Return a solution whose stamps have the right fields and no work, for gates that trust stamps."""
    return format_solution(challenge.token, stamps_without_work(challenge.puzzle, "180115080000"))


def stamps_without_work(puzzle: Puzzle, date: str, rand: str = "r") -> list[str]:
    """Return stamps of a puzzle that claim their work and have none."""
    return [f"1:{puzzle.bits}:{date}:{puzzle.resource}:{ext}:{rand}:0" for ext in range(puzzle.count)]


def work_of(header: str) -> int:
    """Return the work that the stamps of a header claim."""
    parsed: Solution | Prepaid = parse_solution(header)
    return sum(1 << int(stamp.split(":")[1]) for stamp in parsed.stamps)


def prepay(
    harness: GateHarness, hashes: int, key: str | None = None, realm: str | None = None, at: float | None = None
) -> str:
    """Return a header of prepaid stamps of about `hashes` hashes, dated by the harness's clock."""
    return format_prepaid(prepaid_stamps(harness, hashes, key, realm, at))


def prepaid_stamps(
    harness: GateHarness, hashes: int, key: str | None = None, realm: str | None = None, at: float | None = None
) -> Sequence[str]:
    """Return prepaid stamps of about `hashes` hashes, dated by the harness's clock."""
    resource = prepaid_resource(realm or harness.gate.realm, harness.key if key is None else key)
    date = datetime.fromtimestamp(harness.now if at is None else at, timezone.utc)
    return solve(harness.kind.puzzle(hashes, resource), date=date)
