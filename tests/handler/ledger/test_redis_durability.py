"""Redis loses what the documents say: settlements are counted before and after a server is killed.

`kill -9` takes a process away and leaves what it gave to the operating system. For a power failure, what was written
after the last `fdatasync` is cut off the file as well.
"""

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from calpow.handler.errors import LedgerUnavailable
from calpow.handler.ledger.ledger import Ledger
from calpow.handler.ledger.limits import AccountLimits
from calpow.handler.ledger.uri import open_ledger
from tests.support.ledger_child import charged, charged_account, history_of
from tests.support.ledgers import MODEL, outcomes, settle, spend, spending, use
from tests.support.redis_servers import RedisServer, has_caught_up, redis_binary, redis_server, valkey_binary

pytestmark = pytest.mark.long

ALWAYS = ("--save", "", "--appendonly", "yes", "--appendfsync", "always")
EVERY_SECOND = ("--save", "", "--appendonly", "yes", "--appendfsync", "everysec")
SNAPSHOTS = ("--save", "3600 1000000", "--appendonly", "no")
NOTHING = ("--save", "", "--appendonly", "no")
NO_REWRITE = ("--auto-aof-rewrite-percentage", "0")
ACCOUNTS = tuple(f"account{number}" for number in range(4))


class Load:
    """Threads that settle one account each until the ledger fails, and the times of what was acknowledged."""

    def __init__(self, uri: str) -> None:
        self.times: dict[str, list[float]] = {account: [] for account in ACCOUNTS}
        self._uri = uri
        self._threads = [threading.Thread(target=self._settle, args=(account,)) for account in ACCOUNTS]
        for thread in self._threads:
            thread.start()

    @property
    def settled(self) -> int:
        """The number of acknowledged settlements."""
        return sum(map(len, self.times.values()))

    def end(self) -> None:
        """Wait until all have met a failure."""
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()

    def lost(self, ledger: Ledger) -> list[float]:
        """Return when the settlements were acknowledged that a ledger lacks. What it holds has to be whole."""
        lost = []
        for account, times in self.times.items():
            state = ledger.account(MODEL, account)
            assert state.history == history_of(state.version)
            assert state.version <= len(times) + 1, "more was settled than was sent"
            ids = [f"{account}-{number}" for number in range(len(times))]
            spent = ledger.standing(MODEL, account, ids).outcomes
            assert list(spent) == ids[: state.version], "an id is spent and not charged, or charged and not spent"
            lost += times[state.version :]
        return lost

    def _settle(self, account: str) -> None:
        ledger, times = open_ledger(self._uri), self.times[account]
        while True:
            paid = spending(use(f"{account}-{len(times)}", expires=time.time() + 600), settled=time.time())
            try:
                assert settle(ledger, paid, account=account, change=charged)
            except LedgerUnavailable:
                return
            times.append(time.monotonic())


@contextmanager
def killed_under_load(server: RedisServer, seconds: float, wait: int = 0) -> Iterator[tuple[Load, float]]:
    """Kill a server under load after some seconds or later, and yield the load and the time, to see what is left."""
    load = Load(server.uri(prefix="durable", timeout="1", wait=str(wait)))
    time.sleep(seconds)
    while load.settled < 100:
        time.sleep(0.01)
    killed = time.monotonic()
    server.kill()
    load.end()
    yield load, killed


def uri_of(server: RedisServer) -> str:
    return server.uri(prefix="durable", timeout="10")


@pytest.mark.parametrize("seconds", [0.5, 1.3, 2.1])
def test_always_loses_nothing_when_the_server_is_killed(tmp_path: Path, seconds: float) -> None:
    with redis_server(redis_binary(), tmp_path, *ALWAYS) as server, killed_under_load(server, seconds) as (load, _):
        server.start()
        assert load.lost(open_ledger(uri_of(server))) == []


@pytest.mark.parametrize("seconds", [1.0, 1.5, 2.5])
def test_everysec_loses_two_seconds_at_most_when_the_server_is_killed(tmp_path: Path, seconds: float) -> None:
    """Nothing where the disk is quick: Redis holds writes back only while it waits for the disk, for two seconds."""
    with (
        redis_server(redis_binary(), tmp_path, *EVERY_SECOND) as server,
        killed_under_load(server, seconds) as (load, killed),
    ):
        server.start()
        lost = load.lost(open_ledger(uri_of(server)))
        print(f"everysec: {len(lost)} of {load.settled} acknowledged settlements lost")
        assert all(killed - when < 2.5 for when in lost)


@pytest.mark.parametrize("seconds", [1.0, 2.3])
def test_always_loses_nothing_when_the_power_fails(tmp_path: Path, seconds: float) -> None:
    with power_failure_under_load(tmp_path, ALWAYS, seconds) as (server, load, _):
        assert load.lost(open_ledger(uri_of(server))) == []


@pytest.mark.parametrize("seconds", [1.5, 2.1, 2.8])
def test_everysec_loses_two_seconds_at_most_when_the_power_fails(tmp_path: Path, seconds: float) -> None:
    with power_failure_under_load(tmp_path, EVERY_SECOND, seconds) as (server, load, failed):
        ledger = open_ledger(uri_of(server))
        lost = load.lost(ledger)
        print(
            f"everysec, power failure: {len(lost):,} of {load.settled:,} acknowledged settlements lost,"
            f" the last {failed - min(lost, default=failed):.2f} s"
        )
        assert lost, "the cut took nothing: what it takes is not tested"
        assert all(failed - when < 2.5 for when in lost)
        assert settle(ledger, account=ACCOUNTS[0], change=charged), "the server goes on"


@contextmanager
def power_failure_under_load(
    folder: Path, options: Sequence[str], seconds: float
) -> Iterator[tuple[RedisServer, Load, float]]:
    """Kill a server under load, cut off what it had not synced, start it again, and yield it, the load and the time."""
    sizes, log = folder / "synced", folder / "appendonly.aof"
    with (
        redis_server(redis_that_notes_syncs(folder, sizes), folder, *options, *NO_REWRITE) as server,
        killed_under_load(server, seconds) as (load, failed),
    ):
        synced = [line.split() for line in sizes.read_text().splitlines()]
        os.truncate(log, max(int(size) for inode, size in synced if int(inode) == log.stat().st_ino))
        server.start()
        yield server, load, failed


def redis_that_notes_syncs(folder: Path, sizes: Path) -> str:
    """Return a program that is redis-server, but that it notes the sizes of files that it has synced."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    library, program = folder / "synced_sizes.so", folder / "redis-server"
    source = Path(__file__).parents[2] / "support" / "synced_sizes.c"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True, timeout=60)
    program.write_text(f'#!/bin/sh\nexport LD_PRELOAD={library} SYNCED_SIZES={sizes}\nexec {redis_binary()} "$@"\n')
    program.chmod(0o700)
    return str(program)


def test_snapshots_alone_lose_all_since_the_last_one_when_the_server_is_killed(tmp_path: Path) -> None:
    with redis_server(redis_binary(), tmp_path, *SNAPSHOTS) as server:
        ledger = open_ledger(uri_of(server))
        key = ledger.add_key("ada")
        kept = spend(ledger, use("before", expires=time.time() + 600), now=time.time())
        server.client().save()
        lost = use("after", expires=time.time() + 600)
        spend(ledger, lost, now=time.time())
        server.kill()
        server.start()
        assert (ledger.account_of(key), ledger.account(MODEL, "ada").version) == ("ada", 1)
        assert ledger.standing(MODEL, "ada", ["before", "after"]).outcomes == {"before": kept}
        # The dangerous part: the secrets are the same, so that work that was spent is good once more.
        spend(ledger, lost, now=time.time())


def test_without_persistence_a_killed_server_comes_back_as_another_deployment(tmp_path: Path) -> None:
    with redis_server(redis_binary(), tmp_path, *NOTHING) as server:
        ledger = open_ledger(uri_of(server))
        key, secrets, name = ledger.add_key("ada"), ledger.secrets(), ledger.deployment()
        server.kill()
        server.start()
        assert ledger.account_of(key) is None
        assert ledger.deployment() != name
        assert ledger.secrets() != secrets, "what was signed before is worth nothing now"


@contextmanager
def replicated(binary: str, folder: Path, *options: str) -> Iterator[tuple[RedisServer, RedisServer]]:
    """Run a server and a replica of it that has caught up."""
    for name in ("primary", "replica"):
        (folder / name).mkdir()
    with redis_server(binary, folder / "primary", *EVERY_SECOND, *options) as primary:
        of = ("--replicaof", "127.0.0.1", str(primary.port))
        with redis_server(binary, folder / "replica", *EVERY_SECOND, *of) as replica:
            caught_up(replica)
            yield primary, replica


def caught_up(replica: RedisServer) -> None:
    deadline = time.monotonic() + 30
    while not has_caught_up(replica):
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("wait", [0, 1])
def test_a_failover_under_load_loses_what_the_replica_had_not_received_and_nothing_with_wait(
    tmp_path: Path, wait: int
) -> None:
    with (
        replicated(redis_binary(), tmp_path) as (primary, replica),
        killed_under_load(primary, 2.0, wait) as (load, killed),
    ):
        replica.client().replicaof("NO", "ONE")
        ledger = open_ledger(uri_of(replica))
        lost = load.lost(ledger)
        print(f"failover, wait={wait}: {len(lost)} of {load.settled} acknowledged settlements lost")
        assert all(killed - when < 1.0 for when in lost)
        assert not (wait and lost)
        assert settle(ledger, account=ACCOUNTS[0], change=charged), "the replica goes on"


def test_with_wait_a_change_that_no_replica_received_is_no_success(tmp_path: Path) -> None:
    with replicated(redis_binary(), tmp_path) as (primary, replica):
        ledger = open_ledger(primary.uri(prefix="durable", timeout="1", wait="1"))
        key = ledger.add_key("ada")
        assert settle(ledger, change=charged)
        replica.kill()
        for change in (
            lambda: settle(ledger, change=charged),
            lambda: ledger.add_key("bob"),
            lambda: ledger.revoke_key(key.split("_")[1]),
            lambda: ledger.set_mode(MODEL, "off"),
            lambda: ledger.set_limits("ada", AccountLimits(budget=7)),
            lambda: ledger.set_limits("ada", AccountLimits()),
        ):
            with pytest.raises(LedgerUnavailable, match="0 of 1 replicas received a change"):
                change()
        replica.start()
        caught_up(replica)
        ledger.set_mode(MODEL, "enforce")
        assert ledger.account_of(key) is None, "the change was made, as after a reply that is lost"


def test_with_wait_an_outcome_that_no_replica_has_repeats_no_answer(tmp_path: Path) -> None:
    """Of two simultaneous uses of a solution, the second has the outcome of the first, which may still wait."""
    with replicated(redis_binary(), tmp_path) as (primary, replica):
        first = open_ledger(primary.uri(prefix="durable", timeout="1"))
        second = open_ledger(primary.uri(prefix="durable", timeout="1", wait="1"))
        later = time.time() + 600
        outcome = spend(first, use("a", expires=later))
        assert outcomes(second, "a") == {"a": outcome}
        replica.kill()
        spend(first, use("b", expires=later))
        with pytest.raises(LedgerUnavailable, match="0 of 1 replicas received a change"):
            outcomes(second, "b")
        assert outcomes(second, "c") == {}, "there is nothing to wait for"
        replica.start()
        caught_up(replica)
        assert set(outcomes(second, "b")) == {"b"}


def test_what_nobody_pays_for_is_charged_once_also_without_replicas(tmp_path: Path) -> None:
    """Mode `observe` charges again what could not be charged."""
    with redis_server(redis_binary(), tmp_path) as server:
        ledger = open_ledger(server.uri(wait="1"))
        ledger.charge(MODEL, {"ada": charged_account})
        assert ledger.account(MODEL, "ada").history.queries == 1


def test_a_primary_that_lost_its_replicas_refuses_if_it_is_told_to(tmp_path: Path) -> None:
    """So that a primary cut off from the rest does not answer beside the replica that took over.

    Valkey does, and Redis from version 7 on; Redis 6.2 lets scripts write all the same.
    """
    options = ("--min-replicas-to-write", "1", "--min-replicas-max-lag", "2")
    with replicated(valkey_binary(), tmp_path, *options) as (primary, replica):
        ledger = open_ledger(uri_of(primary))
        deadline = time.monotonic() + 30
        while not is_written(ledger):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        replica.kill()
        while is_written(ledger):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        with pytest.raises(LedgerUnavailable, match="replicas"):
            settle(ledger, change=charged)
        assert len(ledger.models()) == 1, "it can still be read"


def is_written(ledger: Ledger) -> bool:
    try:
        return settle(ledger, change=charged)
    except LedgerUnavailable:
        return False
