"""Processor time of answers over HTTP as payloads grow: by a protected model and by the same one without protection."""

import contextlib
import io
import itertools
import math
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
from PIL import Image

from benchmarks.growth.curve import Curve, times_in_turns
from benchmarks.serving.light_client import BadAnswer, Connection, request
from calpow.archiver.progress import announce
from calpow.archiver.server import Server, served
from calpow.handler.ledger.ledger import Ledger
from calpow.handler.ledger.uri import URI_VARIABLE, open_ledger
from calpow.puzzle.prepaid import prepaid_resource
from calpow.puzzle.profiles import DEFAULT_PROFILE, PROFILES
from calpow.puzzle.solving.solver import solve
from calpow.puzzle.wire import KEY_HEADER, SOLUTION_HEADER, format_prepaid
from tests.support.guarded import protect, train_teachers
from tests.support.victims import build as victims

SERVED_PAYLOAD = "bytes of a payload, by HTTP"
# TorchServe itself takes 6.5 MB by default.
SIZES = (10_000, 30_000, 100_000, 300_000, 1_000_000, 3_000_000, 6_000_000)
ROUNDS, QUICK_ROUNDS = 40, 8
TEXT, PNG = "text", "PNG"
UNPROTECTED, PROTECTED = "unprotected", "protected"
PARTS = tuple(f"{kind}, {twin}" for kind in (TEXT, PNG) for twin in (UNPROTECTED, PROTECTED))
# An account that has not sent a picture yet pays for it as for a new one.
ACCOUNTS, PICTURES = 50, 6
# Twice what the models ask for an answer.
HASHES = 400
SEED = 15
# After its answer, a worker writes its log and its metrics, and frees the payload.
SETTLING_SECONDS = 0.005


def served_curves(folder: Path | None, *, quick: bool) -> Iterator[Curve]:
    """Time answers to payloads of each size by all models, in turns; files are below `folder` meanwhile."""
    announce("trains teachers and starts a server: a minute")
    rounds = QUICK_ROUNDS if quick else ROUNDS
    with contextlib.ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="growth-", dir=folder)))
        twins = stack.enter_context(_twins(home))
        payloads = {TEXT: _texts, PNG: _pictures}
        asks = [
            ask
            for kind, twin in twins.items()
            for protected in (False, True)
            for ask in twin.asks(payloads[kind], protected, stack)
        ]
        columns = times_in_turns(asks, range(rounds), SERVED_PAYLOAD)
    for place, part in enumerate(PARTS):
        yield Curve(SERVED_PAYLOAD, part, SIZES, columns[place * len(SIZES) : (place + 1) * len(SIZES)])


@dataclass(frozen=True)
class Twins:
    """A model on a server without and with protection, and users of the protected one who pay beforehand."""

    server: Server
    name: str
    realm: str
    keys: Sequence[str]

    @classmethod
    def of(cls, server: Server, name: str, ledger: Ledger) -> "Twins":
        """Return the twins of a name, with keys of new accounts."""
        keys = [ledger.add_key(f"{name}-{number}") for number in range(ACCOUNTS)]
        return cls(server, name, f"{name}@{ledger.deployment()}", keys)

    def asks(
        self, payloads: Callable[[int], Iterator[bytes]], protected: bool, stack: contextlib.ExitStack
    ) -> list[Callable[[], float]]:
        """Return a function for each size, which sends a payload and returns the processor seconds that it took.

        They are those of TorchServe's frontend and of the worker. All share a connection, which `stack` closes.
        """
        model = self.name if protected else _plain(self.name)
        connection = stack.enter_context(contextlib.closing(Connection(self.server.url(model))))
        (worker,) = self.server.worker_pids(model)
        processes = worker, psutil.Process(worker).ppid()
        return [self._ask(connection, processes, payloads(size), protected) for size in SIZES]

    def _ask(
        self, connection: Connection, processes: Sequence[int], payloads: Iterator[bytes], protected: bool
    ) -> Callable[[], float]:
        url = self.server.url(self.name if protected else _plain(self.name))
        keys = itertools.cycle(self.keys)

        def ask() -> float:
            headers = self._payment(next(keys)) if protected else {}
            sent = request(url, next(payloads), headers)
            begun = _processor_seconds(processes)
            answer = connection.ask(sent)
            time.sleep(SETTLING_SECONDS)
            if answer.status != 200:
                raise BadAnswer(f"{url} answered {answer.status}: {answer.body[:300]!r}")
            return _processor_seconds(processes) - begun

        return ask

    def _payment(self, key: str) -> Mapping[str, str]:
        puzzle = PROFILES[DEFAULT_PROFILE].kind.puzzle(HASHES, prepaid_resource(self.realm, key))
        return {KEY_HEADER: key, SOLUTION_HEADER: format_prepaid(solve(puzzle))}


@contextlib.contextmanager
def _twins(home: Path) -> Iterator[Mapping[str, Twins]]:
    """Serve a model on four numbers, whose payloads go on with any text, and one on pictures, by kind of payload."""
    for part in (TEXT, PNG, "guarded"):
        (home / part).mkdir()
    victim_of = {
        TEXT: victims.vector_class(home / TEXT),
        PNG: victims.pictures(home / PNG, "picture", script=False),
    }
    data = {TEXT: victims.vectors(home / "vectors"), PNG: victims.colours(home / "colours")}
    archives: dict[str, Path] = {}
    for kind, victim in victim_of.items():
        teachers = train_teachers(home / kind, victim, data[kind], "random")
        archives[kind] = protect(home / "guarded", kind, victim, teachers).guarded
        archives[_plain(kind)] = victim
    uri = f"sqlite:///{home / 'ledger.db'}"
    environment = {URI_VARIABLE: uri, "OMP_NUM_THREADS": "1"}
    with served(archives, properties={"default_workers_per_model": "1"}, environment=environment) as server:
        ledger = open_ledger(uri)
        yield {kind: Twins.of(server, kind, ledger) for kind in victim_of}


def _processor_seconds(processes: Sequence[int]) -> float:
    """Return the seconds that cores have worked for these processes, to the nanosecond."""
    # The number of a process's clock is that of clock_getcpuclockid(3), which Python has not.
    return sum(time.clock_gettime(~process << 3 | 2) for process in processes)


def _plain(name: str) -> str:
    return f"{name}-plain"


def _texts(size: int) -> Iterator[bytes]:
    """Yield texts of four numbers, each different from the others, and of letters up to a size."""
    letters = b"a" * size
    for number in itertools.count():
        numbers = f"{number % 1000 / 1000:.3f},{number // 1000 / 1000:.3f},0,0;".encode()
        yield numbers + letters[len(numbers) :]


def _pictures(size: int) -> Iterator[bytes]:
    """Yield some pictures of noise, of about a size, again and again."""
    side, rng = math.isqrt(size // 3), random.Random(SEED)
    files = []
    for _ in range(PICTURES):
        file = io.BytesIO()
        Image.frombytes("RGB", (side, side), rng.randbytes(3 * side * side)).save(file, "PNG", compress_level=1)
        files.append(file.getvalue())
    yield from itertools.cycle(files)
