"""`calpow keys`: what the operator types, and what the workers then know."""

import json
import re
import stat
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from calpow.archiver.cli.keys import keys
from calpow.handler.errors import LedgerError
from calpow.handler.gate.probes import probe_account
from calpow.handler.ledger.account import Rule
from calpow.handler.ledger.uri import open_ledger


@pytest.fixture(autouse=True)
def _at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CALPOW_LEDGER", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/ledger.db"


def run(*arguments: str, exit_code: int = 0) -> Result:
    """Run `calpow keys` with these arguments."""
    result = CliRunner().invoke(keys, arguments)
    assert result.exit_code == exit_code, result.output
    return result


def test_an_added_key_is_printed_alone_and_works(uri: str) -> None:
    added = run("add", "ada", "--ledger", uri)
    assert open_ledger(uri).account_of(added.stdout.rstrip("\n")) == "ada"
    assert added.stderr == f"Only a hash of this key is kept, in {uri}: it cannot be shown again.\n"


def test_an_account_is_named_in_the_same_form_however_a_terminal_writes_its_letters(uri: str) -> None:
    for name in ("jos\u00e9", "jose\u0301"):
        key = run("add", name, "--ledger", uri).stdout.rstrip("\n")
        assert open_ledger(uri).account_of(key) == "jos\u00e9"


def test_the_list_shows_ids_and_accounts_and_no_key(uri: str) -> None:
    added = [run("add", account, "--ledger", uri).stdout for account in ("ada", "bob the builder")]
    listed = run("list", "--ledger", uri).stdout
    time = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"
    assert re.fullmatch(rf"[0-9a-f]+  {time}  valid  ada\n[0-9a-f]+  {time}  valid  bob the builder\n", listed)
    assert all(key.split("_")[1] in listed and key.strip().split("_")[2] not in listed for key in added)


def test_a_key_expires_after_the_time_that_is_given_and_the_list_shows_when(uri: str) -> None:
    for words, seconds in (("30d", 30 * 86_400), ("90m", 5400), ("1.5h", 5400), ("2w", 14 * 86_400)):
        run("add", words, "--expires", words, "--ledger", uri)
        key = next(key for key in open_ledger(uri).key_records() if key.account == words)
        assert key.expires == pytest.approx(key.created + seconds, abs=5)
    past = open_ledger(uri).add_key("late", time.time() - 1)
    assert open_ledger(uri).account_of(past) is None
    listed = run("list", "--ledger", uri).stdout.splitlines()
    states = [line.split("  ")[2].rpartition(" ")[0] for line in listed]
    assert states == ["valid until"] * 4 + ["expired"]


@pytest.mark.parametrize("time", ["", "30", "d", "0d", "-1d", "30 d", "30D", "1e3d", "1y", "2026-12-31", "nan"])
def test_a_time_that_is_none_is_refused(uri: str, time: str) -> None:
    result = run("add", "ada", "--expires", time, "--ledger", uri, exit_code=2)
    assert "30d" in result.output


def test_a_revoked_key_is_refused_and_shown_as_such(uri: str) -> None:
    key = run("add", "ada", "--ledger", uri).stdout.strip()
    run("revoke", key.split("_")[1], "--ledger", uri)
    assert open_ledger(uri).account_of(key) is None
    assert "revoked" in run("list", "--ledger", uri).stdout


def test_a_whole_key_is_revoked_and_never_shown(uri: str) -> None:
    key = run("add", "ada", "--ledger", uri).stdout.strip()
    _, name, secret = key.split("_")
    for other in (f"cp_{name}_{secret[::-1]}", key[:-1]):
        error = run("revoke", other, "--ledger", uri, exit_code=1).exception
        assert isinstance(error, LedgerError)
        assert other not in str(error)
    assert open_ledger(uri).account_of(key) == "ada"
    assert run("revoke", key, "--ledger", uri).stderr == f"Key {name} is refused from now on.\n"
    assert open_ledger(uri).account_of(key) is None


def test_a_key_id_that_does_not_exist_is_an_error_in_one_line(uri: str) -> None:
    error = run("revoke", "beef", "--ledger", uri, exit_code=1).exception
    assert isinstance(error, LedgerError)
    assert "calpow keys list" in str(error)
    assert "\n" not in str(error)


def test_an_empty_ledger_says_so_and_which_it_is(uri: str) -> None:
    listed = run("list", "--ledger", uri)
    assert listed.stdout == ""
    assert uri in listed.stderr


def test_the_environment_names_the_ledger(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALPOW_LEDGER", uri)
    run("add", "ada")
    (key,) = open_ledger(uri).keys()
    assert key.account == "ada"


def test_by_default_the_ledger_is_at_home_and_private(tmp_path: Path) -> None:
    run("add", "ada")
    assert stat.S_IMODE((tmp_path / ".calpow/ledger.db").stat().st_mode) == 0o600


@pytest.mark.parametrize("arguments", [[], ["add"], ["revoke"], ["lose", "x"]])
def test_half_a_command_is_refused(arguments: list[str]) -> None:
    run(*arguments, exit_code=2)


@pytest.mark.parametrize("arguments", [[], ["add"], ["list"], ["revoke"]])
def test_every_help_ends_with_an_example(arguments: list[str]) -> None:
    assert "Example" in run(*arguments, "--help").stdout


@pytest.mark.parametrize(("name", "payload"), [("digit.png", b"\x89PNG"), ("row.json", {"a": [1, 2.5]})])
def test_a_probe_key_has_an_account_of_its_own_for_the_payload(
    uri: str, tmp_path: Path, name: str, payload: object
) -> None:
    file = tmp_path / name
    file.write_bytes(payload if isinstance(payload, bytes) else json.dumps(payload, indent=2).encode())
    key = run("add", "--probe", str(file), "--ledger", uri).stdout.strip()
    ledger = open_ledger(uri)
    assert ledger.account_of(key) == probe_account(payload)
    assert ledger.rules() == {probe_account(payload): Rule.PROBE}


@pytest.mark.parametrize("words", [["ada", "--probe", "p.json"], ["--probe", "p.json"], ["--probe", "absent"]])
def test_a_probe_takes_one_readable_file_and_no_account(uri: str, tmp_path: Path, words: list[str]) -> None:
    (tmp_path / "p.json").write_text("{")
    words = [str(tmp_path / word) if word.endswith((".json", "absent")) else word for word in words]
    run("add", *words, "--ledger", uri, exit_code=2)
    assert open_ledger(uri).keys() == ()
