"""A worker that is killed, at whatever step: its request is answered when it is sent again, and charged once."""

import os
import signal
from collections.abc import Sequence
from multiprocessing import get_context
from pathlib import Path

import pytest

from calpow.handler.gate.decision import Ran, Request
from tests.support.house import House, announced, kind_of, prepay, rest_of, solution

SETTLED = "after settling"
STEPS = ("before standing", "before admit", "after admit", "after the pass", "before settle", SETTLED)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def work_and_die(path: Path, key: str, sent: str, texts: Sequence[str], step: str) -> None:
    """A worker on the ledger of a house, which is killed at a step of answering `texts`, all paid by `sent`."""
    house = House(path)
    house.key = key

    def meddle(name: str) -> None:
        if step == f"before {name}":
            die()

    def run(requests: Sequence[Request]) -> list[Ran]:
        if step == "after admit":
            die()
        results = house.runner.run(requests)
        if step == "after the pass":
            die()
        return results

    gate = house.meddled(meddle)
    gate.answer([house.request(text, sent, counted=False) for text in texts], run)
    die()


def killed(house: House, sent: str, texts: Sequence[str], step: str) -> None:
    """Let a worker be killed while it answers."""
    process = get_context("spawn").Process(target=work_and_die, args=(house.path, house.key, sent, texts, step))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("prepaid", [False, True])
def test_a_request_of_a_killed_worker_is_answered_when_it_is_sent_again_and_charged_once(
    tmp_path: Path, step: str, *, prepaid: bool
) -> None:
    house = House(tmp_path / "ledger.db")
    sent = prepay(house, 1100) if prepaid else house.pay("1.0")
    killed(house, sent, ["1.0"], step)
    assert house.account().totals.queries == (step == SETTLED)
    assert announced(house.ask("1.0", sent)) > 0
    assert house.account().totals.queries == 1
    assert kind_of(house.ask("2.0", sent)) == "challenge-spent"
    assert house.account().totals.queries == 1


def test_the_rest_of_an_answer_that_a_killed_worker_withheld_is_asked_and_buys_it(tmp_path: Path) -> None:
    house = House(tmp_path / "ledger.db")
    dear = " ".join(["3.0"] * 20)
    sent = house.pay("1.0")
    killed(house, sent, [dear], SETTLED)
    charged = house.account()
    rest = rest_of(house.ask(dear, sent, counted=False))
    assert announced(house.ask(dear, solution(rest), counted=False)) > 0
    assert house.account().totals == charged.totals


def test_killed_workers_use_up_a_solution_after_five_passes(tmp_path: Path) -> None:
    house = House(tmp_path / "ledger.db")
    sent = house.pay("1.0")
    for _ in range(5):
        killed(house, sent, ["1.0"], "after admit")
    assert kind_of(house.ask("1.0", sent)) == "challenge-spent"
    assert house.account().totals.queries == 0
