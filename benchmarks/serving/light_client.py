"""Light HTTP client: sends prepared bytes and reads whole answers, in a small part of the server's time."""

import socket
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import urlsplit

TIMEOUT = 30.0
PIECE = 65_536


class BadAnswer(Exception):
    """The server answered with an unexpected status, or not at all."""


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """An answer: its status, head and body, and the seconds until all of it had arrived."""

    status: int
    head: str
    body: bytes
    seconds: float

    def header(self, name: str) -> str:
        """Return a header's value, or an empty string when there is none."""
        for line in self.head.splitlines():
            found, _, value = line.partition(":")
            if found.lower() == name.lower():
                return value.strip()
        return ""


@dataclass(frozen=True, slots=True)
class Burst:
    """Answers in the order of their requests, and the seconds until the last had arrived."""

    answers: tuple[HttpAnswer, ...]
    seconds: float

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.answers) / self.seconds


def request(url: str, body: bytes, headers: Mapping[str, str]) -> bytes:
    """The bytes of a POST request."""
    parts = urlsplit(url)
    lines = [f"POST {parts.path} HTTP/1.1", f"Host: {parts.netloc}", "Content-Type: application/octet-stream"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    lines += [f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode("ascii") + body


class Connection:
    """One connection at a time, kept for as long as the server keeps it; from the address `source`, if it is given."""

    def __init__(self, url: str, source: str = "") -> None:
        parts = urlsplit(url)
        self._address = (parts.hostname or "", parts.port or 80)
        self._source = (source, 0)
        self._socket: socket.socket | None = None

    def close(self) -> None:
        """Let go of the server."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def ask(self, sent: bytes) -> HttpAnswer:
        """Send a request and wait for the whole answer. Raises BadAnswer when the server hangs up before that."""
        begun = time.perf_counter()
        if self._socket is None:
            self._socket = socket.create_connection(self._address, TIMEOUT, self._source)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.sendall(sent)
        head, body = self._receive(self._socket)
        seconds = time.perf_counter() - begun
        answer = HttpAnswer(int(head[9:12]), head.decode("latin-1"), body, seconds)
        if answer.header("Connection").lower() == "close":
            self.close()
        return answer

    def _receive(self, incoming: socket.socket) -> tuple[bytes, bytes]:
        data = self._more(incoming)
        while (end := data.find(b"\r\n\r\n")) < 0:
            data += self._more(incoming)
        head, body = data[:end], data[end + 4 :]
        size = int(head.lower().partition(b"\r\ncontent-length:")[2].split(b"\r\n", 1)[0])
        while len(body) < size:
            body += self._more(incoming)
        return head, body

    def _more(self, incoming: socket.socket) -> bytes:
        data = incoming.recv(PIECE)
        if not data:
            self.close()
            raise BadAnswer("the server closed the connection in the middle of an answer: see its log")
        return data


def burst(
    url: str,
    requests: Sequence[bytes],
    connections: int,
    status: int,
    others: Mapping[int, float] | None = None,
    source: str = "",
) -> Burst:
    """Send requests over so many connections at once, each as fast as it is answered.

    `source` is the address that they come from, any by default. `others` are statuses that answers may have instead,
    and in which share of them at most. Raises BadAnswer for answers of other statuses, or for more of them.
    """
    shares = [requests[first::connections] for first in range(connections)]
    with ThreadPoolExecutor(connections) as pool:
        begun = time.perf_counter()
        made = list(pool.map(lambda share: _ask_all(url, share, source), shares))
        seconds = time.perf_counter() - begun
    answers = tuple(made[index % connections][index // connections] for index in range(len(requests)))
    shares_of = Counter(answer.status for answer in answers)
    for answer in answers:
        most = 1.0 if answer.status == status else (others or {}).get(answer.status, 0.0)
        if shares_of[answer.status] > most * len(answers):
            raise BadAnswer(f"{url} answered {answer.status} instead of {status}: {answer.body[:300]!r}")
    return Burst(answers, seconds)


def _ask_all(url: str, requests: Sequence[bytes], source: str) -> list[HttpAnswer]:
    connection = Connection(url, source)
    try:
        return [connection.ask(sent) for sent in requests]
    finally:
        connection.close()
