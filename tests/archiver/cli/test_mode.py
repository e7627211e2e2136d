"""`calpow mode`: shows and sets the modes of models."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from calpow.archiver.cli.mode import mode
from calpow.handler.ledger.uri import open_ledger
from tests.support.ledgers import MODEL, settle


@pytest.fixture
def uri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    uri = f"sqlite:///{tmp_path}/ledger.db"
    monkeypatch.setenv("CALPOW_LEDGER", uri)
    return uri


def run(*arguments: str, exit_code: int = 0) -> Result:
    result = CliRunner().invoke(mode, arguments)
    assert result.exit_code == exit_code, result.output
    return result


def test_a_mode_is_set_shown_and_taken_back(uri: str) -> None:
    assert "packaged with" in run().stderr
    assert run("digits").stdout == "digits  packaged\n"
    assert "observe within two seconds" in run("digits", "observe").stderr
    assert open_ledger(uri).mode("digits") == "observe"
    assert run().stdout == run("digits").stdout == "digits  observe\n"
    run("digits", "packaged")
    assert open_ledger(uri).mode("digits") is None


def test_a_model_that_nobody_has_queried_may_be_mistyped(uri: str) -> None:
    settle(open_ledger(uri))
    assert "is this its name" in run("digit", "observe").stderr
    assert "is this its name" not in run(MODEL, "observe").stderr


def test_another_mode_is_refused(uri: str) -> None:
    assert (
        "Invalid value for '[MODE]': 'perhaps' is not one of 'enforce', 'observe', 'off', 'packaged'"
        in run("digits", "perhaps", exit_code=2).stderr
    )
    assert open_ledger(uri).modes() == {}
