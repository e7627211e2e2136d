"""Time of a protected query by stage, measured on the parts of an archive.

The work of a worker is done in this process: TorchServe's own `Service.predict` is called as a worker calls it, and the
ledger is a real file. The same queries are sent over HTTP in turns with it; the difference is the time of HTTP. Run it
in a process of its own: the victim changes the working directory, and TorchServe prints metrics to standard output.
"""

import contextlib
import functools
import itertools
import logging
import os
import shutil
import statistics
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import ParamSpec, Protocol, TypeVar
from unittest.mock import patch

import torch
import ts
from ts.metrics.metric_cache_yaml_impl import MetricsCacheYamlImpl
from ts.model_loader import ModelLoaderFactory
from ts.service import Service

from benchmarks.load import ServedModel, prepay
from benchmarks.pricing import inputs_of
from benchmarks.wire import BadAnswer, Connection, request
from calpow.archiver.victim.victim_archive import open_victim
from calpow.handler.config import CALIBRATION_FILE, ENSEMBLE_FILE, VICTIM_FILE
from calpow.handler.gate import entry_check
from calpow.handler.gate.challenges import Issuer
from calpow.handler.gate.tokens import Signer
from calpow.handler.leakage.gnmax.accountant import Accountant
from calpow.handler.leakage.scores.votes import VoteScore
from calpow.handler.leakage.teachers.ensemble import Ensemble
from calpow.handler.ledger.sqlite.sqlite_ledger import SqliteLedger
from calpow.handler.ledger.uri import URI_VARIABLE, open_ledger
from calpow.handler.model_archive import read_manifest, unpack
from calpow.handler.policy.calibration_file import load_policy
from calpow.handler.torchserve import GateHandler
from calpow.handler.victim import Victim
from calpow.puzzle.solving.solver import solve
from calpow.puzzle.wire import KEY_HEADER, SOLUTION_HEADER, Challenge, format_solution

P = ParamSpec("P")
R = TypeVar("R")

WARM_UP = 100
QUERIES = 400
BATCHES = (1, 16, 64)
REPETITIONS = 60
# A few honest answers cost more than the past of their account, and are withheld: they are left out.
LEAST_ANSWERED = 0.9
ACCOUNTED = 64

LEDGER_CALLS = ("account_of", "holders", "account", "standing", "admit", "settle", "fail", "secrets")
PASS = "the victim's pass"
PLACES: Sequence[tuple[type | ModuleType, str, str]] = (
    (Ensemble, "votes", "ensemble"),
    (VoteScore, "costs", "accounting"),
    *((SqliteLedger, name, "ledger") for name in LEDGER_CALLS),
    (Signer, "sign", "signing"),
    (Signer, "verify", "verifying"),
    (Issuer, "read", "verifying"),
    (entry_check, "is_solved", "verifying"),
    (Victim, "run", PASS),
)
STAGES = tuple(dict.fromkeys(stage for _, _, stage in PLACES))
REST = "the gate's rest"
WHOLE = "whole"

# Seconds by stage.
Lap = Mapping[str, float]


@dataclass(frozen=True)
class Column:
    """Medians in microseconds of one kind of request: by stage in the worker, all of the worker, and outside it."""

    stages: Mapping[str, float]
    worker: float
    http: float


@dataclass(frozen=True)
class Stages:
    """Times of an unprotected request, of the two requests of a protected query, and of a prepaid query.

    challenge: of the unpaid request, which does not reach the victim.
    solving: the client's time for a challenge, in microseconds.
    """

    unprotected: Column
    challenge: Column
    answer: Column
    prepaid: Column
    solving: float
    expected_hashes: float


@dataclass(frozen=True)
class Batches:
    """Medians in microseconds of accounting for 64 queries, and of ensemble and victim by batch size."""

    accounting_64: float
    ensemble: Mapping[int, float]
    victim: Mapping[int, float]


def measure(archive: Path, scratch: Path, site: ServedModel) -> tuple[Stages, Batches]:
    """Measure a protected archive in this process and on the server of `site`.

    `scratch` is a folder on the disk where a ledger would be. Raises BadAnswer for an unexpected answer.
    """
    torch.set_num_threads(1)
    logging.getLogger("ts").setLevel(logging.ERROR)
    home = Path(tempfile.mkdtemp(prefix="stages-", dir=scratch)).resolve()
    before = Path.cwd()
    try:
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
            with zipfile.ZipFile(archive) as packed:
                packed.extractall(home)
            return measure_stages(home, site), measure_batches(home, site.payloads)
    finally:
        os.chdir(before)
        shutil.rmtree(home, ignore_errors=True)


def measure_stages(home: Path, site: ServedModel) -> Stages:
    """Send queries to the unpacked archive in `home` and to the server of `site` in turns."""
    os.environ[URI_VARIABLE] = f"sqlite:///{home / 'ledger.db'}"
    key, key_there = open_ledger(os.environ[URI_VARIABLE]).add_key("user"), open_ledger(site.ledger).add_key("user")
    stopwatch = Stopwatch()
    with watched(stopwatch):
        here, there = Inside(home, stopwatch), Outside(site)
        asked = itertools.islice(itertools.cycle(site.payloads), 2 * (WARM_UP + QUERIES))
        two = zip(asked, asked, strict=True)
        both = [(ask(here, key, *bodies), ask(there, key_there, *bodies)) for bodies in two][WARM_UP:]
    pairs = [(inside, outside) for inside, outside in both if inside is not None and outside is not None]
    if len(pairs) < LEAST_ANSWERED * len(both):
        raise BadAnswer(f"of {len(both)} queries only {len(pairs)} were answered for the work that was asked for")
    return Stages(
        _column([(inside.unprotected, outside.unprotected) for inside, outside in pairs]),
        _column([(inside.challenge, outside.challenge) for inside, outside in pairs]),
        _column([(inside.answer, outside.answer) for inside, outside in pairs]),
        _column([(inside.prepaid, outside.prepaid) for inside, outside in pairs]),
        _microseconds([inside.solving for inside, _ in pairs]),
        statistics.median(inside.expected_hashes for inside, _ in pairs),
    )


def _column(laps: Sequence[tuple[Lap, Lap]]) -> Column:
    stages = {name: _microseconds([inside.get(name, 0.0) for inside, _ in laps]) for name in (*STAGES, REST)}
    worker = _microseconds([inside[WHOLE] for inside, _ in laps])
    return Column(stages, worker, _microseconds([outside[WHOLE] for _, outside in laps]) - worker)


class Stopwatch:
    """Sums of seconds by stage. The time of a stage that runs inside another counts for the inner one alone."""

    def __init__(self) -> None:
        self._spent: dict[str, float] = {}
        self._inner = [0.0]

    def timed(self, stage: str, function: Callable[P, R]) -> Callable[P, R]:
        """Return `function` with its time added to a stage."""

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            self._inner.append(0.0)
            begun = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                whole = time.perf_counter() - begun
                self._spent[stage] = self._spent.get(stage, 0.0) + whole - self._inner.pop()
                self._inner[-1] += whole

        return call

    def lap(self, function: Callable[[], object]) -> Lap:
        """Return the seconds of each stage during one call, of the WHOLE call, and of the REST, outside all stages."""
        self._spent = {}
        begun = time.perf_counter()
        function()
        whole = time.perf_counter() - begun
        return {**self._spent, REST: whole - sum(self._spent.values()), WHOLE: whole}


@contextlib.contextmanager
def watched(stopwatch: Stopwatch) -> Iterator[None]:
    """Context manager that times all stages within its block."""
    with contextlib.ExitStack() as stack:
        for owner, name, stage in PLACES:
            stack.enter_context(patch.object(owner, name, stopwatch.timed(stage, getattr(owner, name))))
        yield


@dataclass(frozen=True)
class TimedReply:
    """The status of an answer, its WWW-Authenticate header (`offer`), and the time that it took."""

    status: int
    lap: Lap
    offer: str


class ModelAccess(Protocol):
    """Access to the protected and to the unprotected model."""

    def send(self, gated: bool, payload: bytes, headers: Mapping[str, str]) -> TimedReply:
        """Send a payload to one of the two models."""


@dataclass(frozen=True)
class TimedQuery:
    """Times of one query: without the gate, for its challenge, for its answer, and of another query that is prepaid."""

    unprotected: Lap
    challenge: Lap
    answer: Lap
    prepaid: Lap
    solving: float
    expected_hashes: int


def ask(way: ModelAccess, key: str, payload: bytes, another: bytes) -> TimedQuery | None:
    """Send one query without and with the gate, then `another`, prepaid. Return None when an answer is withheld.

    Raises BadAnswer for any other answer than expected.
    """
    plain = way.send(False, payload, {})
    offered = way.send(True, payload, {KEY_HEADER: key})
    if not offered.offer:
        raise BadAnswer(f"a query was answered {offered.status} instead of with a challenge")
    challenge = Challenge.from_www_authenticate(offered.offer)
    begun = time.perf_counter()
    solution = format_solution(challenge.token, solve(challenge.puzzle))
    solving = time.perf_counter() - begun
    answered = way.send(True, payload, {KEY_HEADER: key, SOLUTION_HEADER: solution})
    prepaid = way.send(True, another, {KEY_HEADER: key, SOLUTION_HEADER: prepay(key, offered.offer)})
    statuses = (plain.status, answered.status, prepaid.status)
    if plain.status == 200 and 402 in statuses:
        return None
    if statuses != (200, 200, 200):
        raise BadAnswer(f"a query was answered {statuses} without the gate, with it, and paid beforehand")
    return TimedQuery(plain.lap, offered.lap, answered.lap, prepaid.lap, solving, challenge.puzzle.expected_hashes)


class Inside:
    """Both models in this process, called as a worker calls them."""

    def __init__(self, home: Path, stopwatch: Stopwatch) -> None:
        self._stopwatch = stopwatch
        self._protected = _load_protected(home)
        self._unprotected = _load_unprotected(home)

    def send(self, gated: bool, payload: bytes, headers: Mapping[str, str]) -> TimedReply:
        """Pass the payload to the service as a batch of one."""
        service = self._protected if gated else self._unprotected
        batch = [_incoming(payload, headers)]
        lap = self._stopwatch.lap(lambda: service.predict(batch))
        offer = service.context.get_response_headers(0).get("WWW-Authenticate", "")
        return TimedReply(service.context.get_response_status(0)[0], lap, offer)


class Outside:
    """Both models on a server, over one connection for each of them."""

    def __init__(self, site: ServedModel) -> None:
        self._urls = (site.unprotected, site.protected)
        self._connections = tuple(Connection(url) for url in self._urls)

    def send(self, gated: bool, payload: bytes, headers: Mapping[str, str]) -> TimedReply:
        """Post the payload."""
        answer = self._connections[gated].ask(request(self._urls[gated], payload, headers))
        return TimedReply(answer.status, {WHOLE: answer.seconds}, answer.header("WWW-Authenticate"))


def _incoming(payload: bytes, headers: Mapping[str, str]) -> Mapping[str, object]:
    """Return a request as TorchServe's codec passes it to a worker's service."""
    sent = {"Content-Type": "application/octet-stream", **headers}
    return {
        "requestId": b"0d9c2c0f-5a2b-4a61-9b0e-3a52f0c5c0aa",
        "headers": [{"name": name.encode(), "value": value.encode()} for name, value in sent.items()],
        "parameters": [{"name": "body", "contentType": "application/octet-stream", "value": payload}],
    }


def _load_protected(home: Path) -> Service:
    handler = GateHandler()
    service = Service("protected", str(home), None, handler.handle, None, 1, True, _metrics())
    service.set_cl_socket(None)
    handler.initialize(service.context)
    return service


def _load_unprotected(home: Path) -> Service:
    directory = home / "unprotected"
    unpack(home / VICTIM_FILE, directory)
    entry = read_manifest(home / VICTIM_FILE)["handler"]
    loader = ModelLoaderFactory.get_model_loader()
    service: Service = loader.load("unprotected", str(directory), entry, None, 1, None, True, _metrics())
    service.set_cl_socket(None)
    return service


def _metrics() -> MetricsCacheYamlImpl:
    metrics = MetricsCacheYamlImpl(config_file_path=str(Path(ts.__file__).parent / "configs" / "metrics.yaml"))
    metrics.initialize_cache()
    return metrics


def measure_batches(home: Path, payloads: Sequence[bytes]) -> Batches:
    """Time ensemble and victim on whole batches, and the accounting for 64 queries."""
    ensemble = Ensemble.load(home / ENSEMBLE_FILE)
    settings = load_policy(home / CALIBRATION_FILE).scores[0].settings
    accountant = Accountant.epsilon_at(settings["delta"], settings["sigma"], int(settings["teachers"]))
    with open_victim(home / VICTIM_FILE) as victim:
        inputs = inputs_of(victim, payloads[: max(*BATCHES, ACCOUNTED)])
        # Heads on the victim's features are given them, projected; their time does not depend on the numbers.
        given = torch.rand(len(inputs), ensemble.card.width) if ensemble.on_features else inputs
        votes = torch.from_numpy(ensemble.votes(given[:ACCOUNTED]))
        calls: dict[str, Callable[[], object]] = {"accounting": lambda: accountant.costs(votes)}
        for size in BATCHES:
            calls[f"ensemble {size}"] = functools.partial(ensemble.votes, given[:size])
            calls[f"victim {size}"] = functools.partial(victim.recorder.ask, inputs[:size])
        medians = _in_turns(calls)
    return Batches(
        medians["accounting"],
        {size: medians[f"ensemble {size}"] for size in BATCHES},
        {size: medians[f"victim {size}"] for size in BATCHES},
    )


def _in_turns(calls: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """Return the median microseconds of the calls. They take turns, so that other load affects all of them alike."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(REPETITIONS):
        for name, call in calls.items():
            begun = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - begun)
    return {name: _microseconds(durations) for name, durations in seconds.items()}


def _microseconds(seconds: Sequence[float]) -> float:
    return 1e6 * statistics.median(seconds)
