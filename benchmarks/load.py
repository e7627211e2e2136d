"""Answered queries a second, unprotected and protected, on one real TorchServe.

Two views. *Users*: each connection is a process of its own that asks as a user does, with `requests` and PowAuth, and
solves what it is asked; clients and server share the machine. *Server*: a light client fetches challenges, they are
solved while the server rests, then the solutions are redeemed; only the server's part is timed.
"""

import itertools
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import requests

from benchmarks.wire import burst, request
from calpow.client import PowAuth
from calpow.handler.ledger import open_ledger
from calpow.puzzle.challenge import KEY_HEADER, SOLUTION_HEADER, Challenge, format_solution
from calpow.puzzle.solver import solve

CONNECTIONS = (1, 8)
ROUNDS = 5
USER_SECONDS = 1.5
# Processes that ask at once are told when to begin, so far ahead.
HEAD_START = 0.3
QUERIES = 240
# An account may have 64 challenges open.
QUERIES_AN_ACCOUNT = 48
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
    client_share: float

    @property
    def protected(self) -> float:
        """Answered queries a second: each takes one challenge and one redemption."""
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
        plain, protected = self._site.unprotected, self._site.protected
        bodies = self._take(QUERIES)
        accounts = self._keys(-(-QUERIES // QUERIES_AN_ACCOUNT))
        keys = [accounts[index // QUERIES_AN_ACCOUNT] for index in range(QUERIES)]
        wall, cpu = time.perf_counter(), time.process_time()
        answered = burst(plain, [request(plain, body, {}) for body in bodies], connections, 200)
        share = (time.process_time() - cpu) / (time.perf_counter() - wall)
        asking = [request(protected, body, {KEY_HEADER: key}) for body, key in zip(bodies, keys, strict=True)]
        challenged = burst(protected, asking, connections, 402)
        solutions = self._pool.map(solve_problem, [answer.body for answer in challenged.answers], chunksize=20)
        paying = [
            request(protected, body, {KEY_HEADER: key, SOLUTION_HEADER: solution})
            for body, key, solution in zip(bodies, keys, solutions, strict=True)
        ]
        redeemed = burst(protected, paying, connections, 200)
        return Served(answered.rate, challenged.rate, redeemed.rate, share)

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


def solve_problem(problem: bytes) -> str:
    """The header value that answers the challenge in a 402's body."""
    challenge = Challenge.from_problem(problem)
    return format_solution(challenge.token, solve(challenge.puzzle))
