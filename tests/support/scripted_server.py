"""A web server whose answers a test scripts; it also serves client/js and an empty page."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from benchmarks.demo.pages import CLIENT_FOLDER
from calpow.puzzle.wire import parse_solution
from tests.support.shared_cases import puzzle_of

TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJqdGkiOiIwIn0.c2lnbmF0dXJl"

Answer = tuple[int, object, dict[str, str]]  # status, body (text, or what is sent as JSON), headers


def challenge(**changes: object) -> dict[str, object]:
    """Return a challenge of 16 stamps of 4 bits that expires in a minute."""
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
    """Return the time so many seconds from now, as on the wire."""
    return (datetime.now(timezone.utc) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass
class ScriptedServer:
    """A server with an origin of its own.

    answer: the function from the headers of a POST to its answer.
    requests: the headers of all POSTs, in lower case, with the path as "path".
    policy: the Content-Security-Policy of the empty page.
    """

    url: str = ""
    answer: Callable[[Mapping[str, str]], Answer] = lambda headers: (200, "free", {})
    requests: list[dict[str, str]] = field(default_factory=list)
    policy: str = ""

    def challenge_always(self, **changes: object) -> None:
        """Answer every request with this challenge, with or without a solution."""
        self.answer = lambda headers: (402, {"detail": "do\nthe work", "challenge": challenge(**changes)}, {})

    def challenge_in_turn(self, *documents: Mapping[str, object], paid: object = "paid") -> None:
        """Answer a request without a solution with the first challenge, its solution with the next one, and so on.

        Every challenge needs a token of its own. The solution of the last one is answered with `paid`.
        """

        def answer(headers: Mapping[str, str]) -> Answer:
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

    def challenge_once(self, **changes: object) -> None:
        """Answer a request without a solution with this challenge, and verify the solution."""
        document = challenge(**changes)

        def answer(headers: Mapping[str, str]) -> Answer:
            if "pow-solution" not in headers:
                return 402, {"challenge": document}, {}
            solution = parse_solution(headers["pow-solution"])
            puzzle_of(document).verify(solution.stamps)
            return 200, "paid", {}

        self.answer = answer

    @property
    def solutions(self) -> int:
        """The number of requests with a solution."""
        return sum("pow-solution" in headers for headers in self.requests)


@contextmanager
def scripted_server() -> Iterator[ScriptedServer]:
    """Run a server until the block ends."""
    script = ScriptedServer()
    http = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"script": script}))
    http.daemon_threads = True
    script.url = f"http://127.0.0.1:{http.server_port}"
    thread = Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield script
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    script: ScriptedServer

    def do_GET(self) -> None:  # the name the base class looks for
        file = CLIENT_FOLDER / self.path.strip("/")
        if file.is_file():
            self._send(200, file.read_bytes(), {"Content-Type": "text/javascript"})
        else:
            headers = {"Content-Type": "text/html"}
            if self.script.policy:
                headers["Content-Security-Policy"] = self.script.policy
            self._send(200, b"<!doctype html><title>empty</title>", headers)

    def do_OPTIONS(self) -> None:
        self._send(204, b"", {"Access-Control-Allow-Headers": "X-Api-Key, PoW-Solution, Content-Type"})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.script.requests.append({**headers, "path": self.path})
        status, body, own_headers = self.script.answer(headers)
        self._send(status, body.encode() if isinstance(body, str) else json.dumps(body).encode(), own_headers)

    def _send(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Access-Control-Allow-Origin": "*", **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass
