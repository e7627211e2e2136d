"""A worker that is killed at any step: its request is answered when it is sent again, and charged once."""

import os
import signal
from collections.abc import Sequence
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import pytest

from calpow.handler.gate.interface import PassResult
from tests.support.gate_harness import GateHarness, decision_type, next_hashes_of, prepay, rest_challenge, solution
from tests.support.text_runner import TextRequest

pytestmark = pytest.mark.slow

SETTLED = "after settling"
STEPS = ("before holders", "before admit", "after admit", "after the pass", "before settle", SETTLED)


# A fork of a process without threads, which has imported torch already.
WORKERS = get_context("forkserver")
WORKERS.set_forkserver_preload(["tests.support.gate_harness"])


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def work_and_die(path: Path, key: str, sent: str, texts: Sequence[str], step: str) -> None:
    """Work on the ledger of a harness, and die at a step of answering `texts`, which `sent` pays for."""
    harness = GateHarness(path)
    harness.key = key

    def hook(name: str) -> None:
        if step == f"before {name}":
            die()

    def run(requests: Sequence[TextRequest]) -> list[PassResult[str | None]]:
        if step == "after admit":
            die()
        results = harness.runner.run(requests)
        if step == "after the pass":
            die()
        return results

    gate = harness.hooked_worker(hook)
    gate.answer([harness.request(text, sent, counted=False) for text in texts], run)
    die()


def killed(harness: GateHarness, sent: str, texts: Sequence[str], step: str) -> None:
    """Start a worker that dies while it answers."""
    process = WORKERS.Process(target=work_and_die, args=(harness.path, harness.key, sent, texts, step))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("prepaid", [False, True])
def test_a_request_of_a_killed_worker_is_answered_when_it_is_sent_again_and_charged_once(
    tmp_path: Path, step: str, *, prepaid: bool
) -> None:
    harness = GateHarness(tmp_path / "ledger.db")
    sent = prepay(harness, 1100) if prepaid else harness.pay("1.0")
    killed(harness, sent, ["1.0"], step)
    assert harness.account().history.queries == (step == SETTLED)
    assert next_hashes_of(harness.ask("1.0", sent)) > 0
    assert harness.account().history.queries == 1
    assert decision_type(harness.ask("2.0", sent)) == "challenge-spent"
    assert harness.account().history.queries == 1


def test_the_rest_of_an_answer_that_a_killed_worker_withheld_is_asked_and_buys_it(tmp_path: Path) -> None:
    harness = GateHarness(tmp_path / "ledger.db")
    dear = " ".join(["3.0"] * 20)
    sent = harness.pay("1.0")
    killed(harness, sent, [dear], SETTLED)
    charged = harness.account()
    rest = rest_challenge(harness.ask(dear, sent, counted=False))
    assert next_hashes_of(harness.ask(dear, solution(rest), counted=False)) > 0
    assert replace(harness.account().history, new_digests=b"") == charged.history


def test_killed_workers_use_up_a_solution_after_five_passes(tmp_path: Path) -> None:
    harness = GateHarness(tmp_path / "ledger.db")
    sent = harness.pay("1.0")
    for _ in range(5):
        killed(harness, sent, ["1.0"], "after admit")
    assert decision_type(harness.ask("1.0", sent)) == "challenge-spent"
    assert harness.account().history.queries == 0
