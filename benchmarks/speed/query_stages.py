"""Time of a protected query by stage, measured on the parts of an archive.

The work of a worker is done in this process: TorchServe's own `Service.predict` is called as a worker calls it, and the
ledger is a real file. The same queries are sent over HTTP in turns with it; the difference is the time of HTTP. Run it
in a process of its own: the victim changes the working directory, and TorchServe prints metrics to standard output.
"""

import contextlib
import itertools
import logging
import os
import shutil
import statistics
import tempfile
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from unittest.mock import patch

import torch

from benchmarks.serving.light_client import BadAnswer
from benchmarks.serving.load import ServedModel, prepay
from benchmarks.speed.batch_times import Batches, measure_batches
from benchmarks.speed.model_access import Inside, ModelAccess, Outside
from benchmarks.speed.stopwatch import REST, WHOLE, Lap, Stopwatch
from calpow.handler.gate import entry_check
from calpow.handler.gate.challenges import Issuer
from calpow.handler.gate.tokens import Signer
from calpow.handler.leakage.scores.votes import VoteScore
from calpow.handler.leakage.teachers.ensemble import Ensemble
from calpow.handler.ledger.sqlite.sqlite_ledger import SqliteLedger
from calpow.handler.ledger.uri import URI_VARIABLE, open_ledger
from calpow.handler.victim import Victim
from calpow.puzzle.solving.solver import solve
from calpow.puzzle.wire import KEY_HEADER, SOLUTION_HEADER, Challenge, format_solution

WARM_UP = 100
QUERIES = 400
# A few honest answers cost more than the past of their account, and are withheld: they are left out.
LEAST_ANSWERED = 0.9

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


@contextlib.contextmanager
def watched(stopwatch: Stopwatch) -> Iterator[None]:
    """Context manager that times all stages within its block."""
    with contextlib.ExitStack() as stack:
        for owner, name, stage in PLACES:
            stack.enter_context(patch.object(owner, name, stopwatch.timed(stage, getattr(owner, name))))
        yield


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


def _microseconds(seconds: Sequence[float]) -> float:
    return 1e6 * statistics.median(seconds)
