"""Where the time of a protected query goes, measured inside one process on the archive's own parts.

TorchServe's own `Service.predict` is called as a worker calls it; the ledger is a real file. Run it in a process of
its own: the victim changes the working directory, and TorchServe's metrics go to standard output.
"""

import contextlib
import functools
import os
import shutil
import statistics
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ParamSpec, TypeVar
from unittest.mock import patch

import torch
import ts
from ts.metrics.metric_cache_yaml_impl import MetricsCacheYamlImpl
from ts.model_loader import ModelLoaderFactory
from ts.service import Service

from calpow.archiver.victims import open_victim
from calpow.handler.challenge import Signer
from calpow.handler.config import ENSEMBLE_FILE, VICTIM_FILE
from calpow.handler.ensemble import Ensemble
from calpow.handler.leakage.pate import Pate
from calpow.handler.leakage.rdp import gnmax_epsilon
from calpow.handler.ledger import open_ledger
from calpow.handler.ledger.sqlite import SqliteLedger
from calpow.handler.parts import load_parts
from calpow.handler.torchserve import GateHandler
from calpow.handler.victim import Victim, read_manifest, unpack
from calpow.puzzle.challenge import KEY_HEADER, SOLUTION_HEADER, Challenge, format_solution
from calpow.puzzle.puzzle import Puzzle
from calpow.puzzle.solver import solve

P = ParamSpec("P")
R = TypeVar("R")

WARM_UP = 60
QUERIES = 400
# An account may have 64 challenges open; here each is paid at once, but honest users do not ask for ever.
QUERIES_AN_ACCOUNT = 100
BATCHES = (1, 16, 64)
REPETITIONS = 60
ACCOUNTED = 64

LEDGER_CALLS = ("secrets", "account_of", "totals", "standing", "quote", "redeem", "settle", "undo")
PLACES: Sequence[tuple[type, str, str]] = (
    (Victim, "preprocess", "preprocess"),
    (Ensemble, "votes", "ensemble"),
    (Pate, "price", "accounting"),
    *((SqliteLedger, name, "ledger") for name in LEDGER_CALLS),
    (Signer, "sign", "signing"),
    (Signer, "verify", "verifying"),
    (Puzzle, "verify", "verifying"),
    (Victim, "predict", "victim"),
)
STAGES = tuple(dict.fromkeys(stage for _, _, stage in PLACES))
REST = "the gate's rest"


@dataclass(frozen=True)
class Stages:
    """Medians in microseconds.

    `challenge` and `answer` are the two requests of a protected query by stage, `*_total` the whole of each in the
    worker, `unprotected_total` that of the victim alone; `solving` is the client's.
    """

    challenge: Mapping[str, float]
    answer: Mapping[str, float]
    challenge_total: float
    answer_total: float
    unprotected_total: float
    solving: float
    expected_hashes: float


@dataclass(frozen=True)
class Batches:
    """Medians in microseconds: accounting for 64 queries, and ensemble and victim by batch size."""

    accounting_64: float
    ensemble: Mapping[int, float]
    victim: Mapping[int, float]


class Stopwatch:
    """Adds up the seconds of each stage; a stage inside another counts for itself alone."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}
        self._inner = [0.0]

    def timed(self, stage: str, function: Callable[P, R]) -> Callable[P, R]:
        """`function`, its time added to a stage."""

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            self._inner.append(0.0)
            begun = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                whole = time.perf_counter() - begun
                self.spent[stage] = self.spent.get(stage, 0.0) + whole - self._inner.pop()
                self._inner[-1] += whole

        return call

    def lap(self, function: Callable[[], object]) -> dict[str, float]:
        """Seconds of each stage during one call, the whole as "" and what no stage took as REST."""
        self.spent = {}
        begun = time.perf_counter()
        function()
        whole = time.perf_counter() - begun
        return {**self.spent, REST: whole - sum(self.spent.values()), "": whole}


@contextlib.contextmanager
def watched(stopwatch: Stopwatch) -> Iterator[None]:
    """Time every stage of whatever runs meanwhile."""
    with contextlib.ExitStack() as stack:
        for owner, name, stage in PLACES:
            stack.enter_context(patch.object(owner, name, stopwatch.timed(stage, getattr(owner, name))))
        yield


def measure(archive: Path, scratch: Path, payloads: Sequence[bytes]) -> tuple[Stages, Batches]:
    """Measure a protected archive; `scratch` is a folder on the disk where a ledger would be."""
    torch.set_num_threads(1)
    home = Path(tempfile.mkdtemp(prefix="stages-", dir=scratch)).resolve()
    before = Path.cwd()
    try:
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
            with zipfile.ZipFile(archive) as packed:
                packed.extractall(home)
            os.environ["CALPOW_LEDGER"] = f"sqlite:///{home / 'ledger.db'}"
            stages = _stages(home, payloads)
            return stages, _batches(home, payloads)
    finally:
        os.chdir(before)
        shutil.rmtree(home, ignore_errors=True)


def _stages(home: Path, payloads: Sequence[bytes]) -> Stages:
    stopwatch = Stopwatch()
    with watched(stopwatch):
        protected, unprotected = _protected(home), _unprotected(home)
        user = User(protected, unprotected, stopwatch)
        laps = [user.ask(payloads[index % len(payloads)]) for index in range(WARM_UP + QUERIES)][WARM_UP:]
    challenge, answer = ([getattr(lap, name) for lap in laps] for name in ("challenge", "answer"))
    return Stages(
        challenge={stage: _microseconds([lap.get(stage, 0.0) for lap in challenge]) for stage in (*STAGES, REST)},
        answer={stage: _microseconds([lap.get(stage, 0.0) for lap in answer]) for stage in (*STAGES, REST)},
        challenge_total=_microseconds([lap[""] for lap in challenge]),
        answer_total=_microseconds([lap[""] for lap in answer]),
        unprotected_total=_microseconds([lap.unprotected[""] for lap in laps]),
        solving=_microseconds([lap.solving for lap in laps]),
        expected_hashes=statistics.median(lap.expected_hashes for lap in laps),
    )


@dataclass(frozen=True)
class Lap:
    """One query, seconds by stage: asked of the victim alone, asked of the gate, and asked again with the work."""

    unprotected: Mapping[str, float]
    challenge: Mapping[str, float]
    answer: Mapping[str, float]
    solving: float
    expected_hashes: int


class User:
    """Asks the two services of this process in turns."""

    def __init__(self, protected: Service, unprotected: Service, stopwatch: Stopwatch) -> None:
        self._protected = protected
        self._unprotected = unprotected
        self._stopwatch = stopwatch
        self._ledger = open_ledger(os.environ["CALPOW_LEDGER"])
        self._asked = 0
        self._key = ""

    def ask(self, payload: bytes) -> Lap:
        """One query in all three ways."""
        if self._asked % QUERIES_AN_ACCOUNT == 0:
            self._key = self._ledger.add_key(f"user-{self._asked}")
        self._asked += 1
        headers = {KEY_HEADER: self._key}
        unprotected = self._send(self._unprotected, payload, {}, 200)
        challenged = self._send(self._protected, payload, headers, 402)
        offered = self._protected.context.get_response_headers(0)["WWW-Authenticate"]
        challenge = Challenge.from_www_authenticate(offered)
        begun = time.perf_counter()
        solution = format_solution(challenge.token, solve(challenge.puzzle))
        solving = time.perf_counter() - begun
        answered = self._send(self._protected, payload, {**headers, SOLUTION_HEADER: solution}, 200)
        return Lap(unprotected, challenged, answered, solving, challenge.puzzle.expected_hashes)

    def _send(self, service: Service, payload: bytes, headers: Mapping[str, str], status: int) -> Mapping[str, float]:
        batch = [_incoming(payload, headers)]
        lap = self._stopwatch.lap(lambda: service.predict(batch))
        found = service.context.get_response_status(0)[0]
        if found != status:
            raise AssertionError(f"a request got {found} instead of {status}")
        return lap


def _incoming(payload: bytes, headers: Mapping[str, str]) -> Mapping[str, object]:
    """A request as TorchServe's codec hands it to a worker's service."""
    sent = {"Content-Type": "application/octet-stream", "Accept": "*/*", **headers}
    return {
        "requestId": b"0d9c2c0f-5a2b-4a61-9b0e-3a52f0c5c0aa",
        "headers": [{"name": name.encode(), "value": value.encode()} for name, value in sent.items()],
        "parameters": [{"name": "body", "contentType": "application/octet-stream", "value": payload}],
    }


def _protected(home: Path) -> Service:
    handler = GateHandler()
    service = Service("protected", str(home), None, handler.handle, None, 1, True, _metrics())
    service.set_cl_socket(None)
    handler.initialize(service.context)
    return service


def _unprotected(home: Path) -> Service:
    directory = home / "unprotected"
    unpack(home / VICTIM_FILE, directory)
    entry = read_manifest(home / VICTIM_FILE)["handler"]
    loader = ModelLoaderFactory.get_model_loader()
    service = loader.load("unprotected", str(directory), entry, None, 1, None, True, _metrics())
    service.set_cl_socket(None)
    return service


def _metrics() -> MetricsCacheYamlImpl:
    metrics = MetricsCacheYamlImpl(config_file_path=str(Path(ts.__file__).parent / "configs" / "metrics.yaml"))
    metrics.initialize_cache()
    return metrics


def _batches(home: Path, payloads: Sequence[bytes]) -> Batches:
    ensemble = Ensemble.load(home / ENSEMBLE_FILE)
    settings = load_parts(home, torch.device("cpu")).calibration.metric
    with open_victim(home / VICTIM_FILE) as victim:
        inputs = victim.preprocess([{"body": body} for body in payloads[: max(*BATCHES, ACCOUNTED)]])
        votes = ensemble.votes(inputs[:ACCOUNTED])
        calls: dict[str, Callable[[], object]] = {
            "accounting": lambda: gnmax_epsilon(votes, settings.sigma, settings.delta)
        }
        for size in BATCHES:
            calls[f"ensemble {size}"] = functools.partial(ensemble.votes, inputs[:size])
            calls[f"victim {size}"] = functools.partial(victim.infer, inputs[:size])
        medians = _in_turns(calls)
    return Batches(
        medians["accounting"],
        {size: medians[f"ensemble {size}"] for size in BATCHES},
        {size: medians[f"victim {size}"] for size in BATCHES},
    )


def _in_turns(calls: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """Median microseconds of each call; all take turns, so that other load on the machine falls on all alike."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(REPETITIONS):
        for name, call in calls.items():
            begun = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - begun)
    return {name: _microseconds(each) for name, each in seconds.items()}


def _microseconds(seconds: Sequence[float]) -> float:
    return 1e6 * statistics.median(seconds)
