"""The ledger in Redis beside the common suite: expiry by its clock, faults, clusters, Valkey, passwords and TLS."""

import gc
import itertools
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha1
from importlib import util
from pathlib import Path

import pytest
import redis as client

from calpow.handler.errors import LedgerError, LedgerUnavailable
from calpow.handler.ledger.account import NEW_ACCOUNT, Account
from calpow.handler.ledger.history import History
from calpow.handler.ledger.holders import Identity
from calpow.handler.ledger.ledger import Ledger
from calpow.handler.ledger.redis import redis_scripts
from calpow.handler.ledger.redis.redis_ledger import RedisLedger
from calpow.handler.ledger.settlement import settlement_of
from calpow.handler.ledger.solutions import Admission
from calpow.handler.ledger.uri import open_ledger, shared_uri
from tests.support.certificates import own_certificate
from tests.support.ledger_child import charged
from tests.support.ledgers import MODEL, admit, outcomes, settle, settlement, spend, spending, use
from tests.support.redis_servers import RedisServer, redis_binary, redis_server, valkey_binary, valkey_cluster

PAST = History(-(2**53) - 1, 7, (3, -(2**40)), b"\0d" * 4, b"s" * 16, b"\xffn" * 4, b"t" * 16)


def exercise(ledger: Ledger) -> None:
    """Do everything once that a gate does, and check it."""
    now = time.time()
    key = ledger.add_key("ada {of} Süd")
    bob = ledger.add_key("bob")
    paid = use("a", "b", expires=now + 600, account="ada {of} Süd")
    assert ledger.holders(MODEL, [(Identity(key), paid.ids), (Identity(bob), [])])[0] is not None
    assert ledger.admit([paid, use("z", expires=now + 600, account="bob")], now=now)[0].admission is Admission.FRESH
    changes = [
        settlement(spending(paid, settled=now), account="ada {of} Süd", history=PAST, owed=-(2**62)),
        settlement(account="bob", history=PAST),
    ]
    assert ledger.settle(MODEL, changes, now=now) == [True, True]
    assert ledger.settle(MODEL, changes, now=now) == [False, False]
    (holder,) = ledger.holders(MODEL, [(Identity(key), ["a", "c"])])
    state = ledger.account(MODEL, "ada {of} Süd")
    assert (state.history, state.owed, state.version) == (PAST, -(2**62), 1)
    assert holder is not None
    assert (holder.name, holder.standing.account, set(holder.standing.outcomes)) == ("ada {of} Süd", state, {"a"})
    assert ledger.admit([paid], now=now)[0].admission is Admission.REPEAT
    ledger.fail(MODEL, "bob", ["z"], expires=now + 600, now=now)
    ledger.charge(MODEL, {"bob": lambda past: past, "zoe": lambda past: past})
    member = ledger.account(MODEL, "acme {eu}/ada")
    shared = member._replace(group=NEW_ACCOUNT._replace(history=PAST))
    assert ledger.settle(MODEL, [settlement_of("acme {eu}/ada", member, shared)], now=now) == [True]
    assert ledger.standing(MODEL, "acme {eu}/bob", []).account == NEW_ACCOUNT._replace(group=Account(PAST, 0, 1))
    assert [summary.name for summary in ledger.summaries(MODEL)] == [
        *("acme {eu}", "acme {eu}/ada"),
        *("ada {of} Süd", "bob", "zoe"),
    ]
    assert len(ledger.keys()) == 2


def test_ids_and_outcomes_are_gone_when_they_have_expired(redis: RedisServer) -> None:
    uri, now = redis.uri(), time.time()
    ledger = open_ledger(uri)
    used, spent = itertools.islice(punctual(uri), 2)
    spend(ledger, use(spent, expires=now + 1), now=now)
    admit(ledger, use(used, expires=now + 1), now=now)
    assert set(outcomes(ledger, spent)) == {spent}
    deadline = time.monotonic() + 10
    while outcomes(ledger, spent):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert time.time() >= now + 1
    assert admit(ledger, *[use(used, expires=now + 600)] * 6, now=now).count(Admission.FRESH) == 5


def punctual(uri: str) -> Iterator[str]:
    """Yield ids of ada's that Redis forgets on time: it adds no extra seconds to them."""
    ledger = RedisLedger(uri)
    for name in map(str, itertools.count()):
        if sha1(ledger._of("ada", "id", name).encode(), usedforsecurity=False).digest()[0] == 0:
            yield name


def test_ids_that_expire_at_one_moment_are_forgotten_one_after_another(redis: RedisServer) -> None:
    uri, now = redis.uri(prefix="apart"), time.time()
    ledger = open_ledger(uri)
    names = [f"{number:032x}" for number in range(500)]
    for start in range(0, len(names), 25):
        spend(ledger, use(*names[start : start + 25], expires=now + 600), now=now)
    kept = client.Redis(port=redis.port)
    times = [kept.ttl(name) - 600 for name in kept.scan_iter("apart:*:id:*")]
    assert len(times) == 500
    assert min(times) > -10
    assert max(times) <= redis_scripts.MOST_EXTRA_SECONDS
    # About two of them in each second.
    assert max(times.count(second) for second in times) < 12


def test_nothing_but_accounts_keys_and_secrets_stays_for_good(redis: RedisServer) -> None:
    ledger = open_ledger(redis.uri(prefix="everlasting"))
    exercise(ledger)
    ledger.secrets()
    kept = client.Redis(port=redis.port)
    for name in kept.scan_iter("everlasting:*"):
        if any(f":{part}:".encode() in name for part in ("id", "outcome", "failures")):
            assert 0 < kept.ttl(name) <= 7300 + redis_scripts.MOST_EXTRA_SECONDS, name


def test_ledgers_of_several_prefixes_share_a_server(redis: RedisServer) -> None:
    first, second = open_ledger(redis.uri(prefix="one")), open_ledger(redis.uri(prefix="two"))
    key = first.add_key("ada")
    assert (first.account_of(key), second.account_of(key)) == ("ada", None)
    assert first.deployment() != second.deployment()


def test_valkey_is_as_good(tmp_path: Path) -> None:
    with redis_server(valkey_binary(), tmp_path) as server:
        exercise(open_ledger(server.uri()))


def test_a_cluster_of_three_nodes_is_as_good(tmp_path: Path) -> None:
    with valkey_cluster(tmp_path) as nodes:
        uri = nodes[0].uri(cluster="true")
        exercise(open_ledger(uri))
        ledger = open_ledger(uri)
        accounts = [f"account{number}" for number in range(30)]
        for name in accounts:
            assert settle(ledger, account=name)
        sizes = [client.Redis(port=node.port).dbsize() for node in nodes]
        assert min(int(size) for size in sizes) > 3, "the accounts are on every node"
        assert {name for name in accounts if open_ledger(uri).account(MODEL, name).version == 1} == set(accounts)


def test_a_server_that_is_down_is_unavailable_at_once_and_back_by_itself(tmp_path: Path) -> None:
    with redis_server(redis_binary(), tmp_path, "--appendonly", "yes", "--appendfsync", "always") as server:
        ledger = open_ledger(server.uri(timeout="0.1"))
        key, state = ledger.add_key("ada"), spend(ledger, use("a", expires=time.time() + 600), now=time.time())
        server.kill()
        for operation in (
            lambda: ledger.holders(MODEL, [(Identity(key), [])]),
            lambda: ledger.settle(MODEL, [settlement()], now=0),
        ):
            begun = time.monotonic()
            with pytest.raises(LedgerUnavailable, match=r"\Athe ledger redis://127.0.0.1:\d+ is unavailable: .*\Z"):
                operation()
            assert time.monotonic() - begun < 1
        server.start()
        assert open_ledger(server.uri(prefix="x")).models() == []
        assert ledger.account_of(key) == "ada"
        assert outcomes(ledger, "a") == {"a": state}


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # redis-py leaves sockets of a cluster to the garbage collector
@pytest.mark.parametrize("wait", ["0", "1"])
def test_accounts_of_a_slot_that_moves_are_refused_until_it_has_moved(tmp_path: Path, wait: str) -> None:
    """docs/operating.md: the nodes have some of the keys of an account each, and a script needs all."""
    with valkey_cluster(tmp_path, replicas=wait == "1") as nodes:
        ledger = open_ledger(nodes[0].uri(cluster="true", timeout="1", wait=wait))
        assert settle(ledger, change=charged)
        (name,) = (name for node in nodes[:3] for name in node.client().scan_iter("*}:account:*"))
        slot = nodes[0].client().execute_command("CLUSTER KEYSLOT", name)
        source = next(node for node in nodes[:3] if node.client().execute_command("CLUSTER COUNTKEYSINSLOT", slot))
        target = next(node for node in nodes[:3] if node is not source)
        names = {node.port: node.client().execute_command("CLUSTER MYID") for node in (source, target)}
        target.client().execute_command("CLUSTER SETSLOT", slot, "IMPORTING", names[source.port])
        source.client().execute_command("CLUSTER SETSLOT", slot, "MIGRATING", names[target.port])
        with pytest.raises(LedgerUnavailable):
            ledger.account(MODEL, "ada")
        keys = source.client().execute_command("CLUSTER GETKEYSINSLOT", slot, 100)
        source.client().execute_command("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys)
        for node in (target, source):
            node.client().execute_command("CLUSTER SETSLOT", slot, "NODE", names[target.port])
        assert settle(ledger, change=charged)
        assert ledger.account(MODEL, "ada").history.queries == 2
        del ledger
        gc.collect()


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # redis-py leaves sockets of a cluster to the garbage collector
def test_a_cluster_that_is_down_is_unavailable_and_back_by_itself(tmp_path: Path) -> None:
    with valkey_cluster(tmp_path) as nodes:
        ledger = open_ledger(nodes[0].uri(cluster="true"))
        accounts = [f"account{number}" for number in range(6)]
        assert all(settle(ledger, account=name) for name in accounts)
        for node in nodes:
            node.kill()
        for name in accounts:
            with pytest.raises(LedgerUnavailable):
                settle(ledger, account=name)
        for node in nodes:
            node.start()
        deadline = time.monotonic() + 30
        for name in accounts:
            while not is_settled(ledger, name):
                assert time.monotonic() < deadline
                time.sleep(0.1)
        del ledger
        gc.collect()


def is_settled(ledger: Ledger, name: str) -> bool:
    try:
        return settle(ledger, account=name)
    except LedgerUnavailable:
        return False


@contextmanager
def slow(port: int) -> Iterator[tuple[int, threading.Event]]:
    """Pass connections on to a port; while the event is set, nothing that the server answers arrives."""
    held = threading.Event()
    with proxy(port, held, lambda connection: connection) as ours:
        yield ours, held


@contextmanager
def proxy(port: int, held: threading.Event, wrap: Callable[[socket.socket], socket.socket]) -> Iterator[int]:
    """Pass wrapped connections on to a port, and hold back what the server answers while the event is set."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def pump(source: socket.socket, sink: socket.socket, *, holds: bool) -> None:
            with source, sink:
                while data := _received(source):
                    while holds and held.is_set():
                        time.sleep(0.01)
                    try:
                        sink.sendall(data)
                    except OSError:
                        return

        def serve() -> None:
            while True:
                try:
                    ours, _ = listener.accept()
                except OSError:
                    return
                try:
                    ours = wrap(ours)
                except OSError:  # the client trusts no such certificate
                    ours.close()
                    continue
                theirs = socket.create_connection(("127.0.0.1", port))
                for pair, holds in (((ours, theirs), False), ((theirs, ours), True)):
                    threading.Thread(target=pump, args=pair, kwargs={"holds": holds}, daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]


def _received(source: socket.socket) -> bytes:
    try:
        return source.recv(65536)
    except OSError:
        return b""


def test_a_slow_network_is_unavailable_within_the_time_limit(redis: RedisServer) -> None:
    with slow(redis.port) as (port, held):
        ledger = open_ledger(f"redis://127.0.0.1:{port}/0?prefix=slow&timeout=0.2")
        assert settle(ledger)
        held.set()
        begun = time.monotonic()
        with pytest.raises(LedgerUnavailable, match="TimeoutError"):
            settle(ledger)
        assert time.monotonic() - begun < 2
        held.clear()
        assert ledger.account(MODEL, "ada").version == 1
        assert settle(ledger)


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate of 127.0.0.1 that nobody but itself has signed, and its key."""
    return own_certificate(tmp_path)


def test_tls_takes_the_certificates_that_the_uri_names_and_no_others(
    redis: RedisServer, certificate: tuple[Path, Path]
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    with proxy(redis.port, threading.Event(), lambda plain: context.wrap_socket(plain, server_side=True)) as port:
        uri = f"rediss://127.0.0.1:{port}/0?prefix=tls&timeout=10"
        exercise(open_ledger(f"{uri}&ssl_ca_certs={certificate[0]}"))
        with pytest.raises(LedgerUnavailable, match="certificate verify failed") as refused:
            open_ledger(uri).models()
        assert "\n" not in str(refused.value)


def test_a_server_that_quotes_the_password_does_not_bring_it_into_a_message() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def quote() -> None:
            connection, _ = listener.accept()
            with connection:
                words = _received(connection).split(b"\r\n")[2::2]
                connection.sendall(b"-ERR unknown command, with args beginning with: " + b" ".join(words) + b"\r\n")
                _received(connection)

        threading.Thread(target=quote, daemon=True).start()
        with pytest.raises(LedgerUnavailable) as refused:
            open_ledger(f"redis://:s3cret%2Fword@127.0.0.1:{listener.getsockname()[1]}/0?timeout=10").models()
    assert "s3cret" not in str(refused.value)


def test_listings_are_read_in_pages(redis: RedisServer) -> None:
    ledger = open_ledger(redis.uri())
    names = [f"account{number:04}" for number in range(1200)]
    ledger.charge(MODEL, {name: lambda past: past for name in names})
    assert [summary.name for summary in ledger.summaries(MODEL)] == names


def test_a_password_opens_the_ledger_and_is_in_no_message(tmp_path: Path) -> None:
    with redis_server(redis_binary(), tmp_path, "--requirepass", "s3cret-word") as server:
        exercise(open_ledger(server.uri().replace("redis://", "redis://:s3cret-word@")))
        for credentials in ("", ":wr0ng-word@"):
            with pytest.raises(LedgerUnavailable) as refused:
                open_ledger(server.uri().replace("redis://", f"redis://{credentials}")).models()
            assert "asks for a password, or refuses the one in the URI" in str(refused.value)
            assert "word" not in str(refused.value).replace("password", "")
            assert "\n" not in str(refused.value)


def test_a_read_only_replica_is_unavailable_for_writes(redis: RedisServer, tmp_path: Path) -> None:
    options = ("--replicaof", "127.0.0.1", str(redis.port), "--save", "")
    with (
        redis_server(redis_binary(), tmp_path, *options) as replica,
        pytest.raises(LedgerUnavailable, match="ReadOnly"),
    ):
        open_ledger(replica.uri()).set_mode(MODEL, "off")


@pytest.mark.parametrize(
    ("uri", "why"),
    [
        ("redis://", "is no ledger"),
        ("redis://host:port/0", "port"),
        ("redis://host/0?timeout=soon", "timeout"),
        ("redis://host/0?timeout=0", "timeout"),
        ("redis://host/0?timeout=inf", "timeout"),
        ("redis://host/0?tiemout=1", "tiemout"),
        ("redis://host/0?wait=many", "number of replicas"),
        ("redis://host/0?db=first", "db"),
        ("redis://:p/w@host/0", "%2F"),
        ("redis://u:p]w[@host/0", "%5B"),
    ],
)
def test_a_uri_that_names_no_server_is_refused_in_one_line(uri: str, why: str) -> None:
    with pytest.raises(LedgerError, match=why) as refused:
        open_ledger(uri)
    assert "\n" not in str(refused.value)
    assert "'p'" not in str(refused.value)


def test_without_redis_py_the_way_out_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = util.find_spec
    monkeypatch.setattr("calpow.handler.ledger.uri.find_spec", lambda name: None if name == "redis" else real(name))
    with pytest.raises(LedgerError, match=r"pip install 'calpow\[redis\]'"):
        open_ledger("redis://127.0.0.1/0")


def test_workers_take_the_uri_as_it_is() -> None:
    assert shared_uri("redis://127.0.0.1:6379/0") == "redis://127.0.0.1:6379/0"
