"""Answered queries a second, unprotected and protected, on one real TorchServe.

Two views. *Users*: each connection is a process of its own that asks as a user does, with `requests` and PowAuth, and
solves what it is asked; clients and server share the machine. *Server*: a light client fetches challenges, they are
solved while the server rests, then the solutions are redeemed; only the server's part is timed.
"""

import itertools
import statistics
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import requests

from benchmarks.wire import burst, request
from calpow.client import PowAuth
from calpow.handler.ledger.base import Ledger
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
    """Where the same model is served, without and with the gate, and what honest users send it."""

    unprotected: str
    protected: str
    ledger: Ledger
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
    """What the server did in one round: answers a second, and the median seconds of one request."""

    unprotected: float
    challenges: float
    redemptions: float
    unprotected_seconds: float
    challenge_seconds: float
    redemption_seconds: float
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
    """Rounds of everything in turn, so that other load on the machine falls on all alike; the first is thrown away."""
    payloads = itertools.cycle(site.payloads)
    with ProcessPoolExecutor(max(CONNECTIONS), mp_context=get_context("spawn")) as pool:
        rounds = [_round(site, pool, connections, payloads) for _ in range(1 + ROUNDS) for connections in CONNECTIONS]
    return rounds[len(CONNECTIONS) :]


def _round(site: Site, pool: ProcessPoolExecutor, connections: int, payloads: Iterator[bytes]) -> Round:
    shares = [[next(payloads) for _ in range(QUERIES)] for _ in range(connections)]
    keys = [site.ledger.add_key(f"user-{index}") for index in range(connections)]
    unprotected = _users(pool, site.unprotected, [None] * connections, shares)
    protected = _users(pool, site.protected, keys, shares)
    return Round(connections, unprotected, protected, _server(site, pool, connections, payloads))


def _users(pool: ProcessPoolExecutor, url: str, keys: Sequence[str | None], shares: Sequence[Sequence[bytes]]) -> float:
    begin = time.time() + HEAD_START
    jobs = [Asked(url, key, share, begin, USER_SECONDS) for key, share in zip(keys, shares, strict=True)]
    return sum(pool.map(ask_as_a_user, jobs))


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


def _server(site: Site, pool: ProcessPoolExecutor, connections: int, payloads: Iterator[bytes]) -> Served:
    bodies = [next(payloads) for _ in range(QUERIES)]
    keys = _keys(site.ledger)
    wall, cpu = time.perf_counter(), time.process_time()
    plain = burst(site.unprotected, [request(site.unprotected, body, {}) for body in bodies], connections, 200)
    share = (time.process_time() - cpu) / (time.perf_counter() - wall)
    asking = [request(site.protected, body, {KEY_HEADER: key}) for body, key in zip(bodies, keys, strict=True)]
    challenged = burst(site.protected, asking, connections, 402)
    solutions = pool.map(solve_body, [answer.body for answer in challenged.answers], chunksize=20)
    paying = [
        request(site.protected, body, {KEY_HEADER: key, SOLUTION_HEADER: solution})
        for body, key, solution in zip(bodies, keys, solutions, strict=True)
    ]
    redeemed = burst(site.protected, paying, connections, 200)
    each = [statistics.median(answer.seconds for answer in one.answers) for one in (plain, challenged, redeemed)]
    return Served(plain.rate, challenged.rate, redeemed.rate, *each, client_share=share)


def _keys(ledger: Ledger) -> list[str]:
    accounts = -(-QUERIES // QUERIES_AN_ACCOUNT)
    keys = [ledger.add_key(f"account-{index}-{time.time_ns()}") for index in range(accounts)]
    return [keys[index // QUERIES_AN_ACCOUNT] for index in range(QUERIES)]


def solve_body(problem: bytes) -> str:
    """The header value that answers the challenge in a 402's body."""
    challenge = Challenge.from_problem(problem)
    return format_solution(challenge.token, solve(challenge.puzzle))
