"""An operator changes a model's mode in the ledger, and workers follow."""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

from calpow.handler.config import Mode
from calpow.handler.errors import LedgerUnavailable
from calpow.handler.gate.interface import AnswerStrategy
from calpow.handler.gate.mode_switch import ModeSwitch
from calpow.handler.ledger.ledger import Ledger
from calpow.handler.observe.observer import Observer
from tests.support.gate_harness import GateHarness, HookedLedger, TextDecision, decision_type

MODEL = "digits"


class Switched:
    """A worker of a model that was packaged to enforce."""

    def __init__(self, folder: Path) -> None:
        self.harness = GateHarness(folder / "ledger.db")
        self.fails = False
        self.hangs: threading.Event | None = None
        self.made: list[Mode] = []
        ledger = cast(Ledger, HookedLedger(self.harness.ledger, self._fail))
        policy, records = self.harness.policy, folder / "records.jsonl"
        makers: dict[Mode, Callable[[], AnswerStrategy]] = {
            Mode.enforce: lambda: self.harness.gate,
            Mode.observe: lambda: Observer(MODEL, self.harness.ledger, policy, records),
        }
        self.switch = ModeSwitch(
            MODEL, ledger, Mode.enforce, {mode: self._counted(mode, make) for mode, make in makers.items()}
        )

    def _counted(self, mode: Mode, make: Callable[[], AnswerStrategy]) -> Callable[[], AnswerStrategy]:
        def counted() -> AnswerStrategy:
            self.made.append(mode)
            return make()

        return counted

    def _fail(self, name: str) -> None:
        if self.hangs is not None:
            self.hangs.wait(30)
        if self.fails:
            raise LedgerUnavailable("down")

    def ask(self) -> TextDecision:
        """Return the decision on a request without work, after the mode was read."""
        self.switch.read()
        return self.switch.answer([self.harness.request("1.0", key="")], self.harness.runner)[0]


@pytest.fixture
def worker(tmp_path: Path) -> Switched:
    return Switched(tmp_path)


def test_workers_follow_the_mode_of_the_ledger_and_return_to_the_archives(worker: Switched) -> None:
    assert decision_type(worker.ask()) == "identity-missing"
    for mode in ("observe", "off"):
        worker.harness.ledger.set_mode(MODEL, mode)
        assert decision_type(worker.ask()) == "answered"
    worker.harness.ledger.set_mode("another", "off")
    worker.harness.ledger.set_mode(MODEL, None)
    assert decision_type(worker.ask()) == "identity-missing"
    worker.harness.ledger.set_mode(MODEL, "observe")
    worker.ask()
    assert worker.made == [Mode.enforce, Mode.observe]


def test_nothing_is_priced_while_the_mode_is_off(worker: Switched) -> None:
    worker.harness.ledger.set_mode(MODEL, "off")
    assert decision_type(worker.ask()) == "answered"
    runner = worker.harness.runner
    assert (runner.unpriced, runner.calls) == (["1.0"], [])


def test_a_ledger_that_hangs_delays_no_answer(worker: Switched) -> None:
    released = threading.Event()
    worker.hangs = released
    worker.switch.follow()
    begun = time.monotonic()
    decision = worker.switch.answer([worker.harness.request("1.0", key="")], worker.harness.runner)[0]
    assert decision_type(decision) == "identity-missing"
    assert time.monotonic() - begun < 5
    worker.harness.ledger.set_mode(MODEL, "observe")
    released.set()
    deadline = time.monotonic() + 20
    while worker.made != [Mode.enforce, Mode.observe]:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_while_the_ledger_is_down_the_last_mode_stays(worker: Switched, caplog: pytest.LogCaptureFixture) -> None:
    worker.harness.ledger.set_mode(MODEL, "off")
    assert decision_type(worker.ask()) == "answered"
    worker.fails = True
    worker.harness.ledger.set_mode(MODEL, None)
    with caplog.at_level(logging.WARNING):
        assert decision_type(worker.ask()) == "answered"
    assert "the mode is not known, the last one stays: down" in caplog.text
    worker.fails = False
    assert decision_type(worker.ask()) == "identity-missing"


def test_a_mode_that_this_version_does_not_know_changes_nothing(worker: Switched) -> None:
    worker.harness.ledger.set_mode(MODEL, "shadow")
    assert decision_type(worker.ask()) == "identity-missing"
