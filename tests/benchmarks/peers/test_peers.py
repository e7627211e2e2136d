"""Our puzzles and accounting beside those of others: the same work, the same costs."""

import shutil

import pytest

from benchmarks.peers import accounting_peers, puzzle_peers
from benchmarks.peers.__main__ import tables
from benchmarks.peers.epsilon_peers import epsilons


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"WORK": 1 << 10, "ROUNDS": 2, "CHEAP_TIMES": 2}.items():
        monkeypatch.setattr(puzzle_peers, name, value)
    monkeypatch.setattr(accounting_peers, "ANSWERS", 40)


def test_accounting_agrees_with_autodp() -> None:
    of_one, of_all, best = accounting_peers.accounting()
    assert of_one.difference < 1e-8
    assert of_all.difference < 1e-9
    # autodp searches all orders, Calpow takes the best of its list, which ends at 1,000.
    assert best.difference < 2e-3
    assert all(0 < way.ours < way.autodp for way in (of_one, best))


def test_epsilons_are_never_below_those_of_dp_accounting() -> None:
    rdp, *values = epsilons(40)
    assert rdp.ours == pytest.approx(rdp.theirs, rel=1e-12)
    # Its conversion is tighter than that of Mironov, which the paper takes.
    assert all(value.theirs < value.ours < 2 * value.theirs for value in values)


@pytest.mark.slow
def test_every_peer_that_is_installed_is_in_the_tables() -> None:
    lines = list(tables())
    assert ("Debian's hashcash" in "\n".join(lines)) == (shutil.which("hashcash") is not None)
    for name in ("ALTCHA", "Calpow, python solver", "Calpow, fast solver", "autodp", "dp_accounting"):
        assert any(name in line for line in lines)
