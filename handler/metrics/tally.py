"""The figures of a worker since they were last reported, and the metrics that they are reported as.

All are counters, so that Prometheus adds up workers and nodes; none has a label of a user.
"""

import threading
import time
from bisect import bisect_left
from collections import Counter
from itertools import accumulate
from typing import NamedTuple

BOUNDS_SECONDS = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
"""Upper bounds of the buckets of a step's duration, in seconds. TorchServe's own histograms begin at 5 ms."""

_BOUNDS = (*(f"{bound:g}" for bound in BOUNDS_SECONDS), "+Inf")


class Metric(NamedTuple):
    """A counter that Prometheus sees. `labels` are the names of its labels beside the model's."""

    name: str
    labels: tuple[str, ...] = ()


ANSWERS = Metric("calpow_answers_total")
FAILURES = Metric("calpow_victim_failures_total")
REFUSALS = Metric("calpow_refusals_total", ("problem",))
WITHHELD = Metric("calpow_withheld_answers_total")
SAMPLES = Metric("calpow_samples_total")
ABOVE_FLOOR = Metric("calpow_answers_above_floor_total")
ASKED = Metric("calpow_asked_hashes_total")
PAID = Metric("calpow_paid_hashes_total")
PRICED = Metric("calpow_priced_hashes_total")
CONFLICTS = Metric("calpow_settlement_conflicts_total")
LEDGER_ERRORS = Metric("calpow_ledger_errors_total")
STEP_BUCKETS = Metric("calpow_step_seconds_bucket", ("step", "le"))
STEP_SECONDS = Metric("calpow_step_seconds_sum", ("step",))
STEPS = Metric("calpow_step_seconds_count", ("step",))

METRICS = (
    *(ANSWERS, FAILURES, REFUSALS, WITHHELD, SAMPLES, ABOVE_FLOOR, ASKED, PAID, PRICED, CONFLICTS, LEDGER_ERRORS),
    *(STEP_BUCKETS, STEP_SECONDS, STEPS),
)

ENTRY, USE, PASS, SETTLEMENT = "entry", "use", "pass", "settlement"
"""The steps of a batch: reading accounts and checking work; counting uses; the victim and its scores; settling."""


class MetricSeries(NamedTuple):
    """One time series: a metric with the values of its labels."""

    metric: Metric
    values: tuple[str, ...] = ()


class Tally:
    """Sums of a worker's figures since they were last taken. Safe with several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sums: Counter[MetricSeries] = Counter()
        self._durations: dict[str, _Durations] = {}

    def add(self, metric: Metric, amount: float = 1, *values: str) -> None:
        """Add an amount to a metric, whose labels have these values."""
        with self._lock:
            self._sums[MetricSeries(metric, values)] += amount  # type: ignore[assignment]  # Counter has any numbers

    def observe(self, step: str, seconds: float) -> None:
        """Count how long a step of a batch took."""
        with self._lock:
            self._durations.setdefault(step, _Durations()).add(seconds)

    def timed(self, step: str) -> "TimedStep":
        """Return a context manager that counts how long its block takes."""
        return TimedStep(self, step)

    def take(self) -> dict[MetricSeries, float]:
        """Return the sums, and begin anew. Every bucket of a step that took place is there, also an empty one."""
        with self._lock:
            sums, self._sums = dict[MetricSeries, float](self._sums), Counter()
            durations, self._durations = self._durations, {}
        for step, of_step in durations.items():
            sums |= of_step.series(step)
        return sums


class TimedStep:
    """Context of a timed step; a class, because contextlib's generators take several microseconds more."""

    __slots__ = ("_begun", "_step", "_tally")

    def __init__(self, tally: Tally, step: str) -> None:
        self._tally = tally
        self._step = step
        self._begun = 0.0

    def __enter__(self) -> None:
        self._begun = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self._tally.observe(self._step, time.perf_counter() - self._begun)


class _Durations:
    """Histogram of the durations of a step: a count between each two bounds of the buckets, and the sum."""

    def __init__(self) -> None:
        self._counts = [0] * len(_BOUNDS)
        self._seconds = 0.0

    def add(self, seconds: float) -> None:
        self._counts[bisect_left(BOUNDS_SECONDS, seconds)] += 1
        self._seconds += seconds

    def series(self, step: str) -> dict[MetricSeries, float]:
        """Return the series of the step; each bucket counts those of the smaller ones as well."""
        counts = [float(count) for count in accumulate(self._counts)]
        return {
            **{MetricSeries(STEP_BUCKETS, (step, bound)): count for bound, count in zip(_BOUNDS, counts, strict=True)},
            MetricSeries(STEP_SECONDS, (step,)): self._seconds,
            MetricSeries(STEPS, (step,)): counts[-1],
        }
