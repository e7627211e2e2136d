"""Challenges and their solutions, as a small server of tests issues, verifies and settles them."""

import base64
import hashlib
import hmac
import json
import secrets
import threading
import time
from dataclasses import dataclass, field
from datetime import datetime, timezone

from calpow.puzzle.errors import PuzzleError
from calpow.puzzle.prepaid import prepaid_resource, read_prepaid, subject_resource
from calpow.puzzle.profiles import PuzzleKind
from calpow.puzzle.puzzle import Puzzle, puzzle_size
from calpow.puzzle.stamp import leading_zero_bits
from calpow.puzzle.wire import Challenge, Prepaid, Solution, parse_solution

REALM = "echo@9f2c41"


@dataclass(frozen=True)
class PresentedWork:
    """The work that a solution proves: ids of its challenges and stamps, and their expected hashes.

    payload: the SHA-256 of the only body that it pays for, where it is the rest of a withheld answer; else empty.
    """

    ids: tuple[str, ...]
    hashes: int
    payload: str = ""


class Refused(Exception):
    """A solution that pays for nothing; `problem` is its name on the wire."""

    def __init__(self, problem: str, detail: str) -> None:
        super().__init__(detail)
        self.problem = problem


@dataclass
class Issuer:
    """Issues challenges and settles solutions, in memory.

    bits, count: the size of a challenge that has no other.
    lifetime: seconds until a challenge expires.
    ahead: seconds by which its clock is ahead of the true one.
    padding: by how many characters the claims of a challenge are longer than they need be.
    identity: what prepaid stamps have to be minted for; None for the API key.
    subject: the subject that they have to name instead; None for none.
    spends: whether prepaid stamps are taken for spent.
    passes: how many answers were computed or repeated.
    unsolved: ids of the challenges that were issued and not paid with.
    """

    bits: int = 6
    count: int = 4
    lifetime: float = 60.0
    ahead: float = 0.0
    padding: int = 0
    identity: str | None = None
    subject: str | None = None
    spends: bool = False
    passes: int = 0
    unsolved: set[str] = field(default_factory=set)
    _secret: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)
    _spent: set[str] = field(default_factory=set, repr=False)
    _outcomes: dict[tuple[tuple[str, ...], bytes], Challenge | None] = field(default_factory=dict, repr=False)
    _lock: threading.RLock = field(default_factory=threading.RLock, repr=False)

    def now(self) -> float:
        return time.time() + self.ahead

    def challenge(self, bits: int | None = None, count: int | None = None, **rest_claims: object) -> Challenge:
        """Sign a challenge; `rest_claims` are those of a rest: ids, hashes and payload, as in PresentedWork."""
        puzzle = Puzzle("hashcash-sha1", secrets.token_hex(16), bits or self.bits, count or self.count)
        expires = datetime.fromtimestamp(int(self.now() + self.lifetime), timezone.utc)
        claims = {
            "jti": puzzle.resource,
            "exp": int(expires.timestamp()),
            "algorithm": puzzle.algorithm,
            "bits": puzzle.bits,
            "count": puzzle.count,
            **rest_claims,
            "pad": "x" * self.padding,
        }
        signed = f"{_base64(b'{}')}.{_base64(json.dumps(claims).encode())}"
        with self._lock:
            self.unsolved.add(puzzle.resource)
        return Challenge(f"{signed}.{self._signature(signed)}", puzzle, expires)

    def challenge_for(self, hashes: int) -> Challenge:
        """Sign the challenge whose work is nearest to `hashes`."""
        return self.challenge() if hashes == self.count << self.bits else self.challenge(*puzzle_size(hashes))

    def present(self, header: str, key: str) -> PresentedWork:
        """Verify a solution. Raises Refused."""
        try:
            solution = parse_solution(header)
            return self._present_stamps(solution, key) if isinstance(solution, Prepaid) else self._present(solution)
        except PuzzleError as error:
            raise Refused("invalid-solution", str(error)) from error

    def settle(self, work: PresentedWork, body: bytes, price: int, due: int) -> Challenge | None:
        """Spend work on an answer that costs `due`; return None to give it, or the challenge for what is missing.

        The same work with the same body has the same outcome again. Raises Refused.
        """
        digest = hashlib.sha256(body).hexdigest()
        if work.payload not in ("", digest):
            raise Refused("challenge-mismatch", "this challenge is for another request: send that one, or solve anew")
        with self._lock:
            if (work.ids, body) in self._outcomes:
                self.passes += 1
                return self._outcomes[work.ids, body]
            if self._spent.intersection(work.ids):
                raise Refused("challenge-spent", "this solution was sent before")
            if work.hashes < price:
                return self._rest(work, price - work.hashes)
            self._spent.update(work.ids)
            self.unsolved.difference_update(work.ids)
            self.passes += 1
            outcome = self._rest(work, due - work.hashes, digest) if due > 2 * work.hashes else None
            self._outcomes[work.ids, body] = outcome
            return outcome

    def objection(self, header: str, body: bytes) -> str | None:
        """Verify and spend the solution of a challenge; return what is wrong with it."""
        try:
            work = self.present(header, "")
            return None if self.settle(work, body, work.hashes, 0) is None else "too little"
        except Refused as refused:
            return str(refused)

    def _rest(self, work: PresentedWork, hashes: int, payload: str = "") -> Challenge:
        """Sign a challenge for `hashes`, which pays for the whole together with `work`."""
        bits = next(bits for bits in range(1, 41) if hashes <= 31 << bits)
        return self.challenge(bits, -(-hashes >> bits), ids=work.ids, hashes=work.hashes, payload=payload)

    def _present(self, solution: Solution) -> PresentedWork:
        signed, _, signature = solution.token.rpartition(".")
        if not hmac.compare_digest(signature, self._signature(signed)):
            raise Refused("challenge-mismatch", "this challenge is not ours")
        challenge = Challenge.from_token(solution.token)
        if challenge.expires.timestamp() <= self.now():
            raise Refused("challenge-expired", "too late")
        challenge.puzzle.verify(solution.stamps)
        claims = json.loads(base64.urlsafe_b64decode(signed.split(".")[1] + "=="))
        payload = claims.get("payload", "")
        ids_before = () if payload else claims.get("ids", ())  # those of a withheld answer are spent
        hashes = challenge.puzzle.expected_hashes + claims.get("hashes", 0)
        return PresentedWork((challenge.puzzle.resource, *ids_before), hashes, payload)

    def _present_stamps(self, solution: Prepaid, key: str) -> PresentedWork:
        resource = prepaid_resource(REALM, key if self.identity is None else self.identity)
        if self.subject is not None:
            resource = subject_resource(REALM, self.subject)
        stamps = read_prepaid(solution.stamps, PuzzleKind("hashcash-sha1"), resource)
        if not stamps.is_fresh(self.now()):
            raise Refused("challenge-expired", "a prepaid stamp is good for 10 minutes: mint new ones")
        for stamp in stamps.stamps:
            if leading_zero_bits(hashlib.sha1(stamp.text.encode()).digest()) < stamp.bits:
                raise Refused("invalid-solution", "a stamp has less work than it claims")
        if self.spends:
            self._spent.update(stamps.ids)
        return PresentedWork(stamps.ids, stamps.hashes)

    def _signature(self, signed: str) -> str:
        return _base64(hmac.digest(self._secret, signed.encode(), "sha256"))


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
