"""Reports of a worker's figures to TorchServe, which shows them on its metrics port."""

import atexit
import contextlib
import logging
import threading
from typing import Protocol

from calpow.handler.logs.rate_limited_log import RateLimitedLog
from calpow.handler.metrics.tally import METRICS, Metric, Tally

# TorchServe reads a line of the worker's output for each series that has changed: too many for every answer.
SECONDS_BETWEEN_REPORTS = 5.0
THREAD_NAME = "calpow-metrics"

_log = RateLimitedLog(logging.getLogger(__name__), "calpow: ")


class ServerMetric(Protocol):
    """One of TorchServe's metrics: a counter."""

    def add_or_update(self, value: float, dimension_values: list[str]) -> None:
        """Add a value to the series with these values of its dimensions."""


class ServerMetrics(Protocol):
    """TorchServe's metrics of a worker, `context.metrics`."""

    def get_metric(self, metric_name: str) -> ServerMetric:
        """Return the counter of a name. Raises KeyError when the server's configuration does not name it."""


class Reporter:
    """Reports what a tally has counted every few seconds, and once more when the worker ends.

    Metrics that the server's configuration (`metrics_config`) does not name are not reported: it would show none.
    """

    def __init__(self, metrics: ServerMetrics, model: str, tally: Tally) -> None:
        self._model = model
        self._tally = tally
        self._metrics: dict[Metric, ServerMetric] = {}
        for metric in METRICS:
            with contextlib.suppress(KeyError):
                self._metrics[metric] = metrics.get_metric(metric.name)
        self._ended = threading.Event()

    def start(self) -> None:
        """Begin to report, in a thread of its own. Every counter without labels of its own is there from 0 on."""
        for metric, counter in self._metrics.items():
            if not metric.labels:
                counter.add_or_update(0, [self._model])
        if not self._metrics:
            return
        threading.Thread(target=self._report_forever, name=THREAD_NAME, daemon=True).start()
        atexit.register(self._end)

    def report(self) -> None:
        """Report what was counted since the last time."""
        for series, amount in self._tally.take().items():
            if series.metric in self._metrics:
                self._metrics[series.metric].add_or_update(amount, [self._model, *series.values])

    def _report_forever(self) -> None:
        while not self._ended.wait(SECONDS_BETWEEN_REPORTS):
            try:
                self.report()
            except Exception as error:  # a server that ends has closed the worker's output
                _log.warning("metrics are not reported", f"{type(error).__name__}: {error}")

    def _end(self) -> None:
        self._ended.set()
        self.report()
