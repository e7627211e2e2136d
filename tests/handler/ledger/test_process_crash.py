"""Workers that are killed at work: nothing committed is lost, nothing is half done, nothing counts twice."""

import random
import time
from dataclasses import dataclass, field

import pytest

from calpow.handler.ledger.ledger import Ledger
from calpow.handler.ledger.solutions import MOST_USES, Admission
from calpow.handler.ledger.uri import open_ledger
from tests.support.ledger_child import BATCH, history_of
from tests.support.ledgers import MODEL, Child, admit, use

pytestmark = pytest.mark.slow

STEPS = ("admitting", "admitted", "settled")


@dataclass
class ChildOutput:
    """Lines that a killed child printed: the ids of the batches that it settled, and the steps of the last one."""

    settled: list[str] = field(default_factory=list)
    last: dict[str, list[str]] = field(default_factory=dict)

    def read(self, line: str) -> None:
        """Read one line."""
        step, *names = line.split()
        if step == "admitting":
            self.last = {}
        self.last[step] = names
        if step == "settled":
            self.settled += names

    @property
    def step(self) -> str:
        """The last step of the last batch."""
        return next(step for step in reversed(STEPS) if step in self.last)

    @property
    def batches(self) -> int:
        """The number of batches that it settled."""
        return len(self.settled) // (2 * BATCH)


def killed(child: Child, lines: int, pause: float) -> ChildOutput:
    """Kill a streaming child some time after it has printed this many lines."""
    printed = ChildOutput()
    for _ in range(lines):
        printed.read(child.line())
    time.sleep(pause)
    for line in child.kill():
        printed.read(line)
    return printed


def spent(ledger: Ledger, names: list[str]) -> list[str]:
    outcomes = ledger.standing(MODEL, "ada", names).outcomes
    return [name for name in names if name in outcomes]


def uses_left(ledger: Ledger, name: str) -> int:
    """Use an id until it is exhausted, and return the number of uses."""
    now = time.time()
    return admit(ledger, *[use(name, expires=now + 600)] * (MOST_USES + 1), now=now).count(Admission.FRESH)


def check(ledger: Ledger, printed: ChildOutput, batches_before: int) -> int:
    """Check that the ledger holds what the dead child did and no half of a batch; return the batches settled so far."""
    account = ledger.account(MODEL, "ada")
    batches = account.version
    assert account.history == history_of(BATCH * batches), "half a batch was charged"
    assert account.owed == -batches
    assert spent(ledger, printed.settled) == printed.settled, "an answer was given and its ids can be spent again"
    last = printed.last["admitting"]
    in_doubt = spent(ledger, last)
    assert in_doubt in ([], last), "half a batch was spent"
    assert batches - batches_before - printed.batches == (printed.step != "settled" and in_doubt == last)
    if printed.step == "admitting":
        assert in_doubt == []
        left = {uses_left(ledger, name) for name in last}
        assert left in ({MOST_USES}, {MOST_USES - 1}), "half a batch was admitted"
    elif not in_doubt:
        assert {uses_left(ledger, name) for name in last} == {MOST_USES - 1}, "a use was lost"
    return batches


def test_a_worker_killed_at_any_moment_loses_and_doubles_nothing(raced_uri: str) -> None:
    ledger = open_ledger(raced_uri)
    ledger.deployment()
    batches = 0
    chance = random.Random(7)
    steps = set()
    for lines in range(1, 13):
        child = Child("stream", raced_uri, "ada")
        child.go()
        printed = killed(child, lines, chance.uniform(0, 0.002))
        steps.add(printed.step)
        batches = check(ledger, printed, batches)
    assert len(steps) > 1, "the moments were all the same"


def test_workers_that_live_on_do_not_notice_when_others_are_killed(raced_uri: str) -> None:
    ledger = open_ledger(raced_uri)
    ledger.deployment()
    survivor, *victims = [Child("stream", raced_uri, account) for account in ("ada", "bob", "eve")]
    for child in (survivor, *victims):
        child.go()
    for victim in victims:
        killed(victim, 10, 0.0)
    printed = killed(survivor, 60, 0.0)
    assert printed.batches >= 15
    check(ledger, printed, 0)


def test_what_was_settled_is_there_after_the_last_worker_was_killed(uri: str) -> None:
    child = Child("stream", uri, "ada")
    child.go()
    printed = killed(child, 30, 0.0)
    check(open_ledger(uri), printed, 0)
