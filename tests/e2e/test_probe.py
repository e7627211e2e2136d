"""The documented probe: `calpow predict` with a probe key says if the gate of a running server can answer."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from calpow.archiver.cli.keys import keys
from calpow.client.cli.main import main
from calpow.handler.gate.probes import probe_account
from calpow.handler.ledger.uri import open_ledger
from tests.support.guarded import TIMEOUT, Site

ANSWERS = Path(__file__).resolve().parents[2] / "deploy" / "answers.sh"
PAYLOAD = "0.25,0.5,0.125,1.0"


@pytest.fixture
def probe(tmp_path: Path) -> Path:
    file = tmp_path / "probe.csv"
    file.write_text(PAYLOAD)
    return file


def test_a_probe_is_answered_time_after_time_and_its_key_gets_nothing_else(
    site: Site, probe: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    key = CliRunner().invoke(keys, ["add", "--probe", str(probe), "--ledger", site.ledger_uri]).stdout.strip()
    monkeypatch.setenv("CALPOW_KEY", key)
    url = site.server.url("vector")
    for _ in range(3):
        assert main(["predict", url, str(probe)]) == 0
    capfd.readouterr()
    probe.write_text("0.1,0.5,0.125,1.0")
    assert main(["predict", url, str(probe)]) == 1
    assert "This key gets the answer to the payload that it was made for" in capfd.readouterr().err
    account = open_ledger(site.ledger_uri).account("vector", probe_account(PAYLOAD.encode()))
    assert (account.history.queries, set(account.history.wealth)) == (1, {0})


@pytest.mark.parametrize("with_key", [True, False])
def test_the_startup_probe_of_the_image_says_if_the_gate_answers(site: Site, probe: Path, with_key: bool) -> None:
    key = CliRunner().invoke(keys, ["add", "--probe", str(probe), "--ledger", site.ledger_uri]).stdout.strip()
    environment = dict(os.environ, PATH=f"{Path(sys.executable).parent}:/usr/bin:/bin", CALPOW_KEY=key)
    command = ["sh", str(ANSWERS), site.server.url("vector"), str(probe.parent)]
    if not with_key:
        del environment["CALPOW_KEY"]

    def run() -> int:
        return subprocess.run(
            command, env=environment, capture_output=True, timeout=2 * TIMEOUT, check=False
        ).returncode

    assert run() == 0
    site.ledger.revoke_key(key.split("_")[1])
    assert run() == (1 if with_key else 0)
