"""A server that asks for work, and the adapters that are tested with it."""

from collections.abc import Iterator

import pytest

from tests.support.adapters import ADAPTERS, Adapter
from tests.support.pow_server import PowServer, running


@pytest.fixture
def server() -> Iterator[PowServer]:
    with running(PowServer()) as server:
        yield server


@pytest.fixture(params=ADAPTERS, ids=lambda adapter: adapter.name)
def adapter(request: pytest.FixtureRequest) -> Adapter:
    parameter: Adapter = request.param
    return parameter
