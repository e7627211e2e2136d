"""The settings of the tests' PoW server, and the requests that it has received."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from calpow.puzzle.puzzle import puzzle_size
from calpow.puzzle.wire import KEY_HEADER, SOLUTION_HEADER
from tests.support.pow_issuer import Issuer


@dataclass(frozen=True)
class ReceivedRequest:
    """One request as it arrived; header names in lower case."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def key(self) -> str:
        return self.headers.get(KEY_HEADER.lower(), "")

    @property
    def solution(self) -> str | None:
        """PoW-Solution, unless the query says that it is dropped on the way."""
        return None if self.path.endswith("?dropped") else self.headers.get(SOLUTION_HEADER.lower())


@dataclass
class PowServer(Issuer):
    """A server that asks for work. A test may change these settings at any time; the path of a request selects one of
    the routes in `pow_routes`.

    refusals: how many more requests a route refuses that refuses some.
    target: where redirects lead.
    seconds: how long a slow response takes.
    delay: seconds before a priced route responds.
    dated: whether responses have a Date.
    busy, retry_after: status and Retry-After of a busy server's response; None for no such header.
    price: hashes that the priced routes ask for, and announce unless `announced` is set.
    due: hashes that an answer of the dear route turns out to cost.
    connections: how many were opened.
    concurrent, max_concurrent: requests that are handled now, and the most that were at once.
    """

    url: str = ""
    refusals: int = 1
    target: str = ""
    seconds: float = 0.1
    delay: float = 0.0
    dated: bool = True
    busy: int = 503
    retry_after: str | None = "1"
    price: int = 1024
    announced: int | None = None
    due: int = 0
    connections: int = 0
    concurrent: int = 0
    max_concurrent: int = 0
    requests: list[ReceivedRequest] = field(default_factory=list)

    def price_in_whole_stamps(self) -> int:
        """The price as a challenge can ask for it."""
        bits, count = puzzle_size(self.price)
        return count << bits

    def refuses_once_more(self) -> bool:
        """Count down the refusals."""
        with self._lock:
            self.refusals -= 1
            return self.refusals >= 0

    @contextmanager
    def counting_concurrency(self) -> Iterator[None]:
        """Count the requests that are handled at once."""
        with self._lock:
            self.concurrent += 1
            self.max_concurrent = max(self.max_concurrent, self.concurrent)
        try:
            yield
        finally:
            with self._lock:
                self.concurrent -= 1

    def paths(self) -> list[str]:
        return [request.path for request in self.requests]
