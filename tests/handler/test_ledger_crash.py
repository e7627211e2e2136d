"""Workers killed in the middle of their work: nothing committed is lost, nothing is half done, nothing counts twice."""

import random
import time
from dataclasses import dataclass, field

from calpow.handler.ledger import open_ledger
from calpow.handler.ledger.ledger import MOST_USES, Admission, Ledger, Totals
from tests.support.ledgers import MODEL, Child, admit, use

pytest_plugins = ["tests.support.ledger_backends"]

BATCH = 3  # of `ledger_child.py`
STEPS = ("admitting", "admitted", "settled")


@dataclass
class Told:
    """What a killed child had said: the ids of the batches it finished, and how far the last one came."""

    settled: list[str] = field(default_factory=list)
    last: dict[str, list[str]] = field(default_factory=dict)

    def hear(self, line: str) -> None:
        """Take in one line."""
        step, *names = line.split()
        if step == "admitting":
            self.last = {}
        self.last[step] = names
        if step == "settled":
            self.settled += names

    @property
    def step(self) -> str:
        """The last thing it said."""
        return next(step for step in reversed(STEPS) if step in self.last)

    @property
    def batches(self) -> int:
        """How many batches it finished."""
        return len(self.settled) // (2 * BATCH)


def killed(child: Child, lines: int, pause: float) -> Told:
    """Kill a streaming child some time after it has said so many lines."""
    told = Told()
    for _ in range(lines):
        told.hear(child.line())
    time.sleep(pause)
    for line in child.kill():
        told.hear(line)
    return told


def spent(ledger: Ledger, names: list[str]) -> list[str]:
    found = ledger.standing(MODEL, "ada", names).outcomes
    return [name for name in names if name in found]


def uses_left(ledger: Ledger, name: str) -> int:
    """How many times the id may still be used; uses them up."""
    now = time.time()
    return admit(ledger, *[use(name, expires=now + 600)] * (MOST_USES + 1), now=now).count(Admission.FRESH)


def check(ledger: Ledger, told: Told, batches_before: int) -> int:
    """Check that the ledger holds what the dead child had done, and no half of a batch; the batches settled by now."""
    account = ledger.account(MODEL, "ada")
    batches = account.version
    assert account.totals == Totals(3 * BATCH * batches, -BATCH * batches, BATCH * batches), "half a batch was charged"
    assert account.owed == -batches
    assert spent(ledger, told.settled) == told.settled, "an answer was given and its ids can be spent again"
    last = told.last["admitting"]
    in_doubt = spent(ledger, last)
    assert in_doubt in ([], last), "half a batch was spent"
    assert batches - batches_before - told.batches == (told.step != "settled" and in_doubt == last)
    if told.step == "admitting":
        assert in_doubt == []
        left = {uses_left(ledger, name) for name in last}
        assert left in ({MOST_USES}, {MOST_USES - 1}), "half a batch was admitted"
    elif not in_doubt:
        assert {uses_left(ledger, name) for name in last} == {MOST_USES - 1}, "a use was lost"
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
    survivor, *victims = [Child("stream", uri, account) for account in ("ada", "bob", "eve")]
    for child in (survivor, *victims):
        child.go()
    for victim in victims:
        killed(victim, 10, 0.0)
    told = killed(survivor, 60, 0.0)
    assert told.batches >= 15
    check(ledger, told, 0)


def test_what_was_settled_is_there_after_the_last_worker_was_killed(uri: str) -> None:
    child = Child("stream", uri, "ada")
    child.go()
    told = killed(child, 30, 0.0)
    check(open_ledger(uri), told, 0)
