"""Series of measurements: in each, one quantity of a deployment grows, and all others stay."""

import functools
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch

from benchmarks.added_time.timed_meter import every_score, make_timed_meter
from benchmarks.growth.curve import Curve, stopwatch, times_in_turns
from benchmarks.growth.prepaid_answers import Size, file_gate
from benchmarks.growth.redis_series import account_curve, id_curves
from calpow.archiver.teachers.networks import MNISTNET_SHAPE, mnistnet
from calpow.archiver.teachers.partitions import most_teachers

CLASSES = 10
# Of three layers: 4,000 in all, for any number of classes.
PROTOTYPES = 1_333
GATE, PARSED, SCORES, PASS = "gate", "gate, parsed JSON", "scores", "victim's pass"
QUICK_ROUNDS = 20
# `--quick` leaves out ledgers beyond this many rows.
QUICK_ROWS = 10_000


class GateSeries(NamedTuple):
    """Measurements of the gate alone as one member of `Size` grows; `name` is for people."""

    name: str
    member: str
    sizes: Sequence[int]
    rounds: int
    parsed: bool = False


@dataclass(frozen=True)
class ScoreSize:
    """Size of a model and of the batch whose scores are timed; `teachers` None for the usual number."""

    classes: int = CLASSES
    teachers: int | None = None
    samples: int = 1


class ScoreSeries(NamedTuple):
    """Measurements of the scores alone as one member of `ScoreSize` grows."""

    name: str
    member: str
    sizes: Sequence[int]
    rounds: int


ACCOUNTS, QUERIES, EXPIRED = "accounts", "queries of each account", "expired records"
CLASS_COUNT, TEACHERS, BATCH, PAYLOAD = "classes", "teachers", "requests in a batch", "bytes of a payload"
SPENT = "spent ids"
_CLASSES = (10, 30, 100, 300, 1_000)
_BATCHES = (1, 2, 4, 8, 16, 32, 64)
_PAYLOADS = (1_000, 10_000, 100_000, 300_000, 1_000_000, 3_000_000, 6_000_000)
GATE_SERIES = (
    GateSeries(ACCOUNTS, "accounts", (1_000, 10_000, 100_000, 1_000_000), 2_000),
    GateSeries(QUERIES, "queries", (100, 1_000, 10_000, 100_000, 1_000_000), 1_500),
    GateSeries(EXPIRED, "expired", (1_000, 10_000, 100_000, 1_000_000, 10_000_000), 2_000),
    GateSeries(CLASS_COUNT, "classes", _CLASSES, 1_500),
    GateSeries(BATCH, "requests", _BATCHES, 200),
    GateSeries(PAYLOAD, "payload", _PAYLOADS, 200),
    GateSeries(PAYLOAD, "payload", _PAYLOADS, 200, parsed=True),
)
REDIS_ACCOUNTS = (1_000, 10_000, 100_000, 1_000_000)
REDIS_IDS = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)
SCORE_SERIES = (
    ScoreSeries(CLASS_COUNT, "classes", _CLASSES, 600),
    ScoreSeries(TEACHERS, "teachers", (10, 30, 100, 300, 1_000), 600),
    ScoreSeries(BATCH, "samples", _BATCHES, 200),
)


def curves(folder: Path | None, *, quick: bool) -> Iterator[Curve]:
    """Yield all curves. Ledgers are below `folder` meanwhile; `quick`: smaller ledgers and fewer rounds."""
    for gates in GATE_SERIES:
        yield gate_curve(gates, folder, quick=quick)
    for scores in SCORE_SERIES:
        yield from score_curves(scores, QUICK_ROUNDS if quick else scores.rounds)


def redis_curves(folder: Path | None, *, quick: bool) -> Iterator[Curve]:
    """Yield the curves of a ledger in Redis."""
    counts = REDIS_ACCOUNTS, REDIS_IDS
    accounts, ids = ([size for size in sizes if not quick or size <= QUICK_ROWS] for sizes in counts)
    yield account_curve(ACCOUNTS, accounts, folder, quick=quick)
    yield from id_curves(SPENT, ids, folder, quick=quick)


def gate_curve(series: GateSeries, folder: Path | None, *, quick: bool) -> Curve:
    """Time prepaid answers at each size of a series, in turns."""
    part = PARSED if series.parsed else GATE
    is_ledger = series.member in ("accounts", "expired")
    sizes = [size for size in series.sizes if not (quick and is_ledger and size > QUICK_ROWS)]
    with tempfile.TemporaryDirectory(prefix="growth-", dir=folder) as home:
        gates = [
            file_gate(Path(home) / f"{size}.db", Size(parsed=series.parsed, **{series.member: size})) for size in sizes
        ]
        rounds = QUICK_ROUNDS if quick else series.rounds
        seconds = times_in_turns([gate.seconds for gate in gates], range(rounds), f"{series.name}, {part}")
    return Curve(series.name, part, sizes, seconds)


def score_curves(series: ScoreSeries, rounds: int) -> Iterator[Curve]:
    """Time the pass of MnistNet and all scores of images at each size of a series, in turns."""
    passes, pricings = zip(*[_passes(ScoreSize(**{series.member: size})) for size in series.sizes], strict=True)
    columns = times_in_turns(
        [stopwatch(run) for run in (*passes, *pricings)], range(rounds), f"{series.name}, {SCORES}"
    )
    yield Curve(series.name, PASS, series.sizes, columns[: len(passes)])
    yield Curve(series.name, SCORES, series.sizes, columns[len(passes) :])


def _passes(size: ScoreSize) -> tuple[Callable[[], object], Callable[[], object]]:
    """Return functions that run MnistNet on a batch, and that price such a pass."""
    torch.manual_seed(0)
    teachers = size.teachers or most_teachers(size.classes)
    model = mnistnet(size.classes, MNISTNET_SHAPE).eval()
    scores = functools.partial(every_score, teachers=teachers)
    meter = make_timed_meter(model, scores, size.classes, PROTOTYPES, teachers)
    inputs = torch.rand(size.samples, *MNISTNET_SHAPE)
    calls = [meter.recorder.ask(inputs)]
    return lambda: meter.recorder.ask(inputs), lambda: meter.price_calls(calls)
