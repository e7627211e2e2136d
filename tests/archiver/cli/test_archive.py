"""`calpow archive` with parts that do not fit each other: one line, and nothing written."""

import dataclasses
import json
import zipfile
from pathlib import Path

import pytest

from calpow.archiver.calibration.calibration_document import Calibration
from calpow.archiver.victim.fingerprint import fingerprint
from calpow.client.cli.main import main
from calpow.handler.config import OLDEST_TORCH, file_sha256
from calpow.handler.leakage.specs import ScoreName, ScoreSpec, VictimShape
from calpow.handler.policy.calibration_file import load_policy
from tests.archiver.cli.conftest import Refused
from tests.support.calibrations import EVIDENCE, calibration, flat_test

pytestmark = [pytest.mark.training, pytest.mark.usefixtures("at_home")]


def save_calibration(home: Path, folder: Path, name: ScoreName, part: str | None) -> Path:
    """Write a calibration of the victim with one metric, and with the part that it needs if any."""
    settings = {"sigma": 0.2, "delta": 1e-5, "teachers": 5.0} if part else {}
    calibration(
        shape=VictimShape(4, (4,)),
        victim_sha256=fingerprint(home / "victim.mar"),
        parts={part: file_sha256(home / part)} if part else {},
        scores=(ScoreSpec(name, settings),),
        evidence=dataclasses.replace(EVIDENCE, tests=(flat_test(4, 1.2, 1.9),)),
    ).save(folder / "calibration.json")
    return folder / "calibration.json"


def test_an_archive_of_other_parts_than_the_calibration_was_made_with(
    refused: Refused, home: Path, tmp_path: Path
) -> None:
    arguments = ("archive", "--victim", "victim.mar", "--export-path", tmp_path, "--model-name", "out")
    saved = save_calibration(home, tmp_path, ScoreName.pknn, "neighbours.pt")
    line = refused(*arguments, "--calibration", saved)
    assert "made with neighbours.pt, which is missing" in line
    line = refused(*arguments, "--calibration", saved, "--neighbours", "neighbours.pt", "--ensemble", "teachers.pt")
    assert "do not use teachers.pt: leave it out, or calibrate with it" in line
    six = ["--victim", str(home / "victim.mar"), "--data", str(home / "train"), "--k", "6"]
    assert main(["neighbours", *six, "--output", str(tmp_path / "six.pt")]) == 0
    line = refused(*arguments, "--calibration", saved, "--neighbours", tmp_path / "six.pt")
    assert "made with another neighbours.pt: run calpow calibrate again" in line
    saved = save_calibration(home, tmp_path, ScoreName.entropy, None)
    line = refused(*arguments, "--calibration", saved, "--ensemble", "teachers.pt")
    assert "do not use teachers.pt" in line


@pytest.mark.parametrize(
    ("member", "value", "line"),
    [
        ("schema", 5, "has schema 5, this version reads 9"),
        (
            "scores",
            [{"name": "magic", "settings": {}, "layer": ""}],
            "policy.scores[0].name must be one of: pate, vote-entropy, entropy",
        ),
        ("scores", [], "policy.scores must not be empty"),
        ("scores", [{"name": "pate", "settings": {}, "layer": ""}], "pate needs teachers"),
        ("output", "magic", "output"),
    ],
)
def test_a_calibration_of_another_version_or_metric(
    refused: Refused, home: Path, tmp_path: Path, member: str, value: object, line: str
) -> None:
    saved = save_calibration(home, tmp_path, ScoreName.entropy, None)
    assert load_policy(saved)
    document = json.loads(saved.read_text())
    (document if member == "schema" else document["policy"])[member] = value
    saved.write_text(json.dumps(document))
    arguments = ("archive", "--victim", "victim.mar", "--export-path", tmp_path, "--model-name", "out")
    assert line in refused(*arguments, "--calibration", saved)


def test_a_calibration_that_keeps_nobody_off_unless_that_is_accepted(
    refused: Refused, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = save_calibration(home, tmp_path, ScoreName.entropy, None)
    weak = Calibration.load(saved)
    profiles = tuple(
        dataclasses.replace(profile, figures=profile.figures and dataclasses.replace(profile.figures, theft=1.02))
        for profile in weak.rehearsal.profiles
    )
    dataclasses.replace(weak, rehearsal=dataclasses.replace(weak.rehearsal, profiles=profiles)).save(saved)
    arguments = ("archive", "--victim", "victim.mar", "--calibration", saved, "--export-path", tmp_path)
    named = (*arguments, "--model-name", "out")
    assert "Do not deploy: it keeps nobody off" in refused(*named)
    assert not (tmp_path / "out.mar").exists()
    assert main([str(word) for word in (*named, "--accept-weak")]) == 0
    result, *_, serve = capsys.readouterr().out.splitlines()
    assert result.endswith(f"guards victim.mar and needs torch >= {OLDEST_TORCH}")
    assert serve.endswith(f"--model-store {tmp_path} --models out=out.mar")
    assert (tmp_path / "out.mar").is_file()
    tokens = ("--accept-weak", "--force", "--identity", "anonymous", "--identity", "jwt")
    assert main([str(word) for word in (*named, *tokens)]) == 0
    said = capsys.readouterr().out
    assert "calpow keys add" not in said, "nobody there has a key"
    assert "a server with CALPOW_IDENTITY set:" in said
    with zipfile.ZipFile(tmp_path / "out.mar") as archive:
        assert json.loads(archive.read("calpow.json"))["identity"] == ["jwt", "anonymous"]


def test_a_folder_that_is_missing_is_made_unless_a_file_has_its_name(
    refused: Refused, home: Path, tmp_path: Path
) -> None:
    saved = save_calibration(home, tmp_path, ScoreName.entropy, None)
    arguments = ("archive", "--victim", "victim.mar", "--calibration", saved, "--model-name", "out", "--accept-weak")
    assert main([str(word) for word in (*arguments, "--export-path", tmp_path / "new" / "store")]) == 0
    assert (tmp_path / "new" / "store" / "out.mar").is_file()
    assert "is a file" in refused(*arguments, "--export-path", saved)
    assert "cannot make the folder" in refused(*arguments, "--export-path", saved / "store")
