"""Fixtures and markers that all tests share: one TorchServe with victims of every kind, guarded and as they were."""

import os
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from calpow.archiver.server import served
from tests.support.devtools import Browser, run_browser
from tests.support.guarded import AUDIT, Protected, Site, build_all
from tests.support.scripted_server import ScriptedServer, scripted_server

# How long an example takes is the machine's matter.
settings.register_profile("calpow", deadline=None)
settings.load_profile("calpow")
# Test processes run side by side: threads of torch would wait for each other's cores.
torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")
# A run in the background may ignore Ctrl-C (`make test &`), and so would every program that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

# What pages of other origins need: docs/operating.md.
CORS = {
    "cors_allowed_origin": "*",
    "cors_allowed_methods": "POST",
    "cors_allowed_headers": "X-Api-Key, PoW-Solution, Content-Type",
}
METRICS_CONFIG = Path(__file__).resolve().parents[1] / "deploy" / "metrics.yaml"
# A test that uses one of these fixtures has the marker without saying so.
MARKERS_OF_FIXTURES = {"site": "server", "browser": "browser"}
# Tests with one of these markers share what is expensive to set up.
SHARING = ("server", "browser", "training")


@pytest.hookimpl(tryfirst=True)  # before tests are selected by marker
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Add the markers that follow from fixtures, and keep on one process the tests that share a server or teachers."""
    for item in items:
        fixtures = item.fixturenames if isinstance(item, pytest.Function) else []
        for fixture in MARKERS_OF_FIXTURES.keys() & fixtures:
            item.add_marker(MARKERS_OF_FIXTURES[fixture])
        if item.get_closest_marker("xdist_group") is None and any(map(item.get_closest_marker, SHARING)):
            item.add_marker(pytest.mark.xdist_group("site" if "site" in fixtures else item.path.stem))


@pytest.fixture(scope="session")
def protected(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Protected]:
    """A protected victim of each kind, by name."""
    return build_all(tmp_path_factory.mktemp("protected"))


@pytest.fixture(scope="session")
def site(protected: Mapping[str, Protected], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The running server; each test uses accounts of its own."""
    folder = tmp_path_factory.mktemp("site")
    archives = {name: part.guarded for name, part in protected.items()}
    archives |= {f"{name}-plain": part.victim for name, part in protected.items() if name != "hard"}  # vector's victim
    uri = f"sqlite:///{folder / 'ledger.db'}"
    properties = {
        **CORS,
        "metrics_mode": "prometheus",
        "metrics_config": str(METRICS_CONFIG),
    }
    with served(
        archives, properties=properties, environment={"CALPOW_LEDGER": uri, "CALPOW_AUDIT": str(folder / AUDIT)}
    ) as server:
        yield Site(server, uri, protected)


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A Chromium that tests drive; for tests that are skipped where there is none."""
    with run_browser(tmp_path_factory.mktemp("profile")) as running:
        yield running


@pytest.fixture
def model_server() -> Iterator[ScriptedServer]:
    """A server that plays the model's, as the test scripts it."""
    with scripted_server() as running:
        yield running
