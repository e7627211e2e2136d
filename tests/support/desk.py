"""A web site that a test scripts: client/js, an empty page, and whatever answers it is told to give."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from benchmarks.pages import FOLDER
from calpow.puzzle.algorithms import ScryptCost
from calpow.puzzle.puzzle import Puzzle
from calpow.puzzle.wire import parse_solution

TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJqdGkiOiIwIn0.c2lnbmF0dXJl"


def challenge(**changes: object) -> dict[str, object]:
    """A challenge of 16 stamps of 4 bits that is good for a minute."""
    return {
        "token": TOKEN,
        "id": "0ac4f841197bd368",
        "algorithm": "hashcash-sha1",
        "bits": 4,
        "count": 16,
        "expires": in_seconds(60),
        **changes,
    }


def in_seconds(seconds: float) -> str:
    """A time on the wire."""
    return (datetime.now(timezone.utc) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def puzzle_of(document: Mapping[str, Any]) -> Puzzle:
    cost = ScryptCost(document["n"], document["r"], document["p"]) if document["algorithm"] == "scrypt" else None
    return Puzzle(document["algorithm"], document["id"], document["bits"], document["count"], cost)


@dataclass
class Desk:
    """A site of its own: client/js, an empty page, and whatever answers a test scripts."""

    url: str = ""
    answer: Callable[[Mapping[str, str]], tuple[int, object, dict[str, str]]] = lambda headers: (200, "free", {})
    seen: list[dict[str, str]] = field(default_factory=list)
    policy: str = ""

    def asks(self, **changes: object) -> None:
        """Answer every request without a solution, and every one with it, with this challenge."""
        self.answer = lambda headers: (402, {"detail": "do\nthe work", "challenge": challenge(**changes)}, {})

    def asks_in_turn(self, *documents: Mapping[str, object], paid: object = "paid") -> None:
        """Answer a request without a solution with the first challenge, one with its solution with the next, and so on.

        Every challenge has a token of its own; the solution of the last one is `paid`.
        """

        def answer(headers: Mapping[str, str]) -> tuple[int, object, dict[str, str]]:
            tokens = [document["token"] for document in documents]
            token, *stamps = headers.get("pow-solution", "").split() or [""]
            solved = tokens.index(token) + 1 if token else 0
            if solved:
                puzzle_of(documents[solved - 1]).verify(stamps)
            if solved == len(documents):
                return 200, paid, {}
            kind = "more-required" if solved else "pow-required"
            return 402, {"type": f"urn:calpow:problem:{kind}", "challenge": documents[solved]}, {}

        self.answer = answer

    def asks_once(self, **changes: object) -> None:
        """Verify what answers this challenge."""
        document = challenge(**changes)

        def answer(headers: Mapping[str, str]) -> tuple[int, object, dict[str, str]]:
            if "pow-solution" not in headers:
                return 402, {"challenge": document}, {}
            solution = parse_solution(headers["pow-solution"])
            puzzle_of(document).verify(solution.stamps)
            return 200, "paid", {}

        self.answer = answer

    @property
    def solved(self) -> int:
        """How many solutions have come."""
        return sum("pow-solution" in headers for headers in self.seen)


@contextmanager
def desk_running() -> Iterator[Desk]:
    desk = Desk()
    http = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"desk": desk}))
    http.daemon_threads = True
    desk.url = f"http://127.0.0.1:{http.server_port}"
    thread = Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield desk
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    desk: Desk

    def do_GET(self) -> None:  # the name the base class looks for
        file = FOLDER / self.path.strip("/")
        if file.is_file():
            self._send(200, file.read_bytes(), {"Content-Type": "text/javascript"})
        else:
            headers = {"Content-Type": "text/html"}
            if self.desk.policy:
                headers["Content-Security-Policy"] = self.desk.policy
            self._send(200, b"<!doctype html><title>empty</title>", headers)

    def do_OPTIONS(self) -> None:
        self._send(204, b"", {"Access-Control-Allow-Headers": "X-Api-Key, PoW-Solution, Content-Type"})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.desk.seen.append({**headers, "path": self.path})
        status, said, own = self.desk.answer(headers)
        self._send(status, said.encode() if isinstance(said, str) else json.dumps(said).encode(), own)

    def _send(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Access-Control-Allow-Origin": "*", **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass
