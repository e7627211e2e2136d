"""A primary of a Redis Cluster is killed while gates answer: some refusals, then answers again, without any help."""

import gc
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from threading import Event, Thread

import pytest

from calpow.handler.gate.gate import Gate
from calpow.handler.gate.interface import Allowance, Purpose, Released
from calpow.handler.ledger.uri import open_ledger
from calpow.handler.metrics.tally import Tally
from tests.support.calibrations import calibrated_policy
from tests.support.gate_harness import MODEL, TextDecision, decision_type, solution
from tests.support.redis_servers import RedisServer, valkey_cluster
from tests.support.text_runner import TextRequest, TextRunner

# redis-py leaves sockets of a cluster to the garbage collector.
pytestmark = [pytest.mark.long, pytest.mark.filterwarnings("ignore::ResourceWarning")]

NODE_TIMEOUT_SECONDS = 2.0
OPTIONS = ("--cluster-node-timeout", f"{NODE_TIMEOUT_SECONDS * 1000:.0f}", "--save", "", "--appendonly", "yes")
ACCOUNTS = tuple(f"account{number}" for number in range(6))


class Customer:
    """A thread with an account and a gate of its own, which sends one new sample after another and pays for each.

    What is refused with 503 is sent again with the same work, as clients do.
    """

    def __init__(self, uri: str, account: str, stop: Event) -> None:
        self.account = account
        self.answered: list[float] = []
        self.refused: list[float] = []
        self.problems: Counter[str] = Counter()
        self._key = open_ledger(uri).add_key(account)
        policy = calibrated_policy(floor_seconds=0.0005)
        self._gate = Gate(MODEL, open_ledger(uri), policy, Allowance(256, 10.0), Tally(), clock=time.time)
        self._runner = TextRunner()
        self._stop = stop
        self.thread = Thread(target=self._query)

    def _query(self) -> None:
        while not self._stop.is_set():
            text = f"1.0#{self.account}-{len(self.answered)}"
            paid = None
            while not isinstance(decision := self._ask(text, paid), Released):
                challenge = decision.problem.challenge
                if challenge is not None:
                    paid = solution(challenge)
                elif decision_type(decision) == "ledger-unavailable":
                    self.refused.append(time.monotonic())
                    time.sleep(0.05)
                else:
                    raise AssertionError(decision)
                if self._stop.is_set():
                    return
            self.answered.append(time.monotonic())

    def _ask(self, text: str, paid: str | None) -> TextDecision:
        request = TextRequest(
            self._key, paid, 1, Purpose.predict, text, lambda: sha256(text.encode()).hexdigest(), text
        )
        (decision,) = self._gate.answer([request], self._runner.run)
        self.problems[decision_type(decision)] += 1
        return decision


@contextmanager
def customers(uri: str) -> Iterator[list[Customer]]:
    """Run a customer for each account until the end of the block."""
    stop = Event()
    found = [Customer(uri, account, stop) for account in ACCOUNTS]
    for customer in found:
        customer.thread.start()
    try:
        yield found
    finally:
        stop.set()
        for customer in found:
            customer.thread.join(60)
            assert not customer.thread.is_alive()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[list[RedisServer]]:
    """Three primaries, each with a replica."""
    with valkey_cluster(tmp_path, 3, *OPTIONS, replicas=True) as servers:
        yield servers
    gc.collect()


@pytest.mark.parametrize("wait", [0, 1])
def test_gates_refuse_while_a_replica_takes_over_and_then_go_on(cluster: list[RedisServer], wait: int) -> None:
    """With `?wait=1`, accounts of the killed primary also wait for its restart: the replica has no replica itself."""
    uri = cluster[0].uri(cluster="true", wait=str(wait), timeout="0.5")
    with customers(uri) as all_customers:
        time.sleep(4)
        killed = time.monotonic()
        cluster[1].kill()
        if wait:
            time.sleep(3 * NODE_TIMEOUT_SECONDS)
            cluster[1].start()
        back = killed + 3 * NODE_TIMEOUT_SECONDS
        while min(max(customer.answered, default=0.0) for customer in all_customers) < back:
            assert time.monotonic() < killed + 60, "not everybody is answered again"
            time.sleep(0.1)
        time.sleep(2)
    refused = sorted(when for customer in all_customers for when in customer.refused)
    assert not refused or refused[0] > killed - 1, "nobody was refused before"
    ledger = open_ledger(uri)
    lost = {
        customer.account: len(customer.answered) - ledger.account(MODEL, customer.account).history.queries
        for customer in all_customers
    }
    print(
        f"wait={wait}: {sum(len(customer.answered) for customer in all_customers):,} answers, {len(refused):,} refusals"
        f" in the {refused[-1] - killed if refused else 0:.1f} s after the kill, lost charges: {lost}"
    )
    # One whose customer was stopped before it saw the answer may be charged and not counted.
    assert all(number >= -1 for number in lost.values()), "nothing is charged twice"
    assert not wait or max(lost.values()) <= 0, "no answer left without its charge"
    last_second = [sum(killed - 1 < when < killed + 0.1 for when in customer.answered) for customer in all_customers]
    assert all(number <= recent for number, recent in zip(lost.values(), last_second, strict=True))
