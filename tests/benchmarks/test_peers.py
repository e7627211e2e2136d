"""Our puzzles and accounting beside those of others: the same work, the same costs."""

import contextlib
import shutil
import sqlite3
from pathlib import Path

import pytest

from benchmarks import accounting_peers, ledgers, peers
from tests.support.redis_servers import redis_binary, redis_server


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"WORK": 1 << 10, "ROUNDS": 2, "CHEAP_TIMES": 2}.items():
        monkeypatch.setattr(peers, name, value)
    monkeypatch.setattr(accounting_peers, "ANSWERS", 40)
    monkeypatch.setattr(ledgers, "WARM_UP", 1)


def test_accounting_agrees_with_autodp() -> None:
    of_one, of_all, best = accounting_peers.accounting()
    assert of_one.difference < 1e-8
    assert of_all.difference < 1e-9
    # autodp searches all orders, Calpow takes the best of its list, which ends at 1,000.
    assert best.difference < 2e-3
    assert all(0 < way.ours < way.autodp for way in (of_one, best))


@pytest.mark.slow
def test_every_peer_that_is_installed_is_in_the_tables() -> None:
    lines = list(peers.tables())
    assert ("Debian's hashcash" in "\n".join(lines)) == (shutil.which("hashcash") is not None)
    for name in ("ALTCHA", "Calpow, python solver", "Calpow, fast solver", "autodp"):
        assert any(name in line for line in lines)


@pytest.mark.slow
def test_ledgers_stand_beside_bare_loops_that_store_as_much(tmp_path: Path) -> None:
    bare = sqlite3.connect(tmp_path / "bare.db", isolation_level=None)
    with contextlib.closing(bare), redis_server(redis_binary(), tmp_path) as server:
        times = ledgers.times_in_turns(ledgers.loops(tmp_path, server.uri(), bare), 3)
        stored = [bare.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("uses", "outcomes")]
        bare_keys = server.client().keys("bare-*")
    assert stored == [4, 4]
    assert len(bare_keys) == 1 + 2 * 4
    assert list(times) == ["SQLite, bare", "SQLite, Calpow", "Redis, bare", "Redis, Calpow"]
    lines = ledgers.rows(times)
    assert [line.split(" | ")[0] for line in lines[2:]] == ["| read", "| admit", "| settle", "| all three"]
