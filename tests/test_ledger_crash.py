"""Workers killed in the middle of their work: nothing committed is lost, and nothing counts twice."""

import itertools
import random
import time
from dataclasses import dataclass, field

from calpow.handler.ledger import open_ledger
from calpow.handler.ledger.base import Ledger, QuoteRequest
from tests.ledgers import MODEL, Child, quote, want

pytest_plugins = ["tests.ledger_backends"]

STEPS = ("asking", "quoted", "redeemed", "settled")


@dataclass
class Told:
    """What a killed child had said: the batches it finished, and how far the last one came."""

    settled: list[str] = field(default_factory=list)
    last: dict[str, list[str]] = field(default_factory=dict)
    batches: int = 0

    def hear(self, line: str) -> None:
        """Take in one line."""
        step, *names = line.split()
        if step == "asking":
            self.last = {}
        self.last[step] = names
        if step == "quoted":
            self.batches += 1
        if step == "settled":
            self.settled += names

    @property
    def step(self) -> str:
        """The last thing it said it did."""
        return next(step for step in reversed(STEPS) if step in self.last)


def killed(child: Child, lines: int, pause: float) -> Told:
    """Kill a streaming child some time after it has said so many lines."""
    told = Told()
    for _ in range(lines):
        told.hear(child.line())
    time.sleep(pause)
    for line in child.kill():
        told.hear(line)
    return told


def ask_again(ledger: Ledger, digests: list[str]) -> list[bool]:
    """Whether each was charged only now."""
    now = time.time()
    requests: list[QuoteRequest] = [want(digest, expires=now + 600) for digest in digests]
    return [each.charged for each in quote(ledger, *requests, now=now)]


def redeemed(ledger: Ledger, names: list[str]) -> set[str]:
    return set(ledger.redeem(names, now=time.time(), holder="test"))


def check(ledger: Ledger, told: Told, batches_before: int) -> int:
    """That the ledger holds what the dead child was told, and no more; the batches it has charged by now."""
    batches = ledger.totals(MODEL, "ada").queries // 3
    assert ledger.totals(MODEL, "ada").queries % 3 == 0, "half a batch was charged"
    assert redeemed(ledger, told.settled) == set(), "an answer was given and can be had again"
    reopened = ledger.recover(lambda holder: holder == "test")
    assert redeemed(ledger, told.settled) == set(), "an answer was given and can be had again"
    if told.step == "asking":
        assert batches - batches_before - told.batches in (0, 1)
        assert len(set(ask_again(ledger, told.last["asking"]))) == 1, "half a batch was charged"
        return ledger.totals(MODEL, "ada").queries // 3
    assert batches - batches_before == told.batches, "a charge was lost, or counted twice"
    if told.step != "settled":
        names = told.last["quoted"]
        assert reopened in (0, len(names))
        again = redeemed(ledger, names)
        # It died while it redeemed: open before or open again. It died while it settled: open again, or spent.
        assert again == set(names) or (again == set() and told.step == "redeemed" and reopened == 0)
    assert redeemed(ledger, told.last["quoted"]) == set()
    return batches


def test_a_worker_killed_at_any_moment_loses_and_doubles_nothing(uri: str) -> None:
    ledger = open_ledger(uri)
    ledger.deployment()
    batches = 0
    chance = random.Random(7)
    steps = set()
    for lines in range(1, 25):
        child = Child("stream", uri, "ada")
        child.go()
        told = killed(child, lines, chance.uniform(0, 0.002))
        steps.add(told.step)
        batches = check(ledger, told, batches)
    assert len(steps) > 1, "the moments were all the same"


def test_workers_that_live_on_do_not_notice_when_others_are_killed(uri: str) -> None:
    ledger = open_ledger(uri)
    ledger.deployment()
    accounts = ["ada", "bob", "eve"]
    children = [Child("stream", uri, account) for account in accounts]
    for child in children:
        child.go()
    survivor, *victims = children
    alive = {str(survivor.process.pid)}
    for victim in victims:
        killed(victim, 10, 0.0)
    ledger.recover(alive.__contains__)
    told = killed(survivor, 60, 0.0)
    assert told.batches >= 15
    assert ledger.totals(MODEL, "ada").queries in (3 * told.batches, 3 * told.batches + 3)
    assert redeemed(ledger, told.settled) == set()


def test_a_killed_holder_leaves_its_challenges_to_be_redeemed_once(uri: str) -> None:
    ledger = open_ledger(uri)
    ledger.deployment()
    for _ in itertools.repeat(None, 5):
        child = Child("hold", uri, "ada")
        child.go()
        names = child.line().split()
        child.kill()
        assert redeemed(ledger, names) == set(), "held, until somebody finds the holder dead"
        assert ledger.recover(lambda holder: holder == "test") == len(names)
        assert redeemed(ledger, names) == set(names)
