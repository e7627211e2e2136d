"""Our puzzles and accounting beside those of others: the same work, the same costs."""

import shutil

import pytest

from benchmarks import peers


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"WORK": 1 << 10, "ROUNDS": 2, "CHEAP_TIMES": 2, "ANSWERS": 40}.items():
        monkeypatch.setattr(peers, name, value)


def test_accounting_agrees_with_autodp_and_the_formulas() -> None:
    found = list(peers.accounting())
    assert len(found) == 2
    assert all(way.difference < 1e-6 for way in found)
    assert all(way.microseconds > 0 for way in found)


@pytest.mark.slow
def test_every_peer_that_is_installed_is_in_the_tables() -> None:
    lines = list(peers.tables())
    assert ("Debian's hashcash" in "\n".join(lines)) == (shutil.which("hashcash") is not None)
    for name in ("ALTCHA", "Calpow, python solver", "Calpow, fast solver", "autodp"):
        assert any(name in line for line in lines)
