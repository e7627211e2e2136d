"""Real processes and threads at one ledger: no charge is lost, nothing is redeemed or charged twice."""

import threading
import time

from calpow.handler.ledger import open_ledger
from calpow.handler.ledger.base import Charge, Totals
from tests.ledgers import MODEL, Child, crew, quote, want

pytest_plugins = ["tests.ledger_backends"]

PROCESSES = 8


def charged(times: int) -> Totals:
    """The sum of so many charges of `ledger_child.py`."""
    return Totals(3 * times, -times, times)


def test_eight_processes_that_hammer_one_account_lose_no_charge(uri: str) -> None:
    results = crew([["hammer", uri, "ada", "50"]] * PROCESSES)
    assert sum(each["charged"] for each in results) == PROCESSES * 50
    assert open_ledger(uri).totals(MODEL, "ada") == charged(PROCESSES * 50)


def test_processes_that_observe_and_that_enforce_lose_no_charge(uri: str) -> None:
    crew([["observe", uri, "ada", "50"], ["hammer", uri, "ada", "50"]] * (PROCESSES // 2))
    assert open_ledger(uri).totals(MODEL, "ada") == charged(PROCESSES * 50)


def test_of_200_simultaneous_redeems_of_one_challenge_exactly_one_wins(uri: str) -> None:
    ledger = open_ledger(uri)
    for digest in "abc":
        (quoted,) = quote(ledger, want(digest, expires=time.time() + 600), now=time.time())
        results = crew([["replay", uri, quoted.challenge.id, "25"]] * PROCESSES)
        assert sum(each["won"] for each in results) == 1


def test_one_payload_asked_for_by_many_processes_at_once_is_charged_once(uri: str) -> None:
    results = crew([["ask", uri, "ada", "same", "10"]] * PROCESSES)
    assert sum(each["charged"] for each in results) == 1
    assert open_ledger(uri).totals(MODEL, "ada") == charged(1)


def test_processes_that_make_the_ledger_together_make_one(uri: str) -> None:
    results = crew([["identify", uri]] * PROCESSES)
    assert len({tuple(each.items()) for each in results}) == 1


def test_threads_that_share_a_ledger_lose_no_charge(uri: str) -> None:
    ledger = open_ledger(uri)

    def run(name: int) -> None:
        for index in range(25):
            quote(ledger, want(f"{name}-{index}", charge=Charge(3, -1, 1)))

    threads = [threading.Thread(target=run, args=(name,)) for name in range(PROCESSES)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ledger.totals(MODEL, "ada") == charged(PROCESSES * 25)


def test_a_process_may_fork_while_its_ledger_is_busy(uri: str) -> None:
    (result,) = crew([["fork", uri, "ada", "5"]])
    assert result["failed"] == 0
    assert open_ledger(uri).totals(MODEL, "ada") == charged(result["charged"])


def test_a_forked_child_loses_no_charge_when_its_parent_is_gone(uri: str) -> None:
    child = Child("outlive", uri, "ada")
    child.go()
    assert child.line() == "alone"
    child.process.wait()
    # Opened and closed again: were it taken for the last one, SQLite would clear away what the child writes to.
    assert open_ledger(uri).totals(MODEL, "ada") == charged(2)
    ledger = open_ledger(uri)
    quote(ledger, want("other", charge=Charge(3, -1, 1)))
    child.go()
    assert child.rest()
    assert ledger.totals(MODEL, "ada") == charged(13)
