"""Users of a protected model, honest and not: what they send, and what each answer took them."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import requests

from calpow.client import PowAuth
from calpow.puzzle.stamp import Stamp
from calpow.puzzle.wire import SOLUTION_HEADER

TIMEOUT = 60.0


@dataclass(frozen=True)
class Query:
    """One answered query: seconds with and without the defence, hashes it took in the mean, and whether they agree."""

    protected_seconds: float
    unprotected_seconds: float
    expected_hashes: int
    same_answer: bool


@dataclass(frozen=True)
class Record:
    """What one user went through."""

    name: str
    honest: bool
    queries: list[Query] = field(default_factory=list)

    def last(self, count: int) -> "Record":
        """The same of the last queries alone."""
        return Record(self.name, self.honest, self.queries[-count:])

    @property
    def protected_seconds(self) -> float:
        """Seconds of all queries with the defence, end to end."""
        return sum(query.protected_seconds for query in self.queries)

    @property
    def unprotected_seconds(self) -> float:
        """Seconds of the same queries without it."""
        return sum(query.unprotected_seconds for query in self.queries)

    @property
    def multiple(self) -> float:
        """How many times longer the defence made it, end to end."""
        return self.protected_seconds / self.unprotected_seconds

    @property
    def matching(self) -> int:
        """Answers that are the unprotected victim's, byte for byte."""
        return sum(query.same_answer for query in self.queries)

    def cumulative_hashes(self) -> list[int]:
        """Work of the first query, the first two, and so on."""
        sums, total = [], 0
        for query in self.queries:
            total += query.expected_hashes
            sums.append(total)
        return sums


class Caller:
    """Sends payloads to the protected and to the unprotected model, side by side, on connections kept alive."""

    def __init__(self, protected: str, unprotected: str, key: str) -> None:
        self._protected = protected
        self._unprotected = unprotected
        self._session = requests.Session()
        self._plain = requests.Session()
        self._session.auth = PowAuth(key)

    def ask(self, payload: bytes) -> Query:
        """Send one payload both ways. Raises requests.HTTPError when either is not answered."""
        start = time.perf_counter()
        plain = self._plain.post(self._unprotected, data=payload, timeout=TIMEOUT)
        middle = time.perf_counter()
        paid = self._session.post(self._protected, data=payload, timeout=TIMEOUT)
        end = time.perf_counter()
        plain.raise_for_status()
        paid.raise_for_status()
        return Query(end - middle, middle - start, _hashes(paid), paid.content == plain.content)


def run(
    record: Record,
    caller: Caller,
    payloads: Sequence[bytes],
    seconds: float,
    watch: Callable[[Record], None],
) -> None:
    """Ask payload after payload until they are used up or `seconds` have gone by."""
    deadline = time.monotonic() + seconds
    for payload in payloads:
        record.queries.append(caller.ask(payload))
        watch(record)
        if time.monotonic() > deadline:
            return


def _hashes(answer: requests.Response) -> int:
    """Expected hashes of every stamp that was sent for an answer, prepaid ones that were not enough too."""
    sent = [each.request.headers.get(SOLUTION_HEADER, "") for each in (*answer.history, answer)]
    return sum(1 << Stamp.parse(stamp).bits for header in sent for stamp in str(header).split()[1:])
