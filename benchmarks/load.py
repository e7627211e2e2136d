"""Answered queries a second, unprotected and protected, on one real TorchServe.

Two views. *Users*: each connection is a process of its own that asks as a user does, with `requests` and PowAuth, and
solves what it is asked (beforehand, once it knows the price); clients and server share the machine. *Server*: a light
client fetches challenges, they are solved while the server rests, then the solutions are redeemed; the same for stamps
that are prepaid. Only the server's part is timed.
"""

import itertools
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import requests

from benchmarks.wire import Burst, burst, request
from calpow.client import PowAuth
from calpow.handler.ledger import open_ledger
from calpow.puzzle.prepaid import prepaid_resource
from calpow.puzzle.puzzle import Puzzle
from calpow.puzzle.solving.solver import solve
from calpow.puzzle.wire import (
    KEY_HEADER,
    SOLUTION_HEADER,
    Challenge,
    find_realm,
    format_prepaid,
    format_solution,
)

CONNECTIONS = (1, 8)
ROUNDS = 5
USER_SECONDS = 1.5
# Processes that ask at once are told when to begin, so far ahead.
HEAD_START = 0.3
QUERIES = 240
# A few honest answers turn out dearer than their account's past, and are withheld, after the same work of the server.
MOST_WITHHELD = 0.1
TIMEOUT = 30.0


@dataclass(frozen=True)
class Site:
    """Where the same model is served without and with the gate (URLs), the gate's ledger, and what users send."""

    unprotected: str
    protected: str
    ledger: str
    payloads: Sequence[bytes]


@dataclass(frozen=True)
class Asked:
    """A user's job: ask `url` for so many seconds from a moment on (seconds since the epoch)."""

    url: str
    key: str | None
    payloads: Sequence[bytes]
    begin: float
    seconds: float


@dataclass(frozen=True)
class Served:
    """What the server did in one round, answers a second; `client_share` is the light client's part of one core."""

    unprotected: float
    challenges: float
    redemptions: float
    prepaid: float
    client_share: float

    @property
    def interactive(self) -> float:
        """Answered queries a second that take one challenge and one redemption each."""
        return 1 / (1 / self.challenges + 1 / self.redemptions)


@dataclass(frozen=True)
class Round:
    """One round at one number of connections: users' answers a second, and the server's."""

    connections: int
    unprotected: float
    protected: float
    server: Served


def measure(site: Site) -> list[Round]:
    """Rounds of everything in turn, so that other load on the machine falls on all alike; the first is thrown away.

    Raises BadAnswer or requests.RequestException when an honest query is not answered.
    """
    with ProcessPoolExecutor(max(CONNECTIONS), mp_context=get_context("spawn")) as pool:
        load = Load(site, pool)
        rounds = [load.round(connections) for _ in range(1 + ROUNDS) for connections in CONNECTIONS]
    return rounds[len(CONNECTIONS) :]


class Load:
    """Loads a site in both ways; `pool` has a process for each connection."""

    def __init__(self, site: Site, pool: ProcessPoolExecutor) -> None:
        self._site = site
        self._pool = pool
        self._ledger = open_ledger(site.ledger)
        self._payloads = itertools.cycle(site.payloads)

    def round(self, connections: int) -> Round:
        """One round of both views."""
        shares = [self._take(QUERIES) for _ in range(connections)]
        unprotected = self._users(self._site.unprotected, [None] * connections, shares)
        protected = self._users(self._site.protected, self._keys(connections), shares)
        return Round(connections, unprotected, protected, self._server(connections))

    def _users(self, url: str, keys: Sequence[str | None], shares: Sequence[Sequence[bytes]]) -> float:
        begin = time.time() + HEAD_START
        jobs = [Asked(url, key, share, begin, USER_SECONDS) for key, share in zip(keys, shares, strict=True)]
        return sum(self._pool.map(ask_as_a_user, jobs))

    def _server(self, connections: int) -> Served:
        plain = self._site.unprotected
        wall, cpu = time.perf_counter(), time.process_time()
        answered = burst(plain, [request(plain, body, {}) for body in self._take(QUERIES)], connections, 200)
        share = (time.process_time() - cpu) / (time.perf_counter() - wall)
        # An account a query: the price is the one at the time of use, and one's first answer changes the next one's.
        orders = list(zip(self._keys(QUERIES), self._take(QUERIES), strict=True))
        challenged = burst(self._site.protected, [self._post(*order) for order in orders], connections, 402)
        solutions = self._pool.map(solve_challenge, [answer.body for answer in challenged.answers], chunksize=20)
        redeemed = self._pay(connections, orders, solutions)
        orders = list(zip(self._keys(QUERIES), self._take(QUERIES), strict=True))
        offer = challenged.answers[0].header("WWW-Authenticate")
        stamps = self._pool.map(prepay, [key for key, _ in orders], itertools.repeat(offer), chunksize=20)
        prepaid = self._pay(connections, orders, stamps)
        return Served(answered.rate, challenged.rate, redeemed.rate, prepaid.rate, share)

    def _pay(self, connections: int, orders: Sequence[tuple[str, bytes]], solutions: Iterable[str]) -> Burst:
        paying = [self._post(*order, solution) for order, solution in zip(orders, solutions, strict=True)]
        return burst(self._site.protected, paying, connections, 200, others={402: MOST_WITHHELD})

    def _post(self, key: str, body: bytes, solution: str | None = None) -> bytes:
        paid = {} if solution is None else {SOLUTION_HEADER: solution}
        return request(self._site.protected, body, {KEY_HEADER: key} | paid)

    def _take(self, count: int) -> list[bytes]:
        return list(itertools.islice(self._payloads, count))

    def _keys(self, count: int) -> list[str]:
        """Keys of as many new accounts."""
        return [self._ledger.add_key(f"user-{time.time_ns()}") for _ in range(count)]


def ask_as_a_user(job: Asked) -> float:
    """Answers a second of one user with one connection. Raises requests.HTTPError when one is refused."""
    with requests.Session() as session:
        session.auth = PowAuth(job.key) if job.key else None
        time.sleep(max(0.0, job.begin - time.time()))
        begun = time.perf_counter()
        for answered, payload in enumerate(itertools.cycle(job.payloads)):
            spent = time.perf_counter() - begun
            if spent >= job.seconds:
                return answered / spent
            session.post(job.url, data=payload, timeout=TIMEOUT).raise_for_status()
    raise AssertionError


def solve_challenge(problem: bytes) -> str:
    """The header value that answers the challenge in a 402's body."""
    challenge = Challenge.from_problem(problem)
    return format_solution(challenge.token, solve(challenge.puzzle))


def prepay(key: str, offer: str) -> str:
    """The header value that pays beforehand for a query like the one offered in this WWW-Authenticate header.

    Twice the work: an honest account's price varies a little, and only the number of stamps is the server's matter.
    """
    puzzle = Challenge.from_www_authenticate(offer).puzzle
    resource = prepaid_resource(find_realm(offer) or "", key)
    return format_prepaid(solve(Puzzle(puzzle.algorithm, resource, puzzle.bits + 1, puzzle.count)))
