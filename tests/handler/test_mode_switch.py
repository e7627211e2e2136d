"""An operator changes a model's mode in the ledger, and workers follow."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

from calpow.handler.config import Mode
from calpow.handler.errors import LedgerUnavailable
from calpow.handler.gate.interface import AnswerStrategy
from calpow.handler.ledger.ledger import Ledger
from calpow.handler.mode_switch import SECONDS_BETWEEN_READINGS, Bypass, ModeSwitch
from calpow.handler.observe.observer import Observer
from tests.support.gate_harness import GateHarness, HookedLedger, TextDecision, decision_type

MODEL = "digits"


class Switched:
    """A worker of a model that was packaged to enforce; its clock stands until it is moved."""

    def __init__(self, folder: Path) -> None:
        self.harness = GateHarness(folder / "ledger.db")
        self.fails = False
        self.now = 0.0
        self.made: list[Mode] = []
        ledger = cast(Ledger, HookedLedger(self.harness.ledger, self._fail))
        policy, records = self.harness.policy, folder / "records.jsonl"
        makers: dict[Mode, Callable[[], AnswerStrategy]] = {
            Mode.enforce: lambda: self.harness.gate,
            Mode.observe: lambda: Observer(MODEL, self.harness.ledger, policy, records),
            Mode.off: Bypass,
        }
        self.switch = ModeSwitch(
            MODEL, ledger, Mode.enforce, {mode: self._counted(mode, make) for mode, make in makers.items()}, self._clock
        )

    def _clock(self) -> float:
        return self.now

    def _counted(self, mode: Mode, make: Callable[[], AnswerStrategy]) -> Callable[[], AnswerStrategy]:
        def counted() -> AnswerStrategy:
            self.made.append(mode)
            return make()

        return counted

    def _fail(self, name: str) -> None:
        if self.fails:
            raise LedgerUnavailable("down")

    def ask(self) -> TextDecision:
        """Return the decision on a request without work, some seconds after the last one."""
        self.now += SECONDS_BETWEEN_READINGS
        return self.switch.answer([self.harness.request("1.0", key="")], self.harness.runner.run)[0]


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
    assert worker.made == [Mode.enforce, Mode.observe, Mode.off]


def test_the_ledger_is_read_once_in_two_seconds(worker: Switched) -> None:
    worker.ask()
    worker.harness.ledger.set_mode(MODEL, "off")
    worker.now -= 0.1
    assert decision_type(worker.ask()) == "identity-missing"
    assert decision_type(worker.ask()) == "answered"


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
