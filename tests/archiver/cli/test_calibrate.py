"""`calpow calibrate`: options that make no sense are refused before anything is measured."""

from pathlib import Path

import pytest

from calpow.archiver.calibration.order import TOLERABLE
from calpow.archiver.calibration.synthetic_inputs.tolerances import TOLERANCES
from calpow.archiver.cli.calibrate import calibrate
from tests.archiver.cli.conftest import Refused


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (("--scores", "pate"), "score pate needs --ensemble, from calpow teachers"),
        (("--scores", "prototypes@blocks.0"), "score prototypes needs --ensemble, from calpow teachers"),
        (("--scores", "pknn"), "score pknn needs --neighbours, from calpow neighbours"),
        (("--scores", "gap", "gap"), "--scores names one twice: gap gap"),
        (("--scores", "gap", "--scores", "gap"), "--scores names one twice: gap gap"),
        (("--scores", "gap", "magic"), "--scores magic: give names of pate, vote-entropy, entropy, gap"),
        (("--scores", "energy@fc1"), "--scores energy@fc1: give NAME@LAYER for mahalanobis, prototypes"),
        (("--scores", "mahalanobis@"), "--scores mahalanobis@: give NAME@LAYER for mahalanobis, prototypes"),
        (("--scores", "entropy", "gap", "energy", "norm", "odin", "odin-moved"), "odin odin-moved: give at most 5"),
        (("--tolerate", "noise,magic"), "--tolerate magic: give none, or of noise, shift, flip, jpeg"),
        (("--tolerate", "none,noise"), "--tolerate none: give none, or of noise"),
        (("--tolerate", ""), "--tolerate : give none, or of noise"),
        (("--cap-seconds", "0.5"), "Invalid value for '--cap-seconds': 0.5 is not in the range"),
        (("--cap-seconds", "901"), "Invalid value for '--cap-seconds': 901.0 is not in the range"),
        (("--cap-seconds", "nan"), "Invalid value for '--cap-seconds': nan is not a number"),
        (("--scores", "gap", "--policy", "magic"), "Invalid value for '--policy': 'magic' is not one of"),
        (("--scores", "gap", "--puzzle", "magic"), "Invalid value for '--puzzle': 'magic' is not one of"),
        (("--scores", "gap", "--attack", "folder"), "--attack folder: give NAME=FOLDER"),
        (("--scores", "gap", "--attack", "a=data", "--attack", "a=more"), "another attack of that name"),
        (("--scores", "gap", "--from-records", "nowhere"), "File 'nowhere' does not exist"),
        (("--scores", "gap", "--victim", "nowhere"), "Invalid value for '--victim': Path 'nowhere' does not exist"),
        (("--scores", "gap", "--data", "file"), "Invalid value for '--data': Directory 'file' is a file"),
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
    ("options", "expected"),
    [
        ([], {"scores": (), "tolerate": None, "cap_seconds": 60.0, "policy": "evidence"}),
        (["--scores", "gap"], {"scores": ("gap",)}),
        (["--scores", "norm", "mahalanobis@blocks.0", "--seed", "1"], {"scores": ("norm", "mahalanobis@blocks.0")}),
        (["--scores", "pknn", "--seed", "1", "--scores", "entropy"], {"scores": ("pknn", "entropy")}),
        (["--tolerate", "none"], {"tolerate": ()}),
        (["--tolerate", "noise, flip,noise"], {"tolerate": ("noise", "flip")}),
        (["--cap-seconds", "900"], {"cap_seconds": 900.0}),
    ],
)
def test_options_are_read_as_their_owner_means_them(
    options: list[str], expected: dict[str, object], tmp_path: Path
) -> None:
    victim = tmp_path / "victim.mar"
    victim.touch()
    arguments = ["--victim", str(victim), "--data", str(tmp_path), *options]
    with calibrate.make_context("calibrate", arguments) as context:
        assert {name: context.params[name] for name in expected} == expected


def test_the_examples_of_the_help_can_be_pasted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("victim.mar", "teachers.pt", ".calpow/records.jsonl"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).touch()
    Path("heldout").mkdir()
    assert calibrate.epilog
    examples = [line.split()[2:] for line in calibrate.epilog.splitlines() if line.startswith("  calpow calibrate")]
    assert len(examples) == 3
    for words in examples:
        expanded = [str(Path(word).expanduser()) if word.startswith("~") else word for word in words]
        with calibrate.make_context("calibrate", expanded) as context:
            assert context.params["victim"] == Path("victim.mar")


def test_every_tolerance_there_is_can_be_ordered() -> None:
    assert tuple(TOLERANCES) == TOLERABLE
