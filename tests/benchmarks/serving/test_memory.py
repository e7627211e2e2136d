"""The memory of workers is read and compared."""

import os

from benchmarks.serving.demo_model import PROTECTED, UNPROTECTED
from benchmarks.serving.memory import MIB, Reading, table


def test_the_memory_of_a_process_is_its_own_and_a_share_of_files() -> None:
    reading = Reading.of(os.getpid(), 7)
    assert reading.answers == 7
    assert MIB < reading.anonymous < reading.proportional <= reading.resident


def test_what_the_gate_adds_is_shown_in_mebibytes() -> None:
    plain, guarded = Reading(5, 10 * MIB, 20 * MIB, 30 * MIB), Reading(5, 11 * MIB, 22 * MIB, 33 * MIB)
    *_, line = table({UNPROTECTED: [plain], PROTECTED: [guarded]})
    assert line == "| 5 | 10.0 / 20.0 / 30.0 | 11.0 / 22.0 / 33.0 | 1.0 / 2.0 / 3.0 |"
