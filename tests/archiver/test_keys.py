"""`calpow keys`: what the operator types, and what the workers then know."""

import argparse
import re
import stat
from pathlib import Path

import pytest

from calpow.archiver.cli import keys
from calpow.handler.ledger import open_ledger
from calpow.handler.ledger.ledger import LedgerError


@pytest.fixture
def uri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.delenv("CALPOW_LEDGER", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return f"sqlite:///{tmp_path}/ledger.db"


@pytest.fixture
def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="calpow")
    keys.add_command(parser.add_subparsers(required=True))
    return parser


def run(parser: argparse.ArgumentParser, *words: str) -> int:
    args = parser.parse_args(["keys", *words])
    status: int = args.run(args)
    return status


def test_an_added_key_is_printed_alone_and_works(
    parser: argparse.ArgumentParser, uri: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(parser, "add", "ada", "--ledger", uri) == 0
    said = capsys.readouterr()
    assert open_ledger(uri).account_of(said.out.rstrip("\n")) == "ada"
    assert "cannot be shown again" in said.err


def test_the_list_shows_ids_and_accounts_and_no_key(
    parser: argparse.ArgumentParser, uri: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run(parser, "add", "ada", "--ledger", uri)
    run(parser, "add", "bob the builder", "--ledger", uri)
    made = capsys.readouterr().out.split()
    assert run(parser, "list", "--ledger", uri) == 0
    listed = capsys.readouterr().out
    when = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"
    assert re.fullmatch(rf"[0-9a-f]+  {when}  valid  ada\n[0-9a-f]+  {when}  valid  bob the builder\n", listed)
    assert all(key.split("_")[1] in listed and key.split("_")[2] not in listed for key in made)


def test_a_revoked_key_is_refused_and_shown_as_such(
    parser: argparse.ArgumentParser, uri: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run(parser, "add", "ada", "--ledger", uri)
    key = capsys.readouterr().out.strip()
    assert run(parser, "revoke", key.split("_")[1], "--ledger", uri) == 0
    assert open_ledger(uri).account_of(key) is None
    run(parser, "list", "--ledger", uri)
    assert "revoked" in capsys.readouterr().out


def test_a_key_id_that_nobody_has_is_an_error_in_one_line(parser: argparse.ArgumentParser, uri: str) -> None:
    with pytest.raises(LedgerError, match="calpow keys list") as caught:
        run(parser, "revoke", "beef", "--ledger", uri)
    assert "\n" not in str(caught.value)


def test_an_empty_ledger_says_so_and_which_it_is(
    parser: argparse.ArgumentParser, uri: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(parser, "list", "--ledger", uri) == 0
    said = capsys.readouterr()
    assert said.out == ""
    assert uri in said.err


def test_the_environment_names_the_ledger(
    parser: argparse.ArgumentParser, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CALPOW_LEDGER", uri)
    run(parser, "add", "ada")
    (key,) = open_ledger(uri).keys()
    assert key.account == "ada"


def test_without_a_word_the_ledger_is_at_home_and_private(
    parser: argparse.ArgumentParser, uri: str, tmp_path: Path
) -> None:
    run(parser, "add", "ada")
    assert stat.S_IMODE((tmp_path / ".calpow/ledger.db").stat().st_mode) == 0o600


@pytest.mark.parametrize("words", [[], ["add"], ["revoke"], ["lose", "x"]])
def test_half_a_command_is_refused_by_the_parser(parser: argparse.ArgumentParser, words: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run(parser, *words)
    assert caught.value.code == 2


@pytest.mark.parametrize("words", [[], ["add"], ["list"], ["revoke"]])
def test_every_help_ends_with_an_example(
    parser: argparse.ArgumentParser, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run(parser, *words, "--help")
    assert "Example" in capsys.readouterr().out
