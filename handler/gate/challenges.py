"""Challenges of one model: issuing them, and reading and checking their solutions."""

import math
import secrets
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from functools import lru_cache
from hashlib import sha256
from statistics import NormalDist
from typing import NamedTuple

from calpow.handler.errors import BadToken
from calpow.handler.gate import problems
from calpow.handler.gate.interface import Refused, Request
from calpow.handler.gate.problems import Problem
from calpow.handler.gate.tokens import Claims, Rest, Signer
from calpow.handler.ledger.holders import Identity
from calpow.handler.ledger.ledger import Ledger
from calpow.handler.ledger.solutions import RETRY_SECONDS, Outcome
from calpow.handler.policy.tariff import Tariff
from calpow.puzzle.algorithms import SCRYPT, ScryptCost, digest_of
from calpow.puzzle.errors import MalformedSolution, MalformedStamp, PuzzleError
from calpow.puzzle.prepaid import AHEAD_SECONDS, FRESH_SECONDS, prepaid_resource, read_prepaid, subject_resource
from calpow.puzzle.profiles import PuzzleKind
from calpow.puzzle.stamp import Stamp, leading_zero_bits
from calpow.puzzle.wire import Challenge, Solution, parse_solution

SHORTEST_EXPIRY_SECONDS = 60.0
LONGEST_EXPIRY_SECONDS = 3600.0
# A client may be this many times slower than the reference client and still solve in time. Pure Python is up to 30
# times slower than calpow[fast]. Decision 0027.
EXPIRY_MARGIN = 40.0
_NORMAL_999 = NormalDist().inv_cdf(0.999)
# Ids are remembered for this long after they can last be presented: workers' clocks differ, and clocks are set back.
# Decision 0005.
REMEMBERED_SECONDS = 300.0
# A rest may build on prepaid stamps for this long after they are stale. It is short, because a ledger remembers many
# stamps. Decision 0005.
PREPAID_REST_SECONDS = 600.0
# A rest leaves the reference client at least this many times the time that it takes to solve.
LEAST_MARGIN = 4.0
# A rest names at most this many ids. Work of more ids is not built on, and the challenge asks for the whole work.
MOST_NAMED = 72


class Solved(NamedTuple):
    """A solution that is well-formed. Its digests have not been computed yet.

    name: common name of `ids`, which are spent together.
    stamps: the stamps to hash, by `algorithm` at `cost`.
    hashes: the work that the stamps claim, plus that of the earlier work on which `rest` builds.
    until: time after which no rest builds on it, in seconds since the epoch.
    expires: time until which the ledger must remember the ids, including all rests that may build on them, in seconds
        since the epoch.
    is_open: whether it can still be spent. A solution that has expired can only be a retry. Decision 0004.
    subject: the account that the solved challenge was issued to, as its token names it; None for prepaid stamps.
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
    subject: str | None = None
    rest: Rest | None = None

    @property
    def withheld(self) -> str | None:
        """The name of the solution whose withheld answer this one pays for, if there is one."""
        return None if self.rest is None else self.rest.withheld


class Issuer:
    """Issues the challenges of one model, and reads the solutions that are sent back."""

    def __init__(
        self, model: str, ledger: Ledger, kind: PuzzleKind, tariff: Tariff, clock: Callable[[], float]
    ) -> None:
        self._model = model
        self._ledger = ledger
        self._kind = kind
        self._tariff = tariff
        self._clock = clock
        self._signer = Signer(ledger.secrets)
        self._realm: str | None = None

    @property
    def realm(self) -> str:
        """The name of the model and the deployment, `digits@9f2c41`. Raises LedgerUnavailable."""
        if self._realm is None:
            self._realm = f"{self._model}@{self._ledger.deployment()}"
        return self._realm

    def subject(self, account: str) -> str:
        """Return the opaque name of an account that its prepaid stamps bear. Raises LedgerUnavailable."""
        return self._signer.subject(account)

    def read(self, request: Request, identity: Identity) -> Solved | Refused:
        """Return the solution of a request, read without hashing a stamp, or a refusal without a challenge.

        `mismatch` must check whose it is, once the account is known. Raises LedgerUnavailable.
        """
        if request.solution is None:
            return Refused(problems.POW_REQUIRED, "no work presented")
        # The texts of the puzzle's errors quote stamps, so only their names are logged.
        try:
            solution = parse_solution(request.solution)
            if isinstance(solution, Solution):
                return self._read_solution(solution)
            return self._read_prepaid(solution.stamps, identity)
        except BadToken as error:
            return Refused(problems.MALFORMED_SOLUTION, str(error))
        except (MalformedSolution, MalformedStamp) as error:
            return Refused(problems.MALFORMED_SOLUTION, type(error).__name__)
        except PuzzleError as error:
            return Refused(problems.INVALID_SOLUTION, type(error).__name__)

    def unpaid(self) -> Solved:
        """Return the solution of a request of free samples, which needs no work: an id of its own, and no stamp."""
        ids = (secrets.token_hex(16),)
        expires = self._clock() + RETRY_SECONDS + REMEMBERED_SECONDS
        return Solved(solution_name(ids), ids, (), self._kind.algorithm, None, 0, 0, expires, is_open=True)

    def challenge(self, problem: Problem, account: str, step: int, rest: Rest | None = None) -> Problem:
        """Return `problem` with a challenge of a step's work, which builds on earlier work when `rest` is given.

        Raises LedgerUnavailable.
        """
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
        return problems.with_challenge(problem, challenge, self.realm, seconds, now)

    def mismatch(self, solved: Solved, request: Request, account: str) -> Refused | None:
        """Return the refusal of a solution that is not for this account or request, without a challenge.

        Raises LedgerUnavailable.
        """
        # Prepaid stamps name the key or the account, which `read` has compared.
        if solved.subject is not None and not self._signer.is_subject(solved.subject, account):
            return Refused(problems.CHALLENGE_MISMATCH, "the challenge is of another account")
        rest = solved.rest
        if rest is not None and rest.digest is not None and rest.digest != request.digest:
            return Refused(problems.CHALLENGE_MISMATCH, "the rest is of another request's withheld answer")
        return None

    def _read_solution(self, solution: Solution) -> Solved | Refused:
        claims = self._signer.verify(solution.token)
        if claims.aud != self._model:
            return Refused(problems.CHALLENGE_MISMATCH, "the challenge is of another model")
        rest, now = claims.rest, self._clock()
        puzzle = claims.puzzle
        stamps = puzzle.check_fields(solution.stamps)
        ids = (*(rest.ids if rest else ()), claims.jti)
        hashes = puzzle.expected_hashes + (rest.work if rest else 0)
        until = rest.until if rest is not None else math.ceil(claims.exp + LONGEST_EXPIRY_SECONDS)
        # This challenge was issued before now, and so was everything that it builds on.
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
            subject=claims.sub,
            rest=rest,
        )

    def _read_prepaid(self, stamps: Sequence[str], identity: Identity) -> Solved:
        kind, now = self._kind, self._clock()
        paid = read_prepaid(stamps, kind, self._resource(identity, stamps[0]))
        # The youngest stamp that is accepted is dated AHEAD_SECONDS from now.
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

    def _resource(self, identity: Identity, stamp: str) -> str:
        """Return the resource that prepaid stamps must have; that of an older secret if the first one has it."""
        if identity.account is None:
            return prepaid_resource(self.realm, identity.key or "")
        known = [subject_resource(self.realm, subject) for subject in self._signer.subjects(identity.account)]
        return next((resource for resource in known if f":{resource}:" in stamp), known[-1])


def rest_of(solved: Solved, seconds: float, now: float) -> Rest | None:
    """Return a rest that builds on a solution of too little work and takes the reference client `seconds` to solve.

    Return None when its token would name too many ids, or when they would be forgotten before it can be solved.
    Decision 0005.
    """
    if len(solved.ids) > MOST_NAMED or solved.until - now < max(SHORTEST_EXPIRY_SECONDS, LEAST_MARGIN * seconds):
        return None
    before = solved.rest
    withheld, digest = (before.withheld, before.digest) if before is not None else (None, None)
    return Rest(solved.ids, solved.hashes, solved.until, withheld, digest)


def rest_of_withheld(outcome: Outcome) -> Rest:
    """Return the rest that pays for a withheld answer."""
    until = math.ceil(outcome.settled + RETRY_SECONDS + 2 * LONGEST_EXPIRY_SECONDS)
    return Rest((), 0, until, outcome.solution, outcome.digest)


def is_solved(solved: Solved) -> bool:
    """Return whether every stamp has the work that it claims. Decision 0005: too little work is hashed as well."""
    if solved.cost is not None:
        return all(_scrypt_bits(stamp.text, solved.cost) >= stamp.bits for stamp in solved.stamps)
    digest = digest_of(solved.algorithm, None)
    return all(leading_zero_bits(digest(stamp.text.encode("ascii"))) >= stamp.bits for stamp in solved.stamps)


# Cached, so that a client cannot make a worker compute the same digests repeatedly: one of scrypt takes milliseconds,
# and one of the others less than the cache.
@lru_cache(maxsize=1 << 14)
def _scrypt_bits(text: str, cost: ScryptCost) -> int:
    return leading_zero_bits(digest_of(SCRYPT, cost)(text.encode("ascii")))


def solution_name(ids: Sequence[str]) -> str:
    """Return the common name of ids that are spent together, in any order."""
    return sha256(" ".join(sorted(ids)).encode("ascii")).hexdigest()[:32]


def time_to_solve(seconds: float, count: int) -> float:
    """Return how many seconds a challenge stays open when solving its `count` stamps takes `seconds` on average.

    The sum of `count` exponential times is gamma distributed. The result is its 99.9th percentile by Wilson and
    Hilferty (1931) times a margin for slower clients, at least a minute and at most an hour.
    """
    ninth = 1.0 / (9.0 * count)
    slowest = seconds * (1.0 - ninth + _NORMAL_999 * math.sqrt(ninth)) ** 3
    return min(LONGEST_EXPIRY_SECONDS, max(SHORTEST_EXPIRY_SECONDS, EXPIRY_MARGIN * slowest))


def _challenge_id(rest: Rest | None) -> str:
    """Return the id of a challenge: random, or for a rest derived from what it builds on.

    A rest is thereby spent once, however often it is issued.
    """
    if rest is None:
        return secrets.token_hex(8)
    return sha256(" ".join(("rest", rest.withheld or "", *rest.ids)).encode("ascii")).hexdigest()[:16]
