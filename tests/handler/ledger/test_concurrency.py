"""Real processes and threads at one ledger: nothing settled is lost, and nothing is spent or won twice."""

import threading
from pathlib import Path

import pytest

from calpow.handler.ledger.account import Account
from calpow.handler.ledger.ledger import MOST_FAILURES
from calpow.handler.ledger.solutions import MOST_USES
from calpow.handler.ledger.uri import open_ledger
from tests.support.ledger_child import charged, history_of
from tests.support.ledgers import MODEL, NOW, Child, run_children, settle, spending, use

pytestmark = pytest.mark.slow

PROCESSES = 8
IDS = ("a", "b", "c")


def settled(times: int) -> Account:
    """Return the account after a number of settlements of `ledger_child.py`."""
    return Account(history_of(times), -times, times)


def test_eight_processes_that_hammer_one_account_lose_no_settlement(raced_uri: str) -> None:
    results = run_children([["hammer", raced_uri, "ada", "50"]] * PROCESSES)
    assert sum(result["settled"] for result in results) == PROCESSES * 50
    assert sum(result["conflicts"] for result in results) > 0, "they never met"
    assert open_ledger(raced_uri).account(MODEL, "ada") == settled(PROCESSES * 50)


def test_processes_that_observe_and_that_enforce_lose_no_charge(raced_uri: str) -> None:
    run_children([["observe", raced_uri, "ada", "50"], ["hammer", raced_uri, "ada", "50"]] * (PROCESSES // 2))
    both = settled(PROCESSES * 50)
    assert open_ledger(raced_uri).account(MODEL, "ada") == Account(both.history, -PROCESSES // 2 * 50, both.version)


def test_each_version_is_won_by_one_process(raced_uri: str) -> None:
    results = run_children([["race", raced_uri, "ada", "0", "60"]] * PROCESSES)
    assert sum(result["won"] for result in results) == 60
    assert open_ledger(raced_uri).account(MODEL, "ada") == Account(history_of(60), 0, 60)


@pytest.mark.parametrize("count", [1, 3])
def test_of_200_simultaneous_uses_of_one_solution_five_run_at_most_and_one_wins(raced_uri: str, count: int) -> None:
    ids = IDS[:count]
    results = run_children([["replay", raced_uri, "ada", "25", *ids]] * PROCESSES)
    total = {name: sum(result[name] for result in results) for name in results[0]}
    assert total["won"] == 1
    assert total["fresh"] >= 1
    assert total["fresh"] + total["repeat"] == MOST_USES
    assert total["exhausted"] == PROCESSES * 25 - MOST_USES
    ledger = open_ledger(raced_uri)
    assert ledger.account(MODEL, "ada") == settled(1)
    assert set(ledger.standing(MODEL, "ada", ids).outcomes) == set(ids)


def test_one_solution_is_spent_once_however_many_accounts_settle_it(tmp_path: Path) -> None:
    """Of SQLite's ledger; others may keep the ids of accounts apart, and the gate refuses one account's to another."""
    uri = f"sqlite:///{tmp_path}/ledger.db"
    accounts = [f"account{index}" for index in range(PROCESSES)]
    results = run_children([["replay", uri, account, "10", *IDS] for account in accounts])
    assert sum(result["won"] for result in results) == 1
    ledger = open_ledger(uri)
    assert [ledger.account(MODEL, account).version for account in accounts] == [result["won"] for result in results]


def test_an_id_is_used_five_times_in_all_by_many_processes(raced_uri: str) -> None:
    results = run_children([["admit", raced_uri, "25", "a", f"own{index}"] for index in range(PROCESSES)])
    assert sum(result["fresh"] for result in results) == MOST_USES


def test_failures_are_counted_by_all_processes_together(raced_uri: str) -> None:
    results = run_children([["fail", raced_uri, "ada", "10"]] * PROCESSES)
    assert sum(result["spent"] for result in results) == PROCESSES * 10 - MOST_FAILURES


def test_processes_that_make_the_ledger_together_make_one(raced_uri: str) -> None:
    results = run_children([["identify", raced_uri]] * PROCESSES)
    assert len({tuple(result.items()) for result in results}) == 1


def test_threads_that_share_a_ledger_lose_no_settlement(uri: str) -> None:
    ledger = open_ledger(uri)

    def run(name: int) -> None:
        for index in range(25):
            ids = spending(use(f"{name}-{index}"))
            while not settle(ledger, ids, change=charged):
                pass

    threads = [threading.Thread(target=run, args=(name,)) for name in range(PROCESSES)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    account = ledger.account(MODEL, "ada")
    assert (account.history, account.version) == (history_of(PROCESSES * 25), PROCESSES * 25)


def test_a_process_may_fork_while_its_ledger_is_busy(uri: str) -> None:
    (result,) = run_children([["fork", uri, "ada", "5"]])
    assert result["failed"] == 0
    assert open_ledger(uri).account(MODEL, "ada") == settled(result["settled"])


def test_a_forked_child_loses_nothing_when_its_parent_is_gone(uri: str) -> None:
    child = Child("outlive", uri, "ada")
    child.go()
    assert child.line() == "alone"
    child.process.wait()
    # Opened and closed again: were it taken for the last one, SQLite would clear away what the child writes to.
    assert open_ledger(uri).account(MODEL, "ada") == settled(2)
    ledger = open_ledger(uri)
    assert settle(ledger, spending(use("other", expires=NOW)), change=charged, owed=-3)
    child.go()
    assert child.remaining_output()
    assert ledger.account(MODEL, "ada") == settled(13)
