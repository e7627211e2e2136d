"""Challenges: how much work an account is asked for, issued, checked when it comes back, and told to the client."""

import math
import secrets
from collections.abc import Callable, Sequence
from datetime import datetime, timezone

from calpow.handler import problems
from calpow.handler.calibration import Calibration
from calpow.handler.challenge import BadToken, Claims, Signer
from calpow.handler.decision import Request
from calpow.handler.ledger.base import Ledger, OpenChallenge, Payment, Totals
from calpow.handler.problems import Problem
from calpow.puzzle.challenge import Challenge, Solution, parse_solution
from calpow.puzzle.errors import MalformedSolution, MalformedStamp, PuzzleError, StaleStamp
from calpow.puzzle.prepaid import check_prepaid, prepaid_resource

SHORTEST_EXPIRY_SECONDS = 60.0
# How much slower than the reference client a client may be and still solve in time: pure Python is up to 30 times
# slower than calpow[fast].
EXPIRY_MARGIN = 40.0
# Quantile of the standard normal distribution below which 99.9 % lie.
NORMAL_999 = 3.0902


class Issuer:
    """Issues the challenges of one model and checks what is sent back for them. `holder` is this worker."""

    def __init__(
        self, model: str, ledger: Ledger, calibration: Calibration, holder: str, clock: Callable[[], float]
    ) -> None:
        self._model = model
        self._ledger = ledger
        self._calibration = calibration
        self._holder = holder
        self._clock = clock
        self._signer = Signer(ledger.secrets)
        self._realm: str | None = None

    @property
    def realm(self) -> str:
        """The model and the deployment, `digits@9f2c41`. Raises LedgerUnavailable."""
        if self._realm is None:
            self._realm = f"{self._model}@{self._ledger.deployment()}"
        return self._realm

    def refresh(self) -> None:
        """Read the signing secrets, if they may have changed; before any transaction. Raises LedgerUnavailable."""
        self._signer.refresh()

    def issue(self, account: str, digest: str, totals: Totals, samples: int) -> OpenChallenge:
        """A challenge for `samples` samples that are already in the account's totals."""
        puzzle = self._calibration.puzzle.puzzle(self._calibration.work(totals, samples), secrets.token_hex(8))
        seconds = self._calibration.seconds(totals, samples)
        expires = math.ceil(self._clock() + time_to_solve(seconds, puzzle.count))
        token = self._signer.sign(
            Claims(
                jti=puzzle.resource,
                sub=account,
                aud=self._model,
                exp=expires,
                dig=digest,
                algorithm=puzzle.algorithm,
                bits=puzzle.bits,
                count=puzzle.count,
                cost=puzzle.cost,
            )
        )
        return OpenChallenge(puzzle.resource, token, float(expires), puzzle.expected_hashes)

    def next_hashes(self, totals: Totals) -> int:
        """What one more ordinary sample will take of an account."""
        return self._calibration.puzzle.puzzle(self._calibration.next_work(totals), "next").expected_hashes

    def check(self, request: Request, account: str) -> Claims | Payment | Problem:
        """The claims of the challenge a request solves, what it pays beforehand, or what is wrong with either.

        Raises LedgerUnavailable.
        """
        if request.solution is None:
            return problems.POW_REQUIRED
        try:
            solution = parse_solution(request.solution)
            if not isinstance(solution, Solution):
                return self._check_prepaid(solution.stamps, request.key or "")
            claims = self._signer.verify(solution.token)
        except (MalformedSolution, BadToken):
            return problems.MALFORMED_SOLUTION
        if (claims.sub, claims.aud, claims.dig) != (account, self._model, request.digest):
            return problems.CHALLENGE_MISMATCH
        if claims.exp <= self._clock():
            return problems.CHALLENGE_EXPIRED
        try:
            claims.puzzle.verify(solution.stamps)
        except PuzzleError:
            return problems.INVALID_SOLUTION
        return claims

    def _check_prepaid(self, stamps: Sequence[str], key: str) -> Payment | Problem:
        try:
            work = check_prepaid(stamps, self._calibration.puzzle, prepaid_resource(self.realm, key), self._clock())
        except MalformedStamp:
            return problems.MALFORMED_SOLUTION
        except StaleStamp:
            return problems.CHALLENGE_EXPIRED
        except PuzzleError:
            return problems.INVALID_SOLUTION
        return Payment(work.ids, work.hashes, work.stale_at, self._holder)

    def present(self, why: Problem, issued: OpenChallenge) -> Problem:
        """`why`, with the challenge to solve. Raises BadToken when its secret is no longer known."""
        puzzle = self._signer.verify(issued.token).puzzle
        challenge = Challenge(issued.token, puzzle, datetime.fromtimestamp(issued.expires, timezone.utc))
        seconds = self._calibration.solving_seconds(puzzle.expected_hashes)
        return problems.challenged(why, challenge, self.realm, seconds, self._clock())

    def takes_prepaid(self, issued: OpenChallenge) -> bool:
        """Whether prepaid work counts for a challenge that was open: not for one of a kind that was asked for before.

        Raises BadToken when its secret is no longer known.
        """
        puzzle, kind = self._signer.verify(issued.token).puzzle, self._calibration.puzzle
        return (puzzle.algorithm, puzzle.cost) == (kind.algorithm, kind.cost)


def time_to_solve(seconds: float, count: int) -> float:
    """How long a challenge stays open, when solving its `count` stamps takes `seconds` in the mean.

    The sum of `count` exponential times is gamma distributed; its 99.9th percentile by Wilson and Hilferty
    (1931), with a margin for slower clients, and never under a minute.
    """
    ninth = 1.0 / (9.0 * count)
    slowest = seconds * (1.0 - ninth + NORMAL_999 * math.sqrt(ninth)) ** 3
    return max(SHORTEST_EXPIRY_SECONDS, EXPIRY_MARGIN * slowest)
