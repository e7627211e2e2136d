"""A reporter hands a worker's figures to TorchServe's own metrics."""

import importlib.resources
import logging
import threading

import pytest
from ts.metrics.metric_cache_yaml_impl import MetricsCacheYamlImpl

from calpow.handler.metrics.reporter import Reporter
from calpow.handler.metrics.tally import ANSWERS, METRICS, REFUSALS, Tally
from calpow.handler.victim_effects import METRICS_LOGGER
from tests.conftest import METRICS_CONFIG


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the lines that TorchServe reads, without host and time."""
    return [record.message.rpartition("|#hostname")[0] for record in caplog.records if record.name == METRICS_LOGGER]


@pytest.fixture
def reporter(caplog: pytest.LogCaptureFixture) -> tuple[Reporter, Tally]:
    caplog.set_level(logging.INFO, METRICS_LOGGER)
    tally, metrics = Tally(), MetricsCacheYamlImpl(str(METRICS_CONFIG))
    metrics.initialize_cache()
    return Reporter(metrics, "digits", tally), tally


def test_what_was_counted_is_reported_once(reporter: tuple[Reporter, Tally], caplog: pytest.LogCaptureFixture) -> None:
    reports, tally = reporter
    tally.add(ANSWERS, 2)
    tally.add(REFUSALS, 1, "pow-required")
    reports.report()
    reports.report()
    assert lines(caplog) == [
        "[METRICS]calpow_answers_total.Count:2|#model_name:digits|#type:COUNTER",
        "[METRICS]calpow_refusals_total.Count:1|#model_name:digits,problem:pow-required|#type:COUNTER",
    ]


def test_counters_begin_at_nought_so_that_the_first_event_is_an_increase(
    reporter: tuple[Reporter, Tally], caplog: pytest.LogCaptureFixture
) -> None:
    reports, _ = reporter
    reports.start()
    begun = [line for line in lines(caplog) if ".Count:0|" in line]
    assert len(begun) == sum(not metric.labels for metric in METRICS)


def test_a_server_that_names_no_metric_of_ours_is_told_none(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, METRICS_LOGGER)
    file = importlib.resources.files("ts") / "configs" / "metrics.yaml"
    metrics, tally = MetricsCacheYamlImpl(str(file)), Tally()
    metrics.initialize_cache()
    reports, before = Reporter(metrics, "digits", tally), threading.active_count()
    reports.start()
    assert threading.active_count() == before
    tally.add(ANSWERS)
    reports.report()
    assert lines(caplog) == []
