"""Two TorchServes with one Redis behave as one: a solution buys one answer, and every charge is counted once."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass

import pytest
import requests

from calpow.archiver.server import Server, served
from calpow.client import PowAuth
from calpow.handler.ledger.limits import AccountLimits
from calpow.handler.ledger.uri import open_ledger
from calpow.puzzle.solving.solver import solve
from calpow.puzzle.wire import Challenge, format_solution
from tests.support.guarded import TIMEOUT, Protected
from tests.support.redis_servers import redis_binary, redis_server

pytestmark = [pytest.mark.server, pytest.mark.long]

MODEL = "vector"
REPLAYS = 200
CLIENTS, QUERIES = 8, 100
FREE, BUDGET = 30, 80


@dataclass(frozen=True)
class Site:
    """Two servers of two workers each, and the URI of the ledger that they share."""

    servers: tuple[Server, Server]
    uri: str


@pytest.fixture(scope="module")
def site(protected: Mapping[str, Protected], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    properties = {"default_workers_per_model": "2"}
    with ExitStack() as stack:
        redis = stack.enter_context(redis_server(redis_binary(), tmp_path_factory.mktemp("redis")))
        uri = redis.uri()
        archives = {MODEL: protected[MODEL].guarded}
        servers = [
            stack.enter_context(served(archives, properties=properties, environment={"CALPOW_LEDGER": uri}))
            for _ in range(2)
        ]
        yield Site((servers[0], servers[1]), uri)


def payload(number: int) -> bytes:
    return f"{number / 1000:.4f},0,0,0".encode()


def test_two_hundred_replays_on_both_servers_get_one_answer_and_its_repeats(site: Site) -> None:
    key = open_ledger(site.uri).add_key("replayer")
    asked = requests.post(site.servers[0].url(MODEL), data=payload(1), headers={"X-Api-Key": key}, timeout=TIMEOUT)
    challenge = Challenge.from_problem(asked.content)
    solution = format_solution(challenge.token, solve(challenge.puzzle))

    def replay(number: int) -> requests.Response:
        # Another payload each time: a retry of the same request would have its answer repeated.
        headers = {"X-Api-Key": key, "PoW-Solution": solution}
        url = site.servers[number % 2].url(MODEL)
        return requests.post(url, data=payload(100 + number), headers=headers, timeout=TIMEOUT)

    with ThreadPoolExecutor(40) as pool:
        statuses = [response.status_code for response in pool.map(replay, range(REPLAYS))]
    assert statuses.count(200) == 1
    assert set(statuses) <= {200, 402, 503}
    assert open_ledger(site.uri).account(MODEL, "replayer").history.queries == 1


def test_what_eight_clients_send_to_both_servers_is_counted_exactly(site: Site) -> None:
    key = open_ledger(site.uri).add_key("busy")

    def send(client: int) -> int:
        with requests.Session() as session:
            session.auth = PowAuth(key)
            answered = 0
            for number in range(QUERIES):
                url = site.servers[(client + number) % 2].url(MODEL)
                answer = session.post(url, data=payload(1000 * client + number), timeout=TIMEOUT)
                answered += answer.status_code == 200
            return answered

    with ThreadPoolExecutor(CLIENTS) as pool:
        answered = sum(pool.map(send, range(CLIENTS)))
    assert answered == CLIENTS * QUERIES
    assert open_ledger(site.uri).account(MODEL, "busy").history.queries == answered


def test_a_revoked_key_is_refused_by_both_servers_at_once(site: Site) -> None:
    ledger = open_ledger(site.uri)
    key = ledger.add_key("leaver")

    def statuses() -> list[int]:
        headers = {"X-Api-Key": key}
        answers = [
            requests.post(server.url(MODEL), data=payload(1), headers=headers, timeout=TIMEOUT)
            for server in site.servers
        ]
        return [answer.status_code for answer in answers]

    assert statuses() == [402, 402]
    ledger.revoke_key(key.split("_")[1])
    assert statuses() == [401, 401]


def test_members_of_a_group_share_its_free_samples_and_its_budget_on_both_servers(site: Site) -> None:
    ledger = open_ledger(site.uri)
    keys = [ledger.add_key(f"acme/user{number}") for number in range(CLIENTS)]
    ledger.set_limits("acme", AccountLimits(free=FREE, budget=BUDGET))

    def ask(number: int) -> requests.Response:
        headers = {"X-Api-Key": keys[number % CLIENTS]}
        # One payload for all: what a colleague was answered is ordinary for everybody.
        return requests.post(site.servers[number % 2].url(MODEL), data=payload(1), headers=headers, timeout=TIMEOUT)

    with ThreadPoolExecutor(CLIENTS) as pool:
        responses = list(pool.map(ask, range(2 * FREE)))
    assert [response.status_code for response in responses].count(200) == FREE
    assert {response.status_code for response in responses} <= {200, 402, 503}
    with requests.Session() as session:
        session.auth = PowAuth(keys[0])
        statuses = [
            session.post(site.servers[number % 2].url(MODEL), data=payload(1), timeout=TIMEOUT).status_code
            for number in range(BUDGET)
        ]
    answered = statuses.count(200)
    assert statuses == [200] * answered + [403] * (BUDGET - answered)
    group = ledger.account(MODEL, "acme")
    assert group.usage.total == BUDGET
    assert 0 < answered <= BUDGET - FREE
    refused = ask(0)
    assert refused.json()["type"] == "urn:calpow:problem:budget-exhausted"
