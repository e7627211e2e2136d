"""Ids and outcomes are remembered until they expire; SQLite's ledger deletes them then, by the time it is told."""

from pathlib import Path

import pytest

from calpow.handler.ledger.ledger import Ledger
from calpow.handler.ledger.solutions import MOST_USES, Admission
from calpow.handler.ledger.uri import open_ledger
from tests.support.ledgers import (
    NOW,
    admit,
    fail,
    outcomes,
    settle,
    spend,
    spending,
    use,
)

FRESH = Admission.FRESH
SPENT = Admission.SPENT
EXHAUSTED = Admission.EXHAUSTED


@pytest.fixture
def sqlite_ledger(tmp_path: Path) -> Ledger:
    return open_ledger(f"sqlite:///{tmp_path}/ledger.db")


def churn(ledger: Ledger, now: float) -> None:
    """Use the ledger often enough that it deletes everything that has expired."""
    for index in range(30):
        new = use(f"{now}-{index}", expires=now + 1)
        assert admit(ledger, new, now=now) == [FRESH]
        assert settle(ledger, spending(new, settled=now), account="churn", now=now)


def test_a_spent_id_is_remembered_until_it_expires(ledger: Ledger) -> None:
    outcome = spend(ledger, use("a", "b", expires=NOW + 900))
    churn(ledger, NOW + 899.9)
    assert outcomes(ledger, "a", "b") == {"a": outcome, "b": outcome}
    assert admit(ledger, use("a"), use("a", "b"), now=NOW + 899.9) == [SPENT, SPENT]
    assert not settle(ledger, spending(use("a")), now=NOW + 899.9)


def test_a_spent_id_is_deleted_when_it_has_expired(sqlite_ledger: Ledger) -> None:
    spend(sqlite_ledger, use("a", "b", expires=NOW + 900))
    churn(sqlite_ledger, NOW + 900)
    assert outcomes(sqlite_ledger, "a", "b") == {}


def test_a_used_id_is_remembered_until_it_expires(ledger: Ledger) -> None:
    admit(ledger, *[use("a", expires=NOW + 900)] * MOST_USES)
    churn(ledger, NOW + 899.9)
    assert admit(ledger, use("a"), now=NOW + 899.9) == [EXHAUSTED]


def test_a_used_id_is_deleted_when_it_has_expired(sqlite_ledger: Ledger) -> None:
    admit(sqlite_ledger, *[use("a", expires=NOW + 900)] * MOST_USES)
    churn(sqlite_ledger, NOW + 900)
    assert admit(sqlite_ledger, use("a"), now=NOW + 900) == [FRESH]


@pytest.mark.parametrize("order", [(900, 300, 100), (100, 900, 300), (100, 300, 900)])
def test_the_latest_of_the_expiries_counts(ledger: Ledger, order: tuple[int, int, int]) -> None:
    first, second, last = (use("a", expires=NOW + seconds) for seconds in order)
    assert admit(ledger, first, second) == [FRESH, FRESH]
    spent = spending(last)
    assert settle(ledger, spent)
    churn(ledger, NOW + 899)
    assert outcomes(ledger, "a") == {"a": spent.outcome}


def test_an_outcome_is_remembered_as_long_as_the_last_of_its_ids(ledger: Ledger) -> None:
    admit(ledger, use("a", expires=NOW + 900), use("b", expires=NOW + 100))
    both = spending(use("a", "b", expires=NOW + 100))
    assert settle(ledger, both)
    churn(ledger, NOW + 500)
    assert outcomes(ledger, "a", "b") == {"a": both.outcome, "b": both.outcome}


def test_what_a_failure_spends_is_remembered_until_it_expires(ledger: Ledger) -> None:
    fail(ledger, "a", times=11)
    churn(ledger, NOW + 899.9)
    assert set(outcomes(ledger, "a")) == {"a"}
    assert admit(ledger, use("a"), now=NOW + 899.9) == [SPENT]
