"""What can go wrong with the ledger's file: it fails closed, in one line, and works again by itself."""

import os
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from calpow.handler.ledger import open_ledger
from calpow.handler.ledger.base import Ledger, LedgerUnavailable, Totals
from tests.ledgers import MODEL, NOW, crew, opened, quote, want

ONCE = Totals(5, -2, 1)

OPERATIONS: dict[str, Callable[[Ledger], object]] = {
    "deployment": lambda ledger: ledger.deployment(),
    "secrets": lambda ledger: ledger.secrets(),
    "add_key": lambda ledger: ledger.add_key("ada"),
    "keys": lambda ledger: ledger.keys(),
    "revoke_key": lambda ledger: ledger.revoke_key("0"),
    "account_of": lambda ledger: ledger.account_of("cp_00000000_" + "0" * 48),
    "totals": lambda ledger: ledger.totals(MODEL, "ada"),
    "standing": lambda ledger: ledger.standing(MODEL, "ada", "d", NOW),
    "quote": lambda ledger: quote(ledger, want("new")),
    "redeem": lambda ledger: ledger.redeem(["x"], now=NOW, holder="w"),
    "settle": lambda ledger: ledger.settle(["x"]),
    "undo": lambda ledger: ledger.undo(["x"]),
    "recover": lambda ledger: ledger.recover(lambda holder: False),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def ledger(path: Path) -> Ledger:
    """A ledger in use: one payload is charged."""
    ledger = open_ledger(f"sqlite:///{path}")
    opened(ledger)
    return ledger


def refuses(ledger: Ledger, *why: str) -> None:
    with pytest.raises(LedgerUnavailable) as caught:
        ledger.totals(MODEL, "ada")
    assert "\n" not in str(caught.value)
    assert all(each in str(caught.value) for each in why), str(caught.value)


def move(path: Path, folder: Path) -> None:
    """Move a ledger's files to another folder."""
    folder.mkdir(exist_ok=True)
    for file in path.parent.glob(f"{path.name}*"):
        os.rename(file, folder / file.name)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Another process that began to write and does not end."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield


def test_the_file_is_the_owners_alone(ledger: Ledger, path: Path) -> None:
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert modes == dict.fromkeys(["ledger.db", "ledger.db-wal", "ledger.db-shm"], 0o600)


def test_a_missing_folder_is_made_for_the_owner_alone(tmp_path: Path) -> None:
    open_ledger(f"sqlite:///{tmp_path}/new/deep/ledger.db").deployment()
    assert stat.S_IMODE((tmp_path / "new/deep").stat().st_mode) == 0o700


def test_a_home_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    open_ledger("sqlite:///~/.calpow/ledger.db").deployment()
    assert (tmp_path / ".calpow/ledger.db").exists()


def test_a_relative_path_stays_where_it_was_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ledger = open_ledger("sqlite:///ledger.db")
    monkeypatch.chdir("/")
    ledger.deployment()
    assert (tmp_path / "ledger.db").exists()


def test_a_path_may_hold_what_a_uri_must_not(tmp_path: Path) -> None:
    path = tmp_path / "a?b #c %41é"
    open_ledger(f"sqlite:///{path}/l.db").deployment()
    assert (path / "l.db").exists()


def test_a_key_is_nowhere_in_the_files(ledger: Ledger, path: Path) -> None:
    secret = ledger.add_key("ada").split("_")[2].encode()
    for file in path.parent.iterdir():
        assert secret not in file.read_bytes()


def test_expired_challenges_do_not_pile_up(ledger: Ledger, path: Path) -> None:
    for second in range(300):
        quote(ledger, want(f"{second}", expires=NOW + second + 10), now=NOW + second)
    with closing(sqlite3.connect(path)) as connection:
        (rows,) = connection.execute("SELECT count(*) FROM challenges").fetchone()
    assert rows <= 20


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
def test_every_operation_fails_closed_and_works_again(
    ledger: Ledger, path: Path, tmp_path: Path, operation: Callable[[Ledger], object]
) -> None:
    move(path, tmp_path / "away")
    path.mkdir()
    with pytest.raises(LedgerUnavailable):
        operation(ledger)
    with pytest.raises(LedgerUnavailable):
        operation(ledger)
    path.rmdir()
    move(tmp_path / "away" / path.name, tmp_path)
    assert ledger.totals(MODEL, "ada") == ONCE


def test_a_ledger_that_is_gone_is_not_replaced_by_an_empty_one(ledger: Ledger, path: Path, tmp_path: Path) -> None:
    move(path, tmp_path / "away")
    refuses(ledger, "gone", "put it back")
    refuses(ledger, "gone", "put it back")
    assert not path.exists()
    move(tmp_path / "away" / path.name, tmp_path)
    assert ledger.totals(MODEL, "ada") == ONCE


def test_nothing_is_written_into_a_ledger_that_was_replaced(ledger: Ledger, path: Path, tmp_path: Path) -> None:
    other = open_ledger(f"sqlite:///{tmp_path}/other/ledger.db")
    opened(other)
    opened(other, "second")
    move(path, tmp_path / "away")
    move(tmp_path / "other" / path.name, tmp_path)
    refuses(ledger, "replaced")
    assert ledger.totals(MODEL, "ada") == Totals(10, -4, 2)
    quote(ledger, want("third"))
    assert open_ledger(f"sqlite:///{path}").totals(MODEL, "ada").queries == 3
    assert open_ledger(f"sqlite:///{tmp_path}/away/ledger.db").totals(MODEL, "ada") == ONCE


@pytest.mark.parametrize("content", [b"not a database at all" * 500, b"SQLite format 3\x00" + b"\xff" * 8000])
def test_what_is_no_database_is_refused_until_it_is_one(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    ledger = open_ledger(f"sqlite:///{path}")
    refuses(ledger, str(path))
    assert path.read_bytes() == content
    path.unlink()
    assert ledger.totals(MODEL, "ada") == Totals(0, 0, 0)


def test_a_damaged_database_is_refused_until_it_is_restored(path: Path) -> None:
    uri = f"sqlite:///{path}"
    crew([["hammer", uri, "ada", "5"]])
    good = path.read_bytes()
    path.write_bytes(good[:4096] + b"\xff" * (len(good) - 4096))
    ledger = open_ledger(uri)
    refuses(ledger, "malformed")
    path.write_bytes(good)
    assert ledger.totals(MODEL, "ada").queries == 5


def test_another_programs_database_is_left_alone(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    before = path.read_bytes()
    refuses(open_ledger(f"sqlite:///{path}"), "another program's")
    assert path.read_bytes() == before


def test_a_ledger_of_another_schema_is_refused(ledger: Ledger, path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 7")
    refuses(open_ledger(f"sqlite:///{path}"), "schema 7", "reads 1")


def test_a_place_where_no_file_can_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    refuses(open_ledger(f"sqlite:///{tmp_path}/file/ledger.db"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_refused_until_it_may(ledger: Ledger, path: Path) -> None:
    other = open_ledger(f"sqlite:///{path}")
    path.chmod(0o000)
    refuses(other)
    path.chmod(0o600)
    assert other.totals(MODEL, "ada") == ONCE


def test_a_ledger_that_somebody_holds_fails_soon_and_only_where_it_must_be_written(ledger: Ledger, path: Path) -> None:
    with locked(path):
        began = time.monotonic()
        with pytest.raises(LedgerUnavailable, match="locked"):
            opened(ledger, "a")
        assert time.monotonic() - began < 5
        assert ledger.totals(MODEL, "ada") == ONCE
        assert open_ledger(f"sqlite:///{path}").standing(MODEL, "ada", "d", NOW).open_count == 1
    opened(ledger, "a")
    assert ledger.totals(MODEL, "ada").queries == 2


def test_when_the_disk_is_full_nothing_is_charged_and_afterwards_it_goes_on(path: Path) -> None:
    uri = f"sqlite:///{path}"
    (result,) = crew([["fill", uri, "ada", "300000"]])
    assert result["charged"] > 10
    assert result["afterwards"] == 1
    assert open_ledger(uri).totals(MODEL, "ada").queries == result["charged"] + 1
