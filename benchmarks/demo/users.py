"""Users of a protected model, honest and not: the queries that they send, and what the answers cost them."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import requests

from calpow.client import PowAuth
from calpow.puzzle.stamp import Stamp
from calpow.puzzle.wire import SOLUTION_HEADER

TIMEOUT = 60.0


@dataclass(frozen=True)
class ComparedQuery:
    """A query answered with and without the gate: seconds, expected hashes, and whether both answers are the same."""

    protected_seconds: float
    unprotected_seconds: float
    expected_hashes: int
    same_answer: bool


@dataclass(frozen=True)
class UserHistory:
    """The answered queries of one user."""

    name: str
    honest: bool
    queries: list[ComparedQuery] = field(default_factory=list)

    def last(self, count: int) -> "UserHistory":
        """Return the history of the last `count` queries."""
        return UserHistory(self.name, self.honest, self.queries[-count:])

    @property
    def protected_seconds(self) -> float:
        """Seconds of all queries with the gate, end to end."""
        return sum(query.protected_seconds for query in self.queries)

    @property
    def unprotected_seconds(self) -> float:
        """Seconds of the same queries without the gate."""
        return sum(query.unprotected_seconds for query in self.queries)

    @property
    def multiple(self) -> float:
        """The time with the gate over the time without it, end to end."""
        return self.protected_seconds / self.unprotected_seconds

    @property
    def matching(self) -> int:
        """Number of answers that equal the unprotected victim's, byte for byte."""
        return sum(query.same_answer for query in self.queries)

    def cumulative_hashes(self) -> list[int]:
        """Return the work of the first query, of the first two, and so on."""
        sums, total = [], 0
        for query in self.queries:
            total += query.expected_hashes
            sums.append(total)
        return sums


class TwoWayClient:
    """Client that sends every payload to the unprotected and to the protected model, over kept connections."""

    def __init__(self, protected: str, unprotected: str, key: str) -> None:
        self._protected = protected
        self._unprotected = unprotected
        self._session = requests.Session()
        self._plain = requests.Session()
        self._session.auth = PowAuth(key)

    def ask(self, payload: bytes) -> ComparedQuery:
        """Send one payload both ways. Raises requests.HTTPError when either is not answered."""
        start = time.perf_counter()
        plain = self._plain.post(self._unprotected, data=payload, timeout=TIMEOUT)
        middle = time.perf_counter()
        paid = self._session.post(self._protected, data=payload, timeout=TIMEOUT)
        end = time.perf_counter()
        plain.raise_for_status()
        paid.raise_for_status()
        return ComparedQuery(end - middle, middle - start, _hashes(paid), paid.content == plain.content)


def run(
    record: UserHistory,
    client: TwoWayClient,
    payloads: Sequence[bytes],
    seconds: float,
    watch: Callable[[UserHistory], None],
) -> None:
    """Send payloads in order until all are sent or `seconds` have passed; `watch` is called after each of them."""
    deadline = time.monotonic() + seconds
    for payload in payloads:
        record.queries.append(client.ask(payload))
        watch(record)
        if time.monotonic() > deadline:
            return


def _hashes(answer: requests.Response) -> int:
    """Return the expected hashes of all stamps sent for an answer, including prepaid ones that did not suffice."""
    sent = [response.request.headers.get(SOLUTION_HEADER, "") for response in (*answer.history, answer)]
    return sum(1 << Stamp.parse(stamp).bits for header in sent for stamp in str(header).split()[1:])
