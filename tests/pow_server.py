"""A small HTTP server that really asks for work: it issues our challenges and verifies what comes back."""

import base64
import hashlib
import hmac
import json
import secrets
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from calpow.puzzle.challenge import (
    KEY_HEADER,
    NEXT_HEADER,
    PROBLEM_TYPE,
    SOLUTION_HEADER,
    Challenge,
    Prepaid,
    Solution,
    parse_solution,
    www_authenticate,
)
from calpow.puzzle.difficulty import puzzle_size
from calpow.puzzle.errors import PuzzleError, StaleStamp
from calpow.puzzle.prepaid import check_prepaid, prepaid_resource
from calpow.puzzle.profiles import Kind
from calpow.puzzle.puzzle import Puzzle

REALM = "echo@9f2c41"
# With these a command takes on work that it cannot end.
NO_LIMITS = ("--max-hashes", str(2**60), "--max-seconds", "1e9")


@dataclass(frozen=True)
class Seen:
    """One request as it arrived; header names in lower case."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class PowServer:
    """Answers a paid POST with the request's own body.

    The first part of the path picks the behaviour: paid, free, header (the challenge only in WWW-Authenticate),
    late (the first `refusals` solutions are refused as expired), cookie (answers only with the cookie that came
    with the challenge), bare (402 without a challenge), heavy, absurd, foreign, broken and unsigned (challenges that
    cannot be solved), moved and paid-moved (redirects to `target`, at once or after payment), fault (TorchServe's
    404), hollow (our 402 without its challenge), deaf and forgetful (no solution arrives; the challenge stays open, or
    is another each time), keyless (no key arrives), busy (the first `refusals` requests get `busy`, with
    `retry_after`), slow (a puzzle that takes seconds), brief (a second to solve it), priced (answers cost `price`
    hashes, paid beforehand or not, and say that the next costs `announced`; a payload's challenge stays open), sleepy
    (paid, and every response takes `seconds`), picky (paid, and 400 for a body with the word bad), denied (401).

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
    connections: int = 0
    at_once: int = 0
    most_at_once: int = 0
    seen: list[Seen] = field(default_factory=list)
    _secret: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    _open: set[str] = field(default_factory=set)
    _asked: dict[bytes, Challenge] = field(default_factory=dict)
    _spent: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def now(self) -> float:
        return time.time() + self.ahead

    def challenge(self, body: bytes, bits: int | None = None, count: int | None = None) -> Challenge:
        """Sign a challenge that is good for this body."""
        puzzle = Puzzle("hashcash-sha1", secrets.token_hex(16), bits or self.bits, count or self.count)
        expires = datetime.fromtimestamp(int(self.now() + self.lifetime), timezone.utc)
        claims = {
            "jti": puzzle.resource,
            "exp": int(expires.timestamp()),
            "dig": hashlib.sha256(body).hexdigest(),
            "algorithm": puzzle.algorithm,
            "bits": puzzle.bits,
            "count": puzzle.count,
        }
        signed = f"{_base64(b'{}')}.{_base64(json.dumps(claims).encode())}"
        with self._lock:
            self._open.add(puzzle.resource)
        return Challenge(f"{signed}.{self._signature(signed)}", puzzle, expires)

    def objection(self, header: str, body: bytes) -> str | None:
        """Verify and spend a solution; return what is wrong with it."""
        try:
            solution = parse_solution(header)
            assert isinstance(solution, Solution)
            signed, _, signature = solution.token.rpartition(".")
            if not hmac.compare_digest(signature, self._signature(signed)):
                return "forged"
            challenge = Challenge.from_token(solution.token)
            challenge.puzzle.verify(solution.stamps)
        except PuzzleError as error:
            return str(error)
        claims = json.loads(base64.urlsafe_b64decode(signed.split(".")[1] + "=="))
        if claims["dig"] != hashlib.sha256(body).hexdigest():
            return "this token is for another payload"
        with self._lock:
            if challenge.puzzle.resource not in self._open:
                return "this challenge is spent"
            self._open.remove(challenge.puzzle.resource)
        return None

    def open_challenge(self, body: bytes) -> Challenge:
        """The challenge for this body, the same until it is paid."""
        with self._lock:
            known = self._asked.get(body)
        if known is None:
            known = self._asked[body] = self.challenge(body, *puzzle_size(self.price))
        return known

    def paid_beforehand(self, stamps: Sequence[str], key: str, challenge: Challenge) -> str | None:
        """The problem with prepaid stamps, by its name."""
        try:
            work = check_prepaid(stamps, Kind("hashcash-sha1"), prepaid_resource(REALM, key), self.now())
        except StaleStamp:
            return "challenge-expired"
        except PuzzleError:
            return "invalid-solution"
        with self._lock:
            if self._spent.intersection(work.ids):
                return "challenge-spent"
            if work.hashes < challenge.puzzle.expected_hashes:
                return "pow-required"
            self._spent.update(work.ids)
        return None

    def close_challenge(self, body: bytes) -> None:
        self._asked.pop(body, None)

    def refuse_now(self) -> bool:
        """Count down the refusals of `late`."""
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
    request_queue_size = 64
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
        solution = self.headers.get(SOLUTION_HEADER)
        objection = "no solution" if solution is None else self.desk.objection(solution, body)
        if objection is None:
            self._answer(200, body)
        else:
            self._ask(body, objection)

    def _free(self, body: bytes) -> None:
        self._answer(200, body)

    def _header(self, body: bytes) -> None:
        if SOLUTION_HEADER in self.headers:
            self._paid(body)
        else:
            token = self.desk.challenge(body).token
            self._answer(402, b"pay", **{"WWW-Authenticate": f"Basic, {www_authenticate(REALM, token)}"})

    def _late(self, body: bytes) -> None:
        if SOLUTION_HEADER in self.headers and self.desk.refuse_now():
            self._ask(body, "the challenge has expired:\nask again", problem="challenge-expired")
        else:
            self._paid(body)

    def _cookie(self, body: bytes) -> None:
        if SOLUTION_HEADER not in self.headers:
            self._ask(body, "no solution", **{"Set-Cookie": "route=a"})
        elif "route=a" in self.headers.get("Cookie", ""):
            self._paid(body)
        else:
            self._answer(400, b"another machine")

    def _bare(self, body: bytes) -> None:
        self._answer(402, b"subscribe first")

    def _heavy(self, body: bytes) -> None:
        self._send_challenge(self.desk.challenge(body, bits=40), "no solution", {})

    def _foreign(self, body: bytes) -> None:
        document = {**self.desk.challenge(body).to_document(), "algorithm": "argon2id"}
        self._answer(402, json.dumps({"challenge": document}).encode(), **{"Content-Type": PROBLEM_TYPE})

    def _broken(self, body: bytes) -> None:
        self._answer(402, b'{"challenge": {"bits": 4}}', **{"Content-Type": PROBLEM_TYPE})

    def _moved(self, body: bytes) -> None:
        self._answer(307, b"", Location=self.desk.target)

    def _paid_moved(self, body: bytes) -> None:
        if SOLUTION_HEADER in self.headers:
            self._moved(body)
        else:
            self._ask(body, "no solution")

    def _fault(self, body: bytes) -> None:
        text = b'{"code": 404, "type": "ModelNotFoundException", "message": "Model not found:\\n echo\\u001b"}'
        self._answer(404, text, **{"Content-Type": "application/json"})

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
        self._send_document({**self.desk.challenge(body).to_document(), "bits": 60, "count": 1})

    def _unsigned(self, body: bytes) -> None:
        self._send_document({**self.desk.challenge(body).to_document(), "token": "no.token"})

    def _send_document(self, document: dict[str, object]) -> None:
        self._answer(402, json.dumps({"challenge": document}).encode(), **{"Content-Type": PROBLEM_TYPE})

    def _hollow(self, body: bytes) -> None:
        text = b'{"type": "urn:calpow:problem:pow-required", "status": 402, "title": "Proof of work required"}'
        self._answer(402, text, **{"Content-Type": PROBLEM_TYPE})

    def _deaf(self, body: bytes) -> None:
        self._send_challenge(self.desk.open_challenge(body), "Find stamps.", {})

    def _forgetful(self, body: bytes) -> None:
        self._ask(body, "Find stamps.")

    def _keyless(self, body: bytes) -> None:
        self._answer(401, b'{"type": "urn:calpow:problem:identity-missing", "status": 401}')

    def _busy(self, body: bytes) -> None:
        if self.desk.refuse_now():
            after = {} if self.desk.retry_after is None else {"Retry-After": self.desk.retry_after}
            self._answer(self.desk.busy, b'{"code": 503, "message": "no room"}', **after)
        else:
            self._paid(body)

    def _slow(self, body: bytes) -> None:
        self._send_challenge(self.desk.challenge(body, bits=30, count=16), "no solution", {})

    def _brief(self, body: bytes) -> None:
        self.desk.lifetime = 2.0
        self._slow(body)

    def _priced(self, body: bytes) -> None:
        desk, header = self.desk, self.headers.get(SOLUTION_HEADER)
        challenge, problem = desk.open_challenge(body), "pow-required"
        if header is not None:
            solution = parse_solution(header)
            if isinstance(solution, Prepaid):
                key = self.headers.get(KEY_HEADER, "")
                objection = problem = desk.paid_beforehand(solution.stamps, key, challenge) or ""
            else:
                objection, problem = desk.objection(header, body) or "", "invalid-solution"
            if not objection:
                desk.close_challenge(body)
                announced = desk.price if desk.announced is None else desk.announced
                self._answer(200, body, **{NEXT_HEADER: str(announced)})
                return
        self._send_challenge(challenge, "Find stamps.", {}, problem)

    def _ask(self, body: bytes, detail: str, problem: str = "pow-required", **headers: str) -> None:
        self._send_challenge(self.desk.challenge(body), detail, headers, problem)

    def _send_challenge(
        self, challenge: Challenge, detail: str, headers: dict[str, str], kind: str = "pow-required"
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
