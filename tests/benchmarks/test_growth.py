"""The ledgers that growth is measured on are such as the gate itself writes, and answers on them are paid."""

from pathlib import Path

import pytest

from benchmarks.growth import MOST_RATIO, Row, table
from benchmarks.growth_answers import MODEL, Site, Size, policy, times_in_turns
from benchmarks.growth_ledgers import add_expired, add_keys, fill
from calpow.handler.ledger.history import DIGEST_BYTES, DIGESTS, SKETCH_BYTES, SKETCHES
from calpow.handler.ledger.sqlite.sqlite_ledger import SqliteLedger
from tests.support.ledgers import NOW, use

BETS = 6


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where a ledger may be."""
    return tmp_path / "ledger.db"


def test_accounts_have_sent_as_many_queries_as_they_should(path: Path) -> None:
    names = fill(path, MODEL, 20, BETS, queries=100)
    assert len(set(names)) == 20
    for name in names:
        history = SqliteLedger(path).account(MODEL, name).history
        assert (history.queries, history.wealth) == (100, (0,) * BETS)
        assert len(history.digests + history.new_digests) == 100 * DIGEST_BYTES
        assert len(history.sketches + history.new_sketches) == 100 * SKETCH_BYTES


def test_the_ledger_keeps_the_last_samples_of_an_account_alone(path: Path) -> None:
    (name,) = fill(path, MODEL, 1, BETS, queries=1_000_000)
    history = SqliteLedger(path).account(MODEL, name).history
    assert len(history.digests) == DIGESTS * DIGEST_BYTES
    assert len(history.sketches) == SKETCHES * SKETCH_BYTES


def test_accounts_differ_as_users_do(path: Path) -> None:
    names = fill(path, MODEL, 50, BETS)
    assert len({SqliteLedger(path).account(MODEL, name).history.queries for name in names}) > 20


def test_keys_lead_to_accounts(path: Path) -> None:
    names = fill(path, MODEL, 5, BETS)
    keys = add_keys(path, names, 3)
    assert {SqliteLedger(path).account_of(key) for key in keys} <= set(names)
    assert len(SqliteLedger(path).keys()) == 8


def test_expired_records_are_removed_by_answers(path: Path) -> None:
    fill(path, MODEL, 1, BETS)
    add_expired(path, 2_000)
    ledger = SqliteLedger(path)
    assert rows_of(ledger) == [1_000, 1_000]
    ledger.admit([use(f"id {number}") for number in range(32)], now=NOW)
    assert all(count < 1_000 for count in rows_of(ledger))


def test_answers_are_paid_and_timed_in_turns(tmp_path: Path) -> None:
    sites = [Site(tmp_path / f"{place}.db", Size(accounts=3, classes=place + 2)) for place in range(2)]
    seconds = times_in_turns(sites, 3, "answers")
    assert [len(column) for column in seconds] == [3, 3]


def test_ordinary_samples_leave_an_account_without_wealth() -> None:
    evidence = policy(4).evidence
    assert set(evidence.beginning) == {0}
    assert len(evidence.tests[0].high) == 4


def test_a_ratio_that_is_too_large_is_bold() -> None:
    fast, slow = Row("fast", [1.0, 1.0], [1.0, 1.0]), Row("slow", [1.0, 1.0], [2 * MOST_RATIO, 2 * MOST_RATIO])
    *_, first, second = table([fast, slow])
    assert "| 1.00 |" in first
    assert "**" not in first
    assert "**2.40**" in second


def rows_of(ledger: SqliteLedger) -> list[int]:
    """Return the numbers of ids and of outcomes."""
    return [ledger._file.query(f"SELECT count(*) FROM {table}")[0][0] for table in ("uses", "outcomes")]
