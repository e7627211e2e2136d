"""A Redis for the tests of this folder."""

from collections.abc import Iterator

import pytest

from tests.support.redis_servers import RedisServer, redis_binary, redis_server


@pytest.fixture(scope="session")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis as docs/operating.md wants it, for all tests; each has keys of its own."""
    with redis_server(redis_binary(), tmp_path_factory.mktemp("redis"), "--save", "", "--appendonly", "yes") as server:
        yield server
