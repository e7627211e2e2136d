"""Answered queries a second, unprotected and protected, on one real TorchServe.

*Users*: a connection is a process of its own that sends queries with `requests` and PowAuth and pays for them
(beforehand, once it knows the price); clients and server share the machine. *Server*: a light client fetches
challenges, solves them while the server rests, and redeems the solutions; the same with prepaid stamps. Only the
server is timed.
"""

import itertools
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import requests

from benchmarks.serving.light_client import Burst, burst, request
from calpow.client import PowAuth
from calpow.handler.ledger.uri import open_ledger
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
# Seconds until processes begin that send queries at once.
HEAD_START = 0.3
QUERIES = 240
# On a server that runs several requests as one batch.
BATCHED_CONNECTIONS = (8, 32)
BATCHED_QUERIES = 480
# As many as a user sends in that time: a payload that was answered before changes nothing in the ledger.
USER_PAYLOADS = 1_500
# A few honest answers cost more than the past of their account, and are withheld after the same work of the server.
MOST_WITHHELD = 0.1
TIMEOUT = 30.0


@dataclass(frozen=True)
class ServedModel:
    """One model, served without and with the gate: its URLs, the URI of the gate's ledger, and payloads of users."""

    unprotected: str
    protected: str
    ledger: str
    payloads: Sequence[bytes]


@dataclass(frozen=True)
class UserJob:
    """Job of a user: send queries to `url` for some seconds from `begin` on (seconds since the epoch)."""

    url: str
    key: str | None
    payloads: Sequence[bytes]
    begin: float
    seconds: float


@dataclass(frozen=True)
class ServerRates:
    """Answers a second of the server in one round; `client_share` is the light client's share of one core."""

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
    server: ServerRates


@dataclass(frozen=True)
class BatchedRound:
    """One round on a server that batches: its answers a second without the gate, and paid beforehand."""

    connections: int
    unprotected: float
    prepaid: float


def measure(site: ServedModel) -> list[Round]:
    """Rounds of everything in turn, so that other load on the machine falls on all alike; the first is thrown away.

    Raises BadAnswer or requests.RequestException when an honest query is not answered.
    """
    with ProcessPoolExecutor(max(CONNECTIONS), mp_context=get_context("spawn")) as pool:
        load = Load(site, pool)
        rounds = [load.round(connections) for _ in range(1 + ROUNDS) for connections in CONNECTIONS]
    return rounds[len(CONNECTIONS) :]


def measure_batched(site: ServedModel) -> list[BatchedRound]:
    """Rounds of a server that batches, as `measure` does them."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        load = Load(site, pool)
        rounds = [load.batched_round(connections) for _ in range(1 + ROUNDS) for connections in BATCHED_CONNECTIONS]
    return rounds[len(BATCHED_CONNECTIONS) :]


class Load:
    """Loads a site in both ways; `pool` has a process for each connection."""

    def __init__(self, site: ServedModel, pool: ProcessPoolExecutor) -> None:
        self._site = site
        self._pool = pool
        self._ledger = open_ledger(site.ledger)
        self._payloads = itertools.cycle(site.payloads)

    def round(self, connections: int) -> Round:
        """One round of both views."""
        shares = [self._take(USER_PAYLOADS) for _ in range(connections)]
        unprotected = self._users(self._site.unprotected, [None] * connections, shares)
        protected = self._users(self._site.protected, self._keys(connections), shares)
        return Round(connections, unprotected, protected, self._server(connections))

    def batched_round(self, connections: int) -> BatchedRound:
        """One round of the server alone."""
        answered = self._ask(connections, BATCHED_QUERIES)
        (key,), (body,) = self._keys(1), self._take(1)
        (challenged,) = burst(self._site.protected, [self._post(key, body)], 1, 402).answers
        prepaid = self._prepaid(connections, BATCHED_QUERIES, challenged.header("WWW-Authenticate"))
        return BatchedRound(connections, answered.rate, prepaid.rate)

    def _users(self, url: str, keys: Sequence[str | None], shares: Sequence[Sequence[bytes]]) -> float:
        begin = time.time() + HEAD_START
        jobs = [UserJob(url, key, share, begin, USER_SECONDS) for key, share in zip(keys, shares, strict=True)]
        return sum(self._pool.map(ask_as_a_user, jobs))

    def _server(self, connections: int) -> ServerRates:
        wall, cpu = time.perf_counter(), time.process_time()
        answered = self._ask(connections, QUERIES)
        share = (time.process_time() - cpu) / (time.perf_counter() - wall)
        # An account a query: the price is the one at the time of use, and one's first answer changes the next one's.
        orders = list(zip(self._keys(QUERIES), self._take(QUERIES), strict=True))
        challenged = burst(self._site.protected, [self._post(*order) for order in orders], connections, 402)
        solutions = self._pool.map(solve_challenge, [answer.body for answer in challenged.answers], chunksize=20)
        redeemed = self._pay(connections, orders, solutions)
        prepaid = self._prepaid(connections, QUERIES, challenged.answers[0].header("WWW-Authenticate"))
        return ServerRates(answered.rate, challenged.rate, redeemed.rate, prepaid.rate, share)

    def _ask(self, connections: int, count: int) -> Burst:
        """Ask the unprotected model."""
        url = self._site.unprotected
        return burst(url, [request(url, body, {}) for body in self._take(count)], connections, 200)

    def _prepaid(self, connections: int, count: int, offer: str) -> Burst:
        """Ask the protected model for new accounts that pay beforehand what was offered."""
        orders = list(zip(self._keys(count), self._take(count), strict=True))
        stamps = self._pool.map(prepay, [key for key, _ in orders], itertools.repeat(offer), chunksize=20)
        return self._pay(connections, orders, stamps)

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


def ask_as_a_user(job: UserJob) -> float:
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
