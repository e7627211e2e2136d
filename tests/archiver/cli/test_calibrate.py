"""`calpow calibrate`: options that make no sense are refused before anything is measured."""

from pathlib import Path

import pytest

from calpow.archiver.cli.calibrate import calibrate
from tests.archiver.cli.conftest import Refused


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (("--metric", "pate"), "metric pate needs --ensemble, from calpow teachers"),
        (("--metric", "pknn"), "metric pknn needs --neighbours, from calpow neighbours"),
        (("--metric", "gap", "--neighbours", "file"), "--neighbours is for metric pknn"),
        (("--metric", "gap", "gap"), "--metric names one twice: gap gap"),
        (("--metric", "gap", "--metric", "gap"), "--metric names one twice: gap gap"),
        (("--metric", "gap", "magic"), "Invalid value for '--metric': 'magic' is not one of 'pate', 'entropy'"),
        (("--metric", "gap", "--policy", "magic"), "Invalid value for '--policy': 'magic' is not one of"),
        (("--metric", "gap", "--puzzle", "magic"), "Invalid value for '--puzzle': 'magic' is not one of"),
        (("--metric", "gap", "--attack", "folder"), "--attack folder: give NAME=FOLDER"),
        (("--metric", "gap", "--attack", "a=data", "--attack", "a=more"), "another attack of that name"),
        (("--metric", "gap", "--from-records", "nowhere"), "File 'nowhere' does not exist"),
        (("--metric", "gap", "--victim", "nowhere"), "Invalid value for '--victim': Path 'nowhere' does not exist"),
        (("--metric", "gap", "--data", "file"), "Invalid value for '--data': Directory 'file' is a file"),
    ],
)
def test_options_that_make_no_sense(
    options: tuple[str, ...], line: str, refused: Refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    Path("data").mkdir()
    assert line in refused("calibrate", "--victim", "file", "--data", "data", "--output", "out", *options)


@pytest.mark.parametrize(
    ("options", "metrics"),
    [
        ([], ("pate",)),
        (["--metric", "gap"], ("gap",)),
        (["--metric", "pknn", "entropy", "gap", "--seed", "1"], ("pknn", "entropy", "gap")),
        (["--metric", "pknn", "--seed", "1", "--metric", "entropy"], ("pknn", "entropy")),
    ],
)
def test_one_metric_option_takes_several_names(options: list[str], metrics: tuple[str, ...], tmp_path: Path) -> None:
    victim = tmp_path / "victim.mar"
    victim.touch()
    arguments = ["--victim", str(victim), "--data", str(tmp_path), *options]
    with calibrate.make_context("calibrate", arguments) as context:
        assert context.params["metrics"] == metrics
