"""`calpow report`: the page is written, and whatever is wrong is one line."""

import json
from pathlib import Path

import pytest

from calpow.archiver.calibration.calibration_document import RehearsalEvidence
from calpow.archiver.report.page import render
from calpow.client.cli.main import main
from tests.support.calibrations import calibration
from tests.support.evidence import simulated_evidence


@pytest.fixture(scope="module")
def evidence() -> RehearsalEvidence:
    return simulated_evidence(("class coat has few samples",))


def test_the_command_writes_the_page(
    evidence: RehearsalEvidence, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    saved = calibration(rehearsal=evidence)
    saved.save(Path("calibration.json"))
    # The help's own example.
    assert main(["report", "calibration.json", "-o", "report.html"]) == 0
    assert capsys.readouterr().out == "report.html: open it in a browser\n"
    assert Path("report.html").read_text(encoding="utf-8") == render(saved, Path("calibration.json"))


def test_the_help_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "--help"]) == 0
    assert "\n    calpow report calibration.json -o report.html\n" in capsys.readouterr().out


def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "calibration.json"

    def refused(output: str = "report.html") -> str:
        assert main(["report", str(path), "-o", str(tmp_path / output)]) == 2
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1)
        return err

    assert "does not exist" in refused()
    calibration().save(path)
    assert "nowhere/report.html cannot be written (No such file or directory)" in refused("nowhere/report.html")
    document = json.loads(path.read_text())
    document["rehearsal"]["profiles"] = []
    path.write_text(json.dumps(document))
    assert "holds no evidence" in refused()
    del document["rehearsal"]
    path.write_text(json.dumps(document))
    assert "rehearsal is missing" in refused()
    assert not (tmp_path / "report.html").exists()
