"""`calpow archive` with parts that do not fit each other: one line, and nothing written."""

import json
from pathlib import Path

import pytest

from calpow.client.cli.main import main
from calpow.handler.config import file_sha256
from calpow.handler.leakage.registry import ScoreName, ScoreSpec
from calpow.handler.leakage.score import VictimShape
from calpow.handler.policy.calibration_file import load_policy
from calpow.handler.policy.policies import Conditional
from tests.archiver.cli.conftest import Refused
from tests.support.calibrations import calibration, plain_standard

pytestmark = [pytest.mark.training, pytest.mark.usefixtures("at_home")]


def save_calibration(home: Path, folder: Path, name: ScoreName, part: str | None) -> Path:
    """Write a calibration of the victim with one metric, and with the part that it needs if any."""
    settings = {"sigma": 0.2, "delta": 1e-5, "teachers": 5.0} if part else {}
    calibration(
        shape=VictimShape(4, (4,)),
        victim_sha256=file_sha256(home / "victim.mar"),
        parts={part: file_sha256(home / part)} if part else {},
        scores=(ScoreSpec(name, settings),),
        conditional=Conditional((plain_standard(4),), (0.0,) * 4, (1.0,) * 4, 1.0, 1.0, 1.0, 2.0, 3.0),
    ).save(folder / "calibration.json")
    return folder / "calibration.json"


def test_an_archive_of_other_parts_than_the_calibration_was_made_with(
    refused: Refused, home: Path, tmp_path: Path
) -> None:
    arguments = ("archive", "--victim", "victim.mar", "--export-path", tmp_path, "--model-name", "out")
    saved = save_calibration(home, tmp_path, ScoreName.pknn, "neighbours.pt")
    line = refused(*arguments, "--calibration", saved)
    assert "made with neighbours.pt, which is missing" in line
    line = refused(*arguments, "--calibration", saved, "--neighbours", "neighbours.pt", "--ensemble", "teachers.pt2")
    assert "do not use teachers.pt2: leave it out, or calibrate with it" in line
    six = ["--victim", str(home / "victim.mar"), "--data", str(home / "train"), "--k", "6"]
    assert main(["neighbours", *six, "--output", str(tmp_path / "six.pt")]) == 0
    line = refused(*arguments, "--calibration", saved, "--neighbours", tmp_path / "six.pt")
    assert "made with another neighbours.pt: run calpow calibrate again" in line
    saved = save_calibration(home, tmp_path, ScoreName.entropy, None)
    line = refused(*arguments, "--calibration", saved, "--ensemble", "teachers.pt2")
    assert "do not use teachers.pt2" in line


@pytest.mark.parametrize(
    ("member", "value", "line"),
    [
        ("schema", 5, "has schema 5, this version reads 6"),
        ("scores", [{"name": "magic", "settings": {}}], "policy.scores[0].name must be one of: pate, entropy"),
        ("scores", [], "policy.conditional.standards has 1 entries for 0 scores"),
        ("scores", [{"name": "pate", "settings": {}}], "metric pate needs teachers"),
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
