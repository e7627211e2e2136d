"""The work of an attack's first answers is solved up to a limit, and counted in expected hashes beyond it."""

import csv
from pathlib import Path

import numpy as np
import pytest

from benchmarks.attacks.thefts.solved_work import (
    HEADER,
    REFERENCE_RATE,
    SolvedWork,
    read_solved,
    solve_first,
    solved_sentence,
    solved_table,
    write_solved,
)

FLOOR = 3_200
SECONDS = FLOOR / REFERENCE_RATE


def test_puzzles_are_solved_up_to_the_limit_and_counted_beyond_it() -> None:
    work = solve_first("copycat", np.array([1.0, 2.0, 100.0, 1.0]), SECONDS, 3 * FLOOR)
    assert (work.answers, work.solved) == (4, 2)
    assert work.expected == pytest.approx(3 * FLOOR, rel=0.1)
    assert work.all_expected == pytest.approx(104 * FLOOR, rel=0.1)
    assert work.tried > 0
    assert work.seconds > 0


@pytest.mark.slow
def test_hashes_tried_are_about_those_expected() -> None:
    work = solve_first("standard", np.full(400, 1.0), SECONDS, 10**9)
    assert work.solved == 400
    assert abs(work.tried - work.expected) < 5 * work.deviation
    assert work.deviation < work.expected / 50


def test_nothing_is_solved_where_the_first_answer_is_beyond_the_limit(tmp_path: Path) -> None:
    work = solve_first("copycat", np.array([100.0]), SECONDS, FLOOR)
    assert (work.solved, work.expected, work.tried) == (0, 0, 0)
    (line,) = [line for line in solved_table("digits", 4, [work]) if line.startswith("| CopyCat")]
    assert line.split("|")[4:7] == [" 0 ", " 0 ", " 0 "]
    assert write_solved("digits", 4, [work], tmp_path).name == "solved-digits-4.csv"


def test_the_file_holds_all_numbers(tmp_path: Path) -> None:
    path = write_solved("digits", 4, [SolvedWork("eat", 5, 2, 100, 20.4, 90, 0.5, 300)], tmp_path)
    with path.open(newline="") as file:
        header, row = csv.reader(file)
    assert tuple(header) == HEADER
    assert row == ["digits", "4", "eat", "5", "2", "100", "20", "90", "0.5", "300"]


def test_what_is_written_is_read_and_summed(tmp_path: Path) -> None:
    works = [
        SolvedWork("eat", 5, 2, 2 * 10**9, 3e8, 10**9, 0.5, 3 * 10**9),
        SolvedWork("gap", 5, 5, 10**9, 4e8, 10**9, 1.5, 10**9),
    ]
    write_solved("digits", 4, works, tmp_path)
    assert read_solved(tmp_path, "digits") == {4: works}
    assert (
        "7 puzzles that expect 3.00 billion hashes took 2.00 billion, 0.667 of it (chance: 1 +- 0.167)"
        in solved_sentence(works)
    )


def test_a_limit_below_every_puzzle_is_said() -> None:
    assert "give a larger --solve" in solved_sentence([])
