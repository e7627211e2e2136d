"""A Redis that is full, that evicts, or that has too many clients: nothing is half done, and it is back by itself."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import redis as client

from calpow.handler.errors import LedgerUnavailable
from calpow.handler.ledger.account import NEW_ACCOUNT
from calpow.handler.ledger.history import History
from calpow.handler.ledger.ledger import Ledger
from calpow.handler.ledger.solutions import Admission
from calpow.handler.ledger.uri import open_ledger
from tests.support.ledgers import MODEL, admit, fail, outcomes, settle, spending, use
from tests.support.redis_servers import RedisServer, redis_binary, redis_server, valkey_binary, valkey_cluster

CLIENTS = 1000
LARGE = History(1, 1, (0,) * 30, b"d" * 8 * 1024, b"s" * 16 * 256)


@pytest.mark.parametrize("binary", [redis_binary, valkey_binary])
def test_a_full_server_refuses_whole_changes_and_goes_on_when_there_is_room(
    tmp_path: Path, binary: Callable[[], str]
) -> None:
    with redis_server(binary(), tmp_path, "--save", "") as server:
        ledger, now = open_ledger(server.uri()), time.time()
        key, paid = ledger.add_key("ada"), use("a", "b", expires=now + 600)
        assert admit(ledger, paid, now=now) == [Admission.FRESH]
        for number in range(20):
            settle(ledger, account=f"account{number}", change=lambda _: LARGE)
        server.client().config_set("maxmemory", "100kb")
        for change in (
            lambda: settle(ledger, spending(paid, settled=now)),
            lambda: settle(ledger, account="account7"),
            lambda: admit(ledger, use("c", expires=now + 600), now=now),
            lambda: fail(ledger, "a", now=now),
            lambda: ledger.add_key("bob"),
        ):
            with pytest.raises(LedgerUnavailable, match=r"ResponseError: OOM|OutOfMemoryError: .*used memory"):
                change()
        assert (ledger.account_of(key), ledger.account(MODEL, "ada")) == ("ada", NEW_ACCOUNT)
        assert outcomes(ledger, "a", "b") == {}
        server.client().config_set("maxmemory", "100mb")
        assert settle(ledger, spending(paid, settled=now))
        assert admit(ledger, use("c", expires=now + 600), now=now) == [Admission.FRESH]
        assert {ledger.account(MODEL, f"account{number}").history for number in range(20)} == {LARGE}


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
def test_a_server_that_may_evict_spent_solutions_is_refused_until_it_is_set_otherwise(
    tmp_path: Path, policy: str
) -> None:
    with redis_server(redis_binary(), tmp_path, "--maxmemory", "50mb", "--maxmemory-policy", policy) as server:
        ledger = open_ledger(server.uri())
        for _ in range(2):
            with pytest.raises(LedgerUnavailable, match=r"may evict spent solutions.*set maxmemory-policy noeviction"):
                ledger.add_key("ada")
        server.client().config_set("maxmemory-policy", "noeviction")
        assert ledger.account_of(ledger.add_key("ada")) == "ada"


def test_a_server_that_is_set_to_evict_while_workers_serve_is_refused_once_they_check_it(tmp_path: Path) -> None:
    with redis_server(redis_binary(), tmp_path, "--maxmemory", "50mb") as server:
        ledger = open_ledger(server.uri())
        key = ledger.add_key("ada")
        ledger.check_store()
        server.client().config_set("maxmemory-policy", "allkeys-lru")
        with pytest.raises(LedgerUnavailable, match="set maxmemory-policy noeviction"):
            ledger.check_store()
        for _ in range(2):
            with pytest.raises(LedgerUnavailable, match="set maxmemory-policy noeviction"):
                ledger.account_of(key)
        server.client().config_set("maxmemory-policy", "noeviction")
        ledger.check_store()
        assert ledger.account_of(key) == "ada"


@pytest.mark.long
def test_a_cluster_with_one_node_that_may_evict_is_refused(tmp_path: Path) -> None:
    with valkey_cluster(tmp_path) as nodes:
        nodes[2].client().config_set("maxmemory", "50mb")
        nodes[2].client().config_set("maxmemory-policy", "allkeys-lru")
        ledger = open_ledger(nodes[0].uri(cluster="true"))
        with pytest.raises(LedgerUnavailable, match="may evict"):
            ledger.add_key("ada")
        nodes[2].client().config_set("maxmemory-policy", "noeviction")
        assert ledger.add_key("ada")


def test_a_server_that_does_not_say_how_it_is_set_is_used(tmp_path: Path) -> None:
    with redis_server(redis_binary(), tmp_path, "--save", "") as server:
        server.client().execute_command("ACL", "SETUSER", "gate", "on", ">pw", "~*", "+@all", "-info")
        ledger = open_ledger(server.uri().replace("redis://", "redis://gate:pw@"))
        assert ledger.account_of(ledger.add_key("ada")) == "ada"


@pytest.mark.long
def test_a_thousand_clients_at_once_are_all_served(redis: RedisServer) -> None:
    uri = redis.uri(timeout="60")
    ready = threading.Barrier(CLIENTS)
    written = []

    def work(number: int) -> None:
        ledger = open_ledger(uri)  # a connection of its own
        ready.wait(60)
        written.append(settle(ledger, spending(use(f"id{number}")), account=f"account{number}"))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert written == [True] * CLIENTS
    assert len(list(open_ledger(uri).summaries(MODEL))) == CLIENTS


def test_clients_beyond_the_servers_limit_are_unavailable_and_served_when_others_leave(tmp_path: Path) -> None:
    with redis_server(redis_binary(), tmp_path, "--maxclients", "8", "--save", "") as server:
        ledger, others = open_ledger(server.uri()), crowd(server)
        with pytest.raises(LedgerUnavailable, match="max number of clients"):
            settle(ledger)
        for other in others:
            other.close()
        deadline = time.monotonic() + 30
        while not is_settled(ledger):
            assert time.monotonic() < deadline
            time.sleep(0.05)


def crowd(server: RedisServer) -> list[client.Redis]:
    """Return as many clients as the server takes."""
    others: list[client.Redis] = []
    while True:
        other = server.client()
        try:
            other.ping()
        except client.ConnectionError:
            return others
        others.append(other)


def is_settled(ledger: Ledger) -> bool:
    try:
        return settle(ledger)
    except LedgerUnavailable:
        return False
