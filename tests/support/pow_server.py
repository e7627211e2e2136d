"""A small HTTP server that really asks for work: it issues our challenges and verifies what comes back."""

import base64
import hashlib
import hmac
import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from calpow.puzzle.difficulty import puzzle_size
from calpow.puzzle.errors import PuzzleError
from calpow.puzzle.prepaid import prepaid_resource, read_prepaid
from calpow.puzzle.profiles import Kind
from calpow.puzzle.puzzle import Puzzle
from calpow.puzzle.stamp import leading_zero_bits
from calpow.puzzle.wire import (
    KEY_HEADER,
    MAX_TOKEN_LENGTH,
    NEXT_HEADER,
    PROBLEM_TYPE,
    SOLUTION_HEADER,
    Challenge,
    Prepaid,
    Solution,
    parse_solution,
    www_authenticate,
)

REALM = "echo@9f2c41"
# With these a command takes on work that it cannot end.
NO_LIMITS = ("--max-hashes", str(2**60), "--max-seconds", "1e9")


@dataclass(frozen=True)
class Seen:
    """One request as it arrived; header names in lower case."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Work:
    """What a request has presented: ids of a challenge and of stamps, and their expected hashes.

    payload: the SHA-256 of the body that a rest of a withheld answer is good for; empty for any.
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
class PowServer:
    """Answers a paid request with the request's own body; asks for the rest where too little was paid.

    The first part of the path picks the behaviour: paid (`count` stamps of `bits` bits), priced (`price` hashes, and
    answers say that the next takes `announced`), dear (priced, but each answer turns out to cost `due` hashes, and is
    withheld where that is more than twice what was paid), rising (priced, and the price doubles under each of the first
    `refusals` solutions), lost (priced, but the connection breaks before the first `refusals` answers), torn (the same,
    in the middle of them), free, header (the challenge only in WWW-Authenticate), late (the first `refusals` solutions
    are refused as expired), never (every solution is refused after `seconds`, for the smallest of challenges), cookie
    (answers only with the cookie that came with the challenge), bare (402 without a challenge), heavy, absurd, foreign,
    broken, unsigned and lengthy (challenges that cannot be solved), moved and paid-moved (redirects to `target`, at
    once or after payment), fault (TorchServe's 404), large and unexplained (our 413 and 403), hollow (our 402 without
    its challenge), deaf (no solution arrives), keyless (no key arrives), busy (the first `refusals` requests get
    `busy`, with `retry_after`), slow (a puzzle that takes seconds), brief (a second to solve it), sleepy (paid, and
    every response takes `seconds`), picky (paid, and 400 for a body with the word bad), denied (401). After "?dropped"
    the solution does not arrive.

    Prepaid stamps are those of the API key, or of `identity`, and are taken for spent if it `spends` them. Challenges'
    tokens are longer by `padding`.

    Its clock is `ahead` of the true one, in seconds, and it sends a Date unless `dated` is false.
    """

    url: str = ""
    bits: int = 6
    count: int = 4
    refusals: int = 1
    target: str = ""
    seconds: float = 0.1
    ahead: float = 0.0
    dated: bool = True
    lifetime: float = 60.0
    busy: int = 503
    retry_after: str | None = "1"
    price: int = 1024
    announced: int | None = None
    due: int = 0
    padding: int = 0
    identity: str | None = None
    spends: bool = False
    connections: int = 0
    at_once: int = 0
    most_at_once: int = 0
    passes: int = 0
    seen: list[Seen] = field(default_factory=list)
    unsolved: set[str] = field(default_factory=set)
    _secret: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    _spent: set[str] = field(default_factory=set)
    _settled: dict[tuple[tuple[str, ...], bytes], Challenge | None] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def now(self) -> float:
        return time.time() + self.ahead

    def asked(self) -> int:
        """The price as a challenge can ask for it."""
        bits, count = puzzle_size(self.price)
        return count << bits

    def challenge(self, bits: int | None = None, count: int | None = None, **rest: object) -> Challenge:
        """Sign a challenge; `rest` are the claims of a rest: ids, hashes and payload, as in Work."""
        puzzle = Puzzle("hashcash-sha1", secrets.token_hex(16), bits or self.bits, count or self.count)
        expires = datetime.fromtimestamp(int(self.now() + self.lifetime), timezone.utc)
        claims = {
            "jti": puzzle.resource,
            "exp": int(expires.timestamp()),
            "algorithm": puzzle.algorithm,
            "bits": puzzle.bits,
            "count": puzzle.count,
            **rest,
            "pad": "x" * self.padding,
        }
        signed = f"{_base64(b'{}')}.{_base64(json.dumps(claims).encode())}"
        with self._lock:
            self.unsolved.add(puzzle.resource)
        return Challenge(f"{signed}.{self._signature(signed)}", puzzle, expires)

    def rest_of(self, paid: Work, hashes: int, payload: str = "") -> Challenge:
        """A challenge for so much work, which together with `paid` pays for the whole."""
        bits = next(bits for bits in range(1, 41) if hashes <= 31 << bits)
        return self.challenge(bits, -(-hashes >> bits), ids=paid.ids, hashes=paid.hashes, payload=payload)

    def presented(self, header: str, key: str) -> Work:
        """Verify a solution. Raises Refused."""
        try:
            solution = parse_solution(header)
            if isinstance(solution, Prepaid):
                resource = prepaid_resource(REALM, key if self.identity is None else self.identity)
                stamps = read_prepaid(solution.stamps, Kind("hashcash-sha1"), resource)
                if not stamps.is_fresh(self.now()):
                    raise Refused("challenge-expired", "a prepaid stamp is good for 10 minutes: mint new ones")
                if any(
                    leading_zero_bits(hashlib.sha1(stamp.text.encode()).digest()) < stamp.bits
                    for stamp in stamps.stamps
                ):
                    raise Refused("invalid-solution", "a stamp has less work than it claims")
                if self.spends:
                    self._spent.update(stamps.ids)
                return Work(stamps.ids, stamps.hashes)
            return self._solved(solution)
        except PuzzleError as error:
            raise Refused("invalid-solution", str(error)) from error

    def settle(self, work: Work, body: bytes, asked: int, due: int) -> Challenge | None:
        """Spend the work on an answer that costs `due`; None to answer, or the challenge for what is missing.

        The same work with the same body has the same outcome again. Raises Refused.
        """
        digest = hashlib.sha256(body).hexdigest()
        if work.payload not in ("", digest):
            raise Refused("challenge-mismatch", "this challenge is for another request: send that one, or solve anew")
        with self._lock:
            if (work.ids, body) in self._settled:
                self.passes += 1
                return self._settled[work.ids, body]
            if self._spent.intersection(work.ids):
                raise Refused("challenge-spent", "this solution was sent before")
            if work.hashes < asked:
                return self.rest_of(work, asked - work.hashes)
            self._spent.update(work.ids)
            self.unsolved.difference_update(work.ids)
            self.passes += 1
            outcome = self.rest_of(work, due - work.hashes, digest) if due > 2 * work.hashes else None
            self._settled[work.ids, body] = outcome
            return outcome

    def objection(self, header: str, body: bytes) -> str | None:
        """Verify and spend the solution of a challenge; return what is wrong with it."""
        try:
            work = self.presented(header, "")
            return None if self.settle(work, body, work.hashes, 0) is None else "too little"
        except Refused as refused:
            return str(refused)

    def _solved(self, solution: Solution) -> Work:
        signed, _, signature = solution.token.rpartition(".")
        if not hmac.compare_digest(signature, self._signature(signed)):
            raise Refused("challenge-mismatch", "this challenge is not ours")
        challenge = Challenge.from_token(solution.token)
        if challenge.expires.timestamp() <= self.now():
            raise Refused("challenge-expired", "too late")
        challenge.puzzle.verify(solution.stamps)
        claims = json.loads(base64.urlsafe_b64decode(signed.split(".")[1] + "=="))
        payload = claims.get("payload", "")
        before = () if payload else claims.get("ids", ())  # those of a withheld answer are spent
        hashes = challenge.puzzle.expected_hashes + claims.get("hashes", 0)
        return Work((challenge.puzzle.resource, *before), hashes, payload)

    def refuse_now(self) -> bool:
        """Count down the refusals."""
        with self._lock:
            self.refusals -= 1
            return self.refusals >= 0

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count the requests that are in work at once."""
        with self._lock:
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            yield
        finally:
            with self._lock:
                self.at_once -= 1

    def paths(self) -> list[str]:
        return [request.path for request in self.seen]

    def _signature(self, signed: str) -> str:
        return _base64(hmac.digest(self._secret, signed.encode(), "sha256"))


@contextmanager
def running(server: PowServer) -> Iterator[PowServer]:
    """Serve on a free port of this machine until the block ends."""
    http = _Http(("127.0.0.1", 0), type("Handler", (_Handler,), {"desk": server}))
    server.url = f"http://127.0.0.1:{http.server_port}"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class _Http(ThreadingHTTPServer):
    request_queue_size = 512
    daemon_threads = True


class _Handler(BaseHTTPRequestHandler):
    desk: PowServer
    protocol_version = "HTTP/1.1"  # connections stay open, so that tests can count them
    disable_nagle_algorithm = True

    def setup(self) -> None:
        super().setup()
        self.desk.connections += 1

    def do_GET(self) -> None:  # the name the base class looks for
        self.do_POST()

    def do_PUT(self) -> None:  # what `curl -T` sends
        self.do_POST()

    def do_POST(self) -> None:
        body = self._read()
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.desk.seen.append(Seen(self.path, headers, body))
        path = urlsplit(self.path).path  # a proxy is asked for the whole URL
        if self.path.endswith("?dropped"):
            del self.headers[SOLUTION_HEADER]
        with self.desk.counted():
            getattr(self, "_" + path.strip("/").replace("-", "_"))(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass

    def _read(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _paid(self, body: bytes) -> None:
        if (challenge := self._pay(body, self.desk.count << self.desk.bits)) is not None:
            self._send_challenge(*challenge)
        else:
            self._answer(200, body)

    def _priced(self, body: bytes) -> None:
        if (challenge := self._pay(body, self.desk.asked())) is not None:
            self._send_challenge(*challenge)
        else:
            announced = self.desk.price if self.desk.announced is None else self.desk.announced
            self._answer(200, body, **{NEXT_HEADER: str(announced)})

    def _dear(self, body: bytes) -> None:
        self._priced(body)

    def _rising(self, body: bytes) -> None:
        if SOLUTION_HEADER in self.headers and self.desk.refuse_now():
            self.desk.price *= 2
        self._priced(body)

    def _lost(self, body: bytes) -> None:
        if SOLUTION_HEADER in self.headers and self.desk.refuse_now():
            assert self._pay(body, self.desk.asked()) is None
            self.close_connection = True
        else:
            self._priced(body)

    def _torn(self, body: bytes) -> None:
        if SOLUTION_HEADER in self.headers and self.desk.refuse_now():
            assert self._pay(body, self.desk.asked()) is None
            self.send_response_only(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"5\r\n{")
            self.close_connection = True
        else:
            self._priced(body)

    def _pay(self, body: bytes, asked: int) -> tuple[Challenge, str, str] | None:
        """None where the request pays for its answer; else the challenge, and why."""
        desk, header = self.desk, self.headers.get(SOLUTION_HEADER)
        problem, detail = "pow-required", "Find stamps."
        if header is not None:
            try:
                work = desk.presented(header, self.headers.get(KEY_HEADER, ""))
                rest = desk.settle(work, body, asked, desk.due if "dear" in self.path else 0)
                return None if rest is None else (rest, "more-required", "Find more stamps.")
            except Refused as refused:
                problem, detail = refused.problem, str(refused)
        if asked == desk.count << desk.bits:
            return desk.challenge(), problem, detail
        return desk.challenge(*puzzle_size(asked)), problem, detail

    def _free(self, body: bytes) -> None:
        self._answer(200, body)

    def _header(self, body: bytes) -> None:
        if SOLUTION_HEADER in self.headers:
            self._paid(body)
        else:
            token = self.desk.challenge().token
            self._answer(402, b"pay", **{"WWW-Authenticate": f"Basic, {www_authenticate(REALM, token)}"})

    def _late(self, body: bytes) -> None:
        if SOLUTION_HEADER in self.headers and self.desk.refuse_now():
            self._send_challenge(self.desk.challenge(), "challenge-expired", "the challenge has expired:\nask again")
        else:
            self._paid(body)

    def _never(self, body: bytes) -> None:
        if SOLUTION_HEADER in self.headers:
            time.sleep(self.desk.seconds)
            self._send_challenge(self.desk.challenge(1, 1), "invalid-solution", "no stamps are\ngood enough")
        else:
            self._send_challenge(self.desk.challenge(1, 1))

    def _cookie(self, body: bytes) -> None:
        if SOLUTION_HEADER not in self.headers:
            self._send_challenge(self.desk.challenge(), **{"Set-Cookie": "route=a"})
        elif "route=a" in self.headers.get("Cookie", ""):
            self._paid(body)
        else:
            self._answer(400, b"another machine")

    def _bare(self, body: bytes) -> None:
        self._answer(402, b"subscribe first")

    def _heavy(self, body: bytes) -> None:
        self._send_challenge(self.desk.challenge(bits=40))

    def _foreign(self, body: bytes) -> None:
        document = {**self.desk.challenge().to_document(), "algorithm": "argon2id"}
        self._answer(402, json.dumps({"challenge": document}).encode(), **{"Content-Type": PROBLEM_TYPE})

    def _broken(self, body: bytes) -> None:
        self._answer(402, b'{"challenge": {"bits": 4}}', **{"Content-Type": PROBLEM_TYPE})

    def _moved(self, body: bytes) -> None:
        self._answer(307, b"", Location=self.desk.target)

    def _paid_moved(self, body: bytes) -> None:
        if SOLUTION_HEADER in self.headers:
            self._moved(body)
        else:
            self._send_challenge(self.desk.challenge())

    def _fault(self, body: bytes) -> None:
        text = b'{"code": 404, "type": "ModelNotFoundException", "message": "Model not found:\\n echo\\u001b"}'
        self._answer(404, text, **{"Content-Type": "application/json"})

    def _large(self, body: bytes) -> None:
        problem = b'{"type": "urn:calpow:problem:too-large", "status": 413, "detail": "send at most 256 samples"}'
        self._answer(413, problem, **{"Content-Type": PROBLEM_TYPE})

    def _unexplained(self, body: bytes) -> None:
        problem = b'{"type": "urn:calpow:problem:explanation-refused", "status": 403, "detail": "ask for predictions"}'
        self._answer(403, problem, **{"Content-Type": PROBLEM_TYPE})

    def _sleepy(self, body: bytes) -> None:
        time.sleep(self.desk.seconds)
        self._paid(body)

    def _picky(self, body: bytes) -> None:
        if b"bad" in body:
            self._answer(400, b'{"detail": "the payload cannot be read"}', **{"Content-Type": PROBLEM_TYPE})
        else:
            self._paid(body)

    def _denied(self, body: bytes) -> None:
        problem = b'{"type": "urn:calpow:problem:identity-unknown", "detail": "unknown or revoked key"}'
        self._answer(401, problem, **{"Content-Type": PROBLEM_TYPE})

    def _absurd(self, body: bytes) -> None:
        self._send_document({**self.desk.challenge().to_document(), "bits": 60, "count": 1})

    def _unsigned(self, body: bytes) -> None:
        self._send_document({**self.desk.challenge().to_document(), "token": "no.token"})

    def _lengthy(self, body: bytes) -> None:
        document = self.desk.challenge().to_document()
        self._send_document({**document, "token": f"{document['token']:x<{MAX_TOKEN_LENGTH + 1}}"})

    def _send_document(self, document: dict[str, object]) -> None:
        self._answer(402, json.dumps({"challenge": document}).encode(), **{"Content-Type": PROBLEM_TYPE})

    def _hollow(self, body: bytes) -> None:
        text = b'{"type": "urn:calpow:problem:pow-required", "status": 402, "title": "Proof of work required"}'
        self._answer(402, text, **{"Content-Type": PROBLEM_TYPE})

    def _deaf(self, body: bytes) -> None:
        self._send_challenge(self.desk.challenge())

    def _keyless(self, body: bytes) -> None:
        self._answer(401, b'{"type": "urn:calpow:problem:identity-missing", "status": 401}')

    def _busy(self, body: bytes) -> None:
        if self.desk.refuse_now():
            after = {} if self.desk.retry_after is None else {"Retry-After": self.desk.retry_after}
            self._answer(self.desk.busy, b'{"code": 503, "message": "no room"}', **after)
        else:
            self._paid(body)

    def _slow(self, body: bytes) -> None:
        self._send_challenge(self.desk.challenge(bits=30, count=16))

    def _brief(self, body: bytes) -> None:
        self.desk.lifetime = 2.0
        self._slow(body)

    def _send_challenge(
        self, challenge: Challenge, kind: str = "pow-required", detail: str = "Find stamps.", **headers: str
    ) -> None:
        problem = {
            "type": f"urn:calpow:problem:{kind}",
            "title": "Proof of work required",
            "status": 402,
            "detail": detail,
            "challenge": challenge.to_document(),
        }
        headers |= {"Content-Type": PROBLEM_TYPE, "WWW-Authenticate": www_authenticate(REALM, challenge.token)}
        self._answer(402, json.dumps(problem).encode(), **headers)

    def _answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response_only(status)
        if self.desk.dated:
            self.send_header("Date", formatdate(self.desk.now(), usegmt=True))
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
