"""Challenges of one model: issued, and checked when they come back solved."""

import math
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import lru_cache
from hashlib import sha256

from calpow.handler.gate import problems
from calpow.handler.gate.decision import Request
from calpow.handler.gate.problems import Problem
from calpow.handler.gate.tokens import BadToken, Claims, Rest, Signer
from calpow.handler.ledger.ledger import RETRY_SECONDS, Ledger, Outcome
from calpow.handler.policy.calibration_file import Calibration
from calpow.handler.policy.tariff import Tariff
from calpow.puzzle.algorithms import ScryptCost, digest_of
from calpow.puzzle.errors import MalformedSolution, MalformedStamp, PuzzleError
from calpow.puzzle.prepaid import AHEAD_SECONDS, FRESH_SECONDS, prepaid_resource, read_prepaid
from calpow.puzzle.stamp import Stamp, leading_zero_bits
from calpow.puzzle.wire import Challenge, Solution, parse_solution

SHORTEST_EXPIRY_SECONDS = 60.0
LONGEST_EXPIRY_SECONDS = 3600.0
# How much slower than the reference client a client may be and still solve in time: pure Python is up to 30 times
# slower than calpow[fast].
EXPIRY_MARGIN = 40.0
# Quantile of the standard normal distribution below which 99.9 % lie.
NORMAL_999 = 3.0902
# Ids are remembered so much longer than they can be presented: workers' clocks differ, and clocks are set back.
REMEMBERED_SECONDS = 300.0
# Rests may build on prepaid stamps so long after they are stale: a ledger has many of them to remember.
PREPAID_REST_SECONDS = 600.0
# A rest must leave the reference client so many times the time that it takes.
LEAST_MARGIN = 4.0
# A rest names no more ids than that; beyond, the whole is asked for.
MOST_NAMED = 72


@dataclass(frozen=True, slots=True)
class Solved:
    """A solution whose form is right and which is bound to the account; its digests are not taken yet.

    name: the common name of `ids`, which are spent together. stamps: what is to be hashed, by `algorithm` at `cost`.
    hashes: the work they claim, and that of the earlier work they build on, `rest`. until: after which no rest builds
    on it. expires: until when a ledger must remember the ids, whatever rests were asked that build on one of them. Both
    in seconds since the epoch. is_open: whether it can still be spent; one that is expired can only be a retry.
    """

    name: str
    ids: tuple[str, ...]
    stamps: tuple[Stamp, ...]
    algorithm: str
    cost: ScryptCost | None
    hashes: int
    until: int
    expires: float
    is_open: bool
    rest: Rest | None = None

    @property
    def withheld(self) -> str | None:
        """Name of the solution whose withheld answer it pays for."""
        return None if self.rest is None else self.rest.withheld


class Issuer:
    """Issues the challenges of one model and reads what is sent back for them."""

    def __init__(
        self, model: str, ledger: Ledger, calibration: Calibration, tariff: Tariff, clock: Callable[[], float]
    ) -> None:
        self._model = model
        self._ledger = ledger
        self._kind = calibration.puzzle
        self._tariff = tariff
        self._clock = clock
        self._signer = Signer(ledger.secrets)
        self._realm: str | None = None

    @property
    def realm(self) -> str:
        """The model and the deployment, `digits@9f2c41`. Raises LedgerUnavailable."""
        if self._realm is None:
            self._realm = f"{self._model}@{self._ledger.deployment()}"
        return self._realm

    def read(self, request: Request, account: str) -> Solved | Problem:
        """Read the solution of a request without hashing a stamp, or say what is wrong. Raises LedgerUnavailable."""
        if request.solution is None:
            return problems.POW_REQUIRED
        try:
            solution = parse_solution(request.solution)
            if isinstance(solution, Solution):
                return self._read_solution(solution, request, account)
            return self._read_prepaid(solution.stamps, request.key or "")
        except (MalformedSolution, MalformedStamp, BadToken):
            return problems.MALFORMED_SOLUTION
        except PuzzleError:
            return problems.INVALID_SOLUTION

    def refuse(self, why: Problem, account: str, step: int, rest: Rest | None = None) -> Problem:
        """`why`, with a challenge of a step's work; for a rest, one that builds on it. Raises LedgerUnavailable."""
        now = self._clock()
        puzzle = self._tariff.puzzle(step, _challenge_id(rest))
        seconds = self._tariff.seconds(puzzle.expected_hashes)
        expires = math.ceil(now + time_to_solve(seconds, puzzle.count))
        if rest is not None:
            expires = min(expires, rest.until)
        claims = Claims(
            jti=puzzle.resource,
            sub=self._signer.subject(account),
            aud=self._model,
            exp=expires,
            algorithm=puzzle.algorithm,
            bits=puzzle.bits,
            count=puzzle.count,
            cost=puzzle.cost,
            rest=rest,
        )
        challenge = Challenge(self._signer.sign(claims), puzzle, datetime.fromtimestamp(expires, timezone.utc))
        return problems.challenged(why, challenge, self.realm, seconds, now)

    def _read_solution(self, solution: Solution, request: Request, account: str) -> Solved | Problem:
        claims = self._signer.verify(solution.token)
        if claims.aud != self._model or not self._signer.is_subject(claims.sub, account):
            return problems.CHALLENGE_MISMATCH
        rest = claims.rest
        if rest is not None and rest.digest is not None and rest.digest != request.digest:
            return problems.CHALLENGE_MISMATCH
        now = self._clock()
        puzzle = claims.puzzle
        stamps = puzzle.check_fields(solution.stamps)
        ids = (*(rest.ids if rest else ()), claims.jti)
        hashes = puzzle.expected_hashes + (rest.work if rest else 0)
        until = rest.until if rest is not None else math.ceil(claims.exp + LONGEST_EXPIRY_SECONDS)
        # It was issued before now, and so was everything that it builds on.
        expires = now + RETRY_SECONDS + 2 * LONGEST_EXPIRY_SECONDS + REMEMBERED_SECONDS
        return Solved(
            name=solution_name(ids),
            ids=ids,
            stamps=stamps,
            algorithm=puzzle.algorithm,
            cost=puzzle.cost,
            hashes=hashes,
            until=until,
            expires=expires,
            is_open=now < claims.exp,
            rest=rest,
        )

    def _read_prepaid(self, stamps: Sequence[str], key: str) -> Solved:
        kind, now = self._kind, self._clock()
        paid = read_prepaid(stamps, kind, prepaid_resource(self.realm, key))
        # By the youngest stamp that there may be among them.
        expires = now + AHEAD_SECONDS + FRESH_SECONDS + PREPAID_REST_SECONDS + REMEMBERED_SECONDS
        return Solved(
            name=solution_name(paid.ids),
            ids=paid.ids,
            stamps=paid.stamps,
            algorithm=kind.algorithm,
            cost=kind.cost,
            hashes=paid.hashes,
            until=math.ceil(paid.stale_at + PREPAID_REST_SECONDS),
            expires=expires,
            is_open=paid.is_fresh(now),
        )


def rest_of(solved: Solved, seconds: float, now: float) -> Rest | None:
    """The rest, of so many seconds of the reference client, that a solution of too little work leaves to pay for.

    None where its token would name too many ids, or they would be forgotten before it can be solved.
    """
    if len(solved.ids) > MOST_NAMED or solved.until - now < max(SHORTEST_EXPIRY_SECONDS, LEAST_MARGIN * seconds):
        return None
    before = solved.rest
    withheld, digest = (before.withheld, before.digest) if before is not None else (None, None)
    return Rest(solved.ids, solved.hashes, solved.until, withheld, digest)


def rest_of_withheld(outcome: Outcome) -> Rest:
    """The rest of a withheld answer."""
    until = math.ceil(outcome.settled + RETRY_SECONDS + 2 * LONGEST_EXPIRY_SECONDS)
    return Rest((), 0, until, outcome.solution, outcome.digest)


def is_solved(solved: Solved) -> bool:
    """Whether every stamp has the work that it claims."""
    return all(_zero_bits(stamp.text, solved.algorithm, solved.cost) >= stamp.bits for stamp in solved.stamps)


# Remembered, so that nobody makes a worker take the same digests again and again for nothing: of scrypt, one takes
# milliseconds.
@lru_cache(maxsize=1 << 14)
def _zero_bits(text: str, algorithm: str, cost: ScryptCost | None) -> int:
    return leading_zero_bits(digest_of(algorithm, cost)(text.encode("ascii")))


def solution_name(ids: Sequence[str]) -> str:
    """The common name of ids that are spent together, whatever their order."""
    return sha256(" ".join(sorted(ids)).encode("ascii")).hexdigest()[:32]


def time_to_solve(seconds: float, count: int) -> float:
    """How long a challenge stays open, when solving its `count` stamps takes `seconds` in the mean.

    The sum of `count` exponential times is gamma distributed; its 99.9th percentile by Wilson and Hilferty
    (1931), with a margin for slower clients, never under a minute and never over an hour.
    """
    ninth = 1.0 / (9.0 * count)
    slowest = seconds * (1.0 - ninth + NORMAL_999 * math.sqrt(ninth)) ** 3
    return min(LONGEST_EXPIRY_SECONDS, max(SHORTEST_EXPIRY_SECONDS, EXPIRY_MARGIN * slowest))


def _challenge_id(rest: Rest | None) -> str:
    """Random, but for a rest: its id follows from what it builds on, so that it is spent once however often issued."""
    if rest is None:
        return secrets.token_hex(8)
    return sha256(" ".join(("rest", rest.withheld or "", *rest.ids)).encode("ascii")).hexdigest()[:16]
