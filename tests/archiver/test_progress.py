"""Progress on stderr: a bar on a terminal, and a line now and then in a log."""

import os
import re
import sys
import time
from pathlib import Path

import click
import pytest

from calpow.archiver import progress
from tests.support.terminals import read_until, terminal


@pytest.fixture
def _lines_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)


@pytest.mark.usefixtures("_lines_at_once")
def test_without_a_terminal_there_are_plain_lines_with_an_estimate(capsys: pytest.CaptureFixture[str]) -> None:
    with click.Context(click.Command("calibrate"), info_name="calibrate"):
        assert list(progress.track(range(3), "payloads", "payload")) == [0, 1, 2]
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "calibrate: payloads 1/3, about 1 s left",
        "calibrate: payloads 2/3, about 1 s left",
        "calibrate: payloads 3/3",
    ]


@pytest.mark.usefixtures("_lines_at_once")
def test_what_cannot_be_counted_beforehand_is_counted_as_it_comes(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress.track(iter("ab"), "records", "line")) == ["a", "b"]
    assert capsys.readouterr().err.splitlines() == ["calpow: records 1 lines", "calpow: records 2 lines"]


@pytest.mark.usefixtures("_lines_at_once")
def test_what_an_earlier_run_did_counts_as_done_but_not_for_the_estimate(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.progress("teachers", "teacher", total=1_500, done=1_400) as advance:
        advance(50)
    assert capsys.readouterr().err == "calpow: teachers 1,450/1,500, about 1 s left\n"


def test_a_short_phase_says_nothing_in_a_log(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress.track([1], "payloads", "payload")) == [1]
    assert capsys.readouterr().err == ""


def test_a_long_phase_says_at_its_end_how_long_it_took(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "LONG_SECONDS", 0.01)
    for _ in progress.track([1, 2], "payloads", "payload"):
        time.sleep(0.03)
    assert re.fullmatch(r"calpow: payloads took \d+\.\d s\n", capsys.readouterr().err)


def test_on_a_terminal_there_is_a_bar(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with terminal() as (ours, theirs), os.fdopen(os.dup(theirs), "w") as stderr:
        monkeypatch.setattr(sys, "stderr", stderr)
        assert len(list(progress.track(range(7), "payloads", "payload"))) == 7
        stderr.flush()
        assert "payloads: 100%" in read_until(ours, "7/7")


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.2, "1 s"), (25.4, "25 s"), (150.0, "2 min"), (7_200.0, "2.0 h"), (5_000.0, "83 min")]
)
def test_durations_are_round(seconds: float, words: str) -> None:
    assert progress.duration(seconds) == words
