"""What tests share: one TorchServe with victims of every kind, guarded and as they were."""

import signal
from collections.abc import Iterator

import pytest
from hypothesis import settings

from calpow.archiver.server import served
from tests.support.desk import Desk, desk_running
from tests.support.devtools import Browser, browsing
from tests.support.guarded import Site, build_all

# How long an example takes is the machine's matter.
settings.register_profile("calpow", deadline=None)
settings.load_profile("calpow")
# A run in the background may ignore Ctrl-C (`make test &`), and so would every program that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The running server; each test uses accounts of its own."""
    folder = tmp_path_factory.mktemp("site")
    parts = build_all(folder)
    archives = {name: part.guarded for name, part in parts.items()}
    archives |= {f"{name}-plain": part.victim for name, part in parts.items() if name != "hard"}  # vector's victim
    uri = f"sqlite:///{folder / 'ledger.db'}"
    with served(archives, environment={"CALPOW_LEDGER": uri}) as server:
        yield Site(server, uri, parts, folder)


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A Chromium that is driven; for tests that are skipped where there is none."""
    with browsing(tmp_path_factory.mktemp("profile")) as running:
        yield running


@pytest.fixture
def desk() -> Iterator[Desk]:
    """The site that asks for work."""
    with desk_running() as running:
        yield running
