"""The connection to Redis, Valkey or a cluster of either: its URI, its time limit, and its failures in one line."""

import contextlib
import math
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

import redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisClusterException
from redis.retry import Retry

from calpow.handler.errors import LedgerError, LedgerUnavailable
from calpow.puzzle.process_local import ProcessLocal

DEFAULT_TIMEOUT = 0.1
DEFAULT_PREFIX = "calpow"
MOST_SECONDS = 3600.0
# The setting of maxmemory-policy with which a server that is full refuses what is new, and forgets nothing.
NO_EVICTION = "noeviction"
# Of a message of the server, which may quote what it was sent.
_LONGEST_MESSAGE = 120
# Words of Redis 6 before the message of a command in a script.
_IN_A_SCRIPT = re.compile(r"^Error running script \(call to \w+\): (?:@user_script: ?\d+: )*-?")
# Keys that the server looks at for one page of names; more would hold up the workers.
_SCANNED = 500

Value = bytes | str | int | float
_Result = TypeVar("_Result")


class Script(NamedTuple):
    """One run of a Lua script on the keys of one slot."""

    text: str
    keys: Sequence[str]
    arguments: Sequence[Value] = ()

    @property
    def command(self) -> tuple[Value, ...]:
        """The command that runs it. Redis keeps the compiled script, and a restarted server needs none loaded."""
        return ("EVAL", self.text, len(self.keys), *self.keys, *self.arguments)


class RedisClient:
    """Runs commands and scripts on the server or the cluster of a URI, each within a time limit.

    The URI is that of redis-py, with the parameters `prefix` (of all keys), `timeout` in seconds, `wait` (for so many
    replicas) and `cluster=true` beside those of redis-py, such as `ssl_ca_certs`. Nothing is connected before the first
    command. A command is never sent twice: whether a lost one has been run is not known. Safe with threads and forks.
    """

    def __init__(self, uri: str) -> None:
        """Raise LedgerError where the URI is none."""
        try:
            parts = urlsplit(uri)
            # The password of the URI is in no message, and `error` may quote a part of it.
            self._place = f"{parts.scheme}://{parts.hostname or ''}:{parts.port or 6379}"
        except ValueError:
            raise LedgerError(
                "the ledger's URI has no host and port that can be read: write the password's / ? # [ ] @ : as %2F %3F"
                " %23 %5B %5D %40 %3A"
            ) from None
        options = dict(parse_qsl(parts.query))
        self.prefix = options.pop("prefix", DEFAULT_PREFIX)
        self._timeout = _seconds(options.pop("timeout", str(DEFAULT_TIMEOUT)))
        self._replicas = _replicas(options.pop("wait", "0"))
        self.is_cluster = options.pop("cluster", "false") == "true"
        if not parts.hostname:
            raise LedgerError(f"{self._place} is no ledger: give redis://host:port/0 or rediss://host:port/0")
        self._password = options.get("password") or unquote(parts.password or "")
        self._url = urlunsplit(parts._replace(query=urlencode(options)))
        self._connected: ProcessLocal[_Connected] = ProcessLocal(_Connected)
        self._check_parameters()

    def call(self, *command: Value) -> Any:
        """Run one command and return its result. Raises LedgerUnavailable."""
        return self._run([command])[0]

    def calls(self, commands: Sequence[Sequence[Value]]) -> list[Any]:
        """Run commands, in one round trip unless in a cluster, and return their results. Raises LedgerUnavailable."""
        return self._run(commands) if commands else []

    def script(self, script: Script) -> Any:
        """Run one script and return its result. Raises LedgerUnavailable."""
        return self._run([script.command])[0]

    def scripts(self, scripts: Sequence[Script]) -> list[Any]:
        """Run scripts one after another, each of them atomically, as `calls` does."""
        return self.calls([script.command for script in scripts])

    def keep(self, commands: Sequence[Sequence[Value]]) -> list[Any]:
        """Run commands as `calls` does, and wait until the replicas that the URI asks for have received their changes.

        Raises LedgerUnavailable, also where replicas have not within the time limit; then the changes are made all the
        same, as after a reply that is lost.
        """
        if not commands or not self._replicas:
            return self.calls(commands)
        wait = ("WAIT", self._replicas, math.ceil(self._timeout * 500))
        if self.is_cluster:
            return [self._received(*self._run_on_its_node(command, wait)) for command in commands]
        *results, received = self._run([*commands, wait])
        return self._received(results, received)

    @property
    def waits(self) -> bool:
        """Whether changes that are kept wait for replicas."""
        return self._replicas > 0

    def _received(self, result: _Result, received: int) -> _Result:
        """Return a result that replicas have received; raise LedgerUnavailable where they are too few."""
        if received < self._replicas:
            raise LedgerUnavailable(
                f"the ledger {self._place} is unavailable: {received} of {self._replicas} replicas received a change"
            )
        return result

    def _run_on_its_node(self, command: Sequence[Value], wait: Sequence[Value]) -> Sequence[Any]:
        """Run a command in a cluster, and `wait` over the same connection, and return both results."""
        key = str(command[3] if command[0] == "EVAL" else command[1])
        with self._explaining():
            client = self._connected.get().client(self)
            try:
                return self._pair(client, key, command, wait)
            except redis.exceptions.MovedError:  # it was not run: a replica has taken over, or slots have moved
                client.nodes_manager.initialize()
                return self._pair(client, key, command, wait)

    @staticmethod
    def _pair(client: Any, key: str, *commands: Sequence[Value]) -> Sequence[Any]:
        pipeline = client.get_redis_connection(client.get_node_from_key(key)).pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        try:
            return list(pipeline.execute())
        except (redis.ConnectionError, redis.TimeoutError):
            client.nodes_manager.initialize()
            raise

    def names(self, pattern: str) -> Iterator[str]:
        """Yield the names of keys that match a pattern, once each unless they come and go. Raises LedgerUnavailable."""
        with self._explaining():
            for name in self._connected.get().client(self).scan_iter(match=pattern, count=_SCANNED):
                yield name.decode()

    def states(self, section: str) -> list[Mapping[str, Any]]:
        """Return a section of what the server, or each primary of the cluster, says of itself (INFO)."""
        with self._explaining():
            return self._states(self._connected.get().client(self), section)

    def _run(self, commands: Sequence[Sequence[Value]]) -> list[Any]:
        with self._explaining():
            client = self._connected.get().client(self)
            if self.is_cluster or len(commands) == 1:
                return [client.execute_command(*command) for command in commands]
            pipeline = client.pipeline(transaction=False)
            for command in commands:
                pipeline.execute_command(*command)
            return list(pipeline.execute())

    @contextlib.contextmanager
    def _explaining(self) -> Iterator[None]:
        """Raise LedgerUnavailable, in one line, for a failure of the server or the network."""
        try:
            yield
        # RedisClusterException is no RedisError.
        except (redis.RedisError, RedisClusterException, OSError) as error:
            raise LedgerUnavailable(f"the ledger {self._place} is unavailable: {self._line(error)}") from None

    def _line(self, error: Exception) -> str:
        """Return an error in one line without the password: old servers quote a HELLO that they do not know."""
        if isinstance(error, redis.AuthenticationError):  # the servers' own messages tell of HELLO
            return "it asks for a password, or refuses the one in the URI"
        message = _IN_A_SCRIPT.sub("", " ".join(str(error).split()))
        if self._password and self._password in message:
            message = "it quoted the password"
        return f"{type(error).__name__}: {message[:_LONGEST_MESSAGE]}"

    def _check_parameters(self) -> None:
        """Raise LedgerError for parameters that redis-py does not take. Nothing is connected."""
        try:
            redis.ConnectionPool.from_url(self._url).make_connection()
        except (TypeError, ValueError, redis.RedisError) as error:
            raise LedgerError(f"the URI of the ledger {self._place} has a wrong part: {self._line(error)}") from None

    def connect(self) -> Any:
        """Return a client of redis-py, connected to a server that evicts nothing. Raises LedgerUnavailable."""
        client = self._new_client()
        self.check(client)
        return client

    def check(self, client: Any) -> None:
        """Raise LedgerUnavailable where the server of a client may evict spent solutions."""
        try:
            states = self._states(client, "memory")
        except redis.exceptions.NoPermissionError:  # the user of a hosted server may not ask
            return
        if any(state.get("maxmemory") and state.get("maxmemory_policy") != NO_EVICTION for state in states):
            raise LedgerUnavailable(
                f"the ledger {self._place} may evict spent solutions, which could be used again: set maxmemory-policy"
                f" {NO_EVICTION}"
            )

    def check_again(self) -> None:
        """Look whether the server was set to evict since it was connected: nothing more is done there then.

        Raises LedgerUnavailable.
        """
        with self._explaining():
            self._connected.get().check(self)

    def _states(self, client: Any, section: str) -> list[Mapping[str, Any]]:
        if self.is_cluster:
            return list(client.info(section, target_nodes=redis.RedisCluster.PRIMARIES).values())
        return [client.info(section)]

    def _new_client(self) -> Any:
        limits: dict[str, Any] = {
            "socket_timeout": self._timeout,
            "socket_connect_timeout": self._timeout,
            "retry": Retry(NoBackoff(), 0),
        }
        if self.is_cluster:
            return redis.RedisCluster.from_url(self._url, **limits)
        return redis.Redis.from_url(self._url, **limits)


def _seconds(text: str) -> float:
    """Return a time limit. Raises LedgerError for what is none."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= MOST_SECONDS:
        raise LedgerError(f"the ledger's URI has a timeout of {text!r}: give seconds, such as timeout=0.1")
    return seconds


def _replicas(text: str) -> int:
    """Return a number of replicas. Raises LedgerError for what is none."""
    if not text.isdecimal() or len(text) > 2:
        raise LedgerError(f"the ledger's URI has wait={text!r}: give a number of replicas, such as wait=1")
    return int(text)


class _Connected:
    """The client of one process, once there is one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._client: Any = None

    def client(self, maker: RedisClient) -> Any:
        with self._lock:
            if self._client is None:
                self._client = maker.connect()
            return self._client

    def check(self, maker: RedisClient) -> None:
        """Check the client's server, and forget a client whose server may evict: the next one is checked as well."""
        with self._lock:
            client = self._client
        try:
            if client is not None:
                maker.check(client)
        except LedgerUnavailable:
            with self._lock:
                self._client = None
            raise
