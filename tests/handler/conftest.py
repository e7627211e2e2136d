"""Fixtures of the ledger's tests, which every backend must pass."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from calpow.handler.ledger.ledger import Ledger
from calpow.handler.ledger.uri import open_ledger
from tests.support.redis_servers import RedisServer, redis_binary, redis_server


@pytest.fixture(scope="session")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis that keeps nothing on the disk, for all tests; each has keys of its own."""
    with redis_server(redis_binary(), tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(params=["sqlite", "redis"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URI of a ledger that does not exist yet. Another backend joins the tests with its name and its URI here."""
    return _new_uri(request, tmp_path)


@pytest.fixture(params=["sqlite", pytest.param("redis", marks=pytest.mark.long)])
def raced_uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The same for races of processes, which take three to four times as long with Redis: each imports redis-py."""
    return _new_uri(request, tmp_path)


def _new_uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/ledger.db"
    server: RedisServer = request.getfixturevalue("redis")
    return server.uri()


@pytest.fixture
def ledger(uri: str) -> Ledger:
    return open_ledger(uri)
