"""Of a file whose last writes never reached the disk, what is left is a state between two operations."""

import shutil
from pathlib import Path

import pytest

from calpow.handler.ledger.ledger import Ledger
from calpow.handler.ledger.solutions import Admission
from calpow.handler.ledger.uri import open_ledger
from tests.support.ledgers import MODEL, admit, outcomes, spend, use

SPENT = 12
LOST_PARTS = [0.0, 0.05, 0.1, 0.3, 0.5, 0.7, 0.9]


@pytest.mark.parametrize("lost", LOST_PARTS)
def test_a_solution_is_spent_and_charged_or_neither(tmp_path: Path, lost: float) -> None:
    ledger = open_ledger(f"sqlite:///{tmp_path}/ledger.db")
    names = [f"s{number}" for number in range(SPENT)]
    for name in names:
        spend(ledger, use(name))
    left = after_power_failure(tmp_path / "ledger.db", tmp_path / "left.db", lost)
    known = list(outcomes(left, *names))
    account = left.account(MODEL, "ada")
    assert (account.version, account.history.queries) == (len(known), len(known))
    assert sorted(known) == sorted(names[: len(known)]), "what was settled last is lost first"
    assert (len(known) < SPENT) == (lost > 0)
    for name in names[len(known) :]:
        assert admit(left, use(name)) == [Admission.FRESH]
        spend(left, use(name))
    assert set(outcomes(left, *names)) == set(names)


def after_power_failure(path: Path, copy: Path, lost: float) -> Ledger:
    """Return a ledger on a copy of an open file, of whose write-ahead log a part is missing at the end."""
    shutil.copy(path, copy)
    log = Path(f"{path}-wal").read_bytes()
    Path(f"{copy}-wal").write_bytes(log[: round(len(log) * (1 - lost))])
    return open_ledger(f"sqlite:///{copy}")
