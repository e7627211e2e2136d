"""The ledgers beside bare loops on the same stores."""

import contextlib
import sqlite3
from pathlib import Path

import pytest

from benchmarks.ledgers import answer_loops
from benchmarks.ledgers.__main__ import rows
from benchmarks.ledgers.answer_loops import loops, times_in_turns
from tests.support.redis_servers import redis_binary, redis_server


@pytest.mark.slow
def test_ledgers_stand_beside_bare_loops_that_store_as_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer_loops, "WARM_UP", 1)
    bare = sqlite3.connect(tmp_path / "bare.db", isolation_level=None)
    with contextlib.closing(bare), redis_server(redis_binary(), tmp_path) as server:
        times = times_in_turns(loops(tmp_path, server.uri(), bare), 3)
        stored = [bare.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("uses", "outcomes")]
        bare_keys = server.client().keys("bare-*")
    assert stored == [4, 4]
    assert len(bare_keys) == 1 + 2 * 4
    assert list(times) == ["SQLite, bare", "SQLite, Calpow", "Redis, bare", "Redis, Calpow"]
    lines = rows(times)
    assert [line.split(" | ")[0] for line in lines[2:]] == ["| read", "| admit", "| settle", "| all three"]
