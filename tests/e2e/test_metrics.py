"""Metrics of a protected model on TorchServe's own port, and the alert rules and the dashboard that use them."""

import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import requests
import yaml

from calpow.archiver.server import free_ports
from calpow.handler.metrics.reporter import SECONDS_BETWEEN_REPORTS
from calpow.handler.metrics.tally import METRICS
from tests.support.guarded import TIMEOUT, Site

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
MODEL = "function"
needs_prometheus = pytest.mark.skipif(shutil.which("prometheus") is None, reason="Debian's prometheus is not installed")


def scrape(site: Site) -> str:
    """Return the page that Prometheus reads."""
    server = site.server
    return requests.get(f"http://{server.host}:{server.metrics_port}/metrics", timeout=TIMEOUT).text


def sums(page: str, **labels: str) -> Mapping[str, float]:
    """Return each metric's sum over the series with these labels."""
    found: dict[str, float] = {}
    for name, given, value in re.findall(r"^(\w+)\{(.*)\} (\S+)$", page, re.MULTILINE):
        own = dict(re.findall(r'(\w+)="([^"]*)"', given))
        if labels.items() <= own.items():
            found[name] = found.get(name, 0.0) + float(value)
    return found


def settled(site: Site, answers: float) -> str:
    """Return the page once so many answers of the model are counted."""
    deadline = time.monotonic() + 6 * SECONDS_BETWEEN_REPORTS
    while (page := scrape(site)) and sums(page, model_name=MODEL).get("calpow_answers_total", 0) < answers:
        assert time.monotonic() < deadline, page
        time.sleep(0.5)
    return page


def test_requests_are_counted_by_what_became_of_them(site: Site) -> None:
    before = sums(scrape(site), model_name=MODEL)
    payload = b"1,0,0,0"
    key = site.key("counted")
    assert site.raw(MODEL, payload).status_code == 401
    assert site.raw(MODEL, payload, key).status_code == 402
    assert site.paid(MODEL, payload, key).status_code == 200
    page = settled(site, before.get("calpow_answers_total", 0) + 1)
    after = sums(page, model_name=MODEL)

    def counted(name: str) -> float:
        return after[name] - before.get(name, 0)

    assert (counted("calpow_answers_total"), counted("calpow_samples_total")) == (1, 1)
    assert counted("calpow_refusals_total") == 3  # the client was asked for work as well
    assert sums(page, model_name=MODEL, problem="identity-missing")["calpow_refusals_total"] >= 1
    assert sums(page, model_name=MODEL, problem="pow-required")["calpow_refusals_total"] >= 2
    assert counted("calpow_asked_hashes_total") >= 2 * counted("calpow_priced_hashes_total") > 0
    assert counted("calpow_paid_hashes_total") >= counted("calpow_priced_hashes_total")
    for step in ("entry", "use", "pass", "settlement"):
        of_step = sums(page, model_name=MODEL, step=step)
        assert of_step["calpow_step_seconds_sum"] > 0
        everything = sums(page, model_name=MODEL, step=step, le="+Inf")
        assert everything["calpow_step_seconds_bucket"] == of_step["calpow_step_seconds_count"]


def test_no_metric_names_a_user(site: Site) -> None:
    key = site.key("eve-of-adams-street")
    site.paid(MODEL, b"0,1,0,0", key)
    time.sleep(SECONDS_BETWEEN_REPORTS + 1)
    page = scrape(site)
    assert "calpow_answers_total" in page
    assert "eve-of" not in page
    assert key not in page


def test_the_servers_configuration_names_every_metric() -> None:
    configured = yaml.safe_load((DEPLOY / "metrics.yaml").read_text())["model_metrics"]["counter"]
    assert {entry["name"]: entry["dimensions"] for entry in configured} == {
        metric.name: ["model_name", *metric.labels] for metric in METRICS
    }


def test_alerts_and_the_dashboard_name_metrics_that_exist() -> None:
    names = {metric.name for metric in METRICS}
    for file in ("alerts.yaml", "dashboard.json"):
        used = set(re.findall(r"\bcalpow_\w+", (DEPLOY / file).read_text()))
        assert used <= names
        assert len(used) >= 3


@needs_prometheus
def test_prometheus_accepts_the_alert_rules_and_the_page(site: Site) -> None:
    rules = subprocess.run(["promtool", "check", "rules", DEPLOY / "alerts.yaml"], capture_output=True, text=True)
    assert rules.returncode == 0, rules.stderr
    # TorchServe's own names end in no unit, which promtool remarks on: only lines that cannot be read are faults.
    page = subprocess.run(["promtool", "check", "metrics"], input=scrape(site), capture_output=True, text=True)
    assert "error while linting" not in page.stderr + page.stdout


@pytest.fixture
def prometheus(site: Site, tmp_path: Path) -> Iterator[str]:
    """A Prometheus that reads the site's metrics and the alert rules; its URL."""
    (port,) = free_ports(1)
    target = f"{site.server.host}:{site.server.metrics_port}"
    config = {
        "global": {"scrape_interval": "1s"},
        "rule_files": [str(DEPLOY / "alerts.yaml")],
        "scrape_configs": [{"job_name": "torchserve", "static_configs": [{"targets": [target]}]}],
    }
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
    words = [f"--config.file={tmp_path / 'prometheus.yml'}", f"--storage.tsdb.path={tmp_path / 'data'}"]
    with subprocess.Popen(
        ["prometheus", *words, f"--web.listen-address=127.0.0.1:{port}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


@needs_prometheus
def test_prometheus_answers_every_query_of_the_alerts_and_of_the_dashboard(site: Site, prometheus: str) -> None:
    site.paid(MODEL, b"0,0,1,0", site.key("scraped"))
    answered = evaluated(prometheus, "calpow_answers_total > 0")
    deadline = time.monotonic() + 30
    while not answered:
        assert time.monotonic() < deadline
        time.sleep(0.5)
        answered = evaluated(prometheus, "calpow_answers_total > 0")
    panels = json.loads((DEPLOY / "dashboard.json").read_text())["panels"]
    queries = [target["expr"] for panel in panels for target in panel["targets"]]
    for query in queries:
        evaluated(prometheus, query.replace("$__rate_interval", "1m").replace("$model", ".*"))
    rules = requests.get(f"{prometheus}/api/v1/rules", timeout=TIMEOUT).json()["data"]["groups"][0]["rules"]
    assert [rule.get("lastError", "") for rule in rules] == [""] * len(rules)
    assert {rule["health"] for rule in rules} <= {"ok", "unknown"}


def evaluated(prometheus: str, query: str) -> list[object]:
    """Return the series of a query; fail where Prometheus cannot evaluate it."""
    try:
        answer = requests.get(f"{prometheus}/api/v1/query", {"query": query}, timeout=TIMEOUT)
    except requests.ConnectionError:  # it is still starting
        return []
    if answer.status_code == 503:
        return []
    document = answer.json()
    assert document["status"] == "success", (query, document)
    result: list[object] = document["data"]["result"]
    return result
