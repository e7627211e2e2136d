"""Faults of the ledger's file: the ledger fails closed, with one line, and works again by itself."""

import os
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from calpow.handler.errors import LedgerUnavailable
from calpow.handler.ledger.account import Rule
from calpow.handler.ledger.history import NO_HISTORY, History
from calpow.handler.ledger.holders import Identity, KeyRecord
from calpow.handler.ledger.ledger import Ledger
from calpow.handler.ledger.limits import AccountLimits
from calpow.handler.ledger.solutions import Admission
from calpow.handler.ledger.uri import open_ledger
from tests.support.ledgers import (
    MODEL,
    NOW,
    ONCE,
    admit,
    charge_once,
    on_history,
    run_children,
    settle,
    settlement,
    spend,
    spending,
    use,
)

OPERATIONS: dict[str, Callable[[Ledger], object]] = {
    "deployment": lambda ledger: ledger.deployment(),
    "secrets": lambda ledger: ledger.secrets(),
    "add_key": lambda ledger: ledger.add_key("ada"),
    "keys": lambda ledger: ledger.keys(),
    "revoke_key": lambda ledger: ledger.revoke_key("0"),
    "key_records": lambda ledger: ledger.key_records(),
    "restore_keys": lambda ledger: ledger.restore_keys([KeyRecord("0", b"", "ada", NOW, None)]),
    "rotate_secret": lambda ledger: ledger.rotate_secret(),
    "rules": lambda ledger: ledger.rules(),
    "account_of": lambda ledger: ledger.account_of("cp_00000000_" + "0" * 48),
    "holders": lambda ledger: ledger.holders(MODEL, [(Identity("cp_00000000_" + "0" * 48), ["x"])]),
    "rule": lambda ledger: ledger.rule("ada"),
    "limits": lambda ledger: ledger.limits_of("ada"),
    "set_limits": lambda ledger: ledger.set_limits("ada", AccountLimits(free=1)),
    "set_rule": lambda ledger: ledger.set_rule("ada", Rule.BLOCKED),
    "mode": lambda ledger: ledger.mode(MODEL),
    "set_mode": lambda ledger: ledger.set_mode(MODEL, "observe"),
    "modes": lambda ledger: ledger.modes(),
    "models": lambda ledger: ledger.models(),
    "summaries": lambda ledger: list(ledger.summaries(MODEL)),
    "account": lambda ledger: ledger.account(MODEL, "ada"),
    "standing": lambda ledger: ledger.standing(MODEL, "ada", ["x"]),
    "admit": lambda ledger: ledger.admit([use("x")], now=NOW),
    "settle": lambda ledger: ledger.settle(MODEL, [settlement(spending(use("x")), before=1)], now=NOW),
    "fail": lambda ledger: ledger.fail(MODEL, "ada", ["x"], expires=NOW, now=NOW),
    "charge": lambda ledger: ledger.charge(MODEL, {"ada": on_history(charge_once)}),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def ledger(path: Path) -> Ledger:
    """A ledger in use: one solution is spent."""
    ledger = open_ledger(f"sqlite:///{path}")
    spend(ledger, use("first"))
    return ledger


def history(ledger: Ledger) -> History:
    return ledger.account(MODEL, "ada").history


def count(path: Path, table: str) -> int:
    """Return the number of rows of a table."""
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


def refuses(ledger: Ledger, *why: str) -> None:
    with pytest.raises(LedgerUnavailable) as caught:
        ledger.account(MODEL, "ada")
    assert "\n" not in str(caught.value)
    assert all(word in str(caught.value) for word in why), str(caught.value)


def move(path: Path, folder: Path) -> None:
    """Move a ledger's files to another folder."""
    folder.mkdir(exist_ok=True)
    for file in path.parent.glob(f"{path.name}*"):
        os.rename(file, folder / file.name)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Context manager for another connection with a transaction that does not end."""
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


@pytest.mark.slow
def test_what_has_expired_does_not_pile_up(ledger: Ledger, path: Path) -> None:
    most = 0
    for second in range(3000):
        now = NOW + 1000 + second
        new = use(*[f"{second}-{index}" for index in range(10)], expires=now + 10)
        assert admit(ledger, new, now=now) == [Admission.FRESH]
        if second % 3 == 0:
            assert settle(ledger, spending(new, settled=now), now=now)
        elif second % 3 == 1:
            ledger.fail(MODEL, "ada", new.ids, expires=new.expires, now=now)
        if second % 100 == 0:
            most = max(most, count(path, "uses") + count(path, "outcomes"))
    assert most <= 140
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA page_count").fetchone()[0] < 60


def test_what_expired_at_once_is_cleared_away_little_by_little(ledger: Ledger, path: Path) -> None:
    many = [use(f"old{index}", expires=NOW + 10) for index in range(500)]
    assert ledger.admit(many, now=NOW)
    assert settle(ledger, *map(spending, many))
    admit(ledger, use("next", expires=NOW + 2000), now=NOW + 20)
    assert 490 < count(path, "uses") < 510, "one call is not held up by what others left behind"
    for index in range(250):
        admit(ledger, use(f"new{index}", expires=NOW + 2000), now=NOW + 20)
    assert count(path, "uses") == 252
    assert count(path, "outcomes") == 1


DURABLE = {"add_key", "revoke_key", "restore_keys", "rotate_secret", "set_rule", "set_limits", "set_mode"}
WRITING = {*DURABLE, "admit", "settle", "fail", "charge"}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_an_operation_is_one_transaction_and_on_the_disk_where_it_must_be(
    path: Path, operation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    statements = listen_to_sqlite(monkeypatch)
    ledger = open_ledger(f"sqlite:///{path}")
    key_id = ledger.add_key("ada").split("_")[1]
    if operation in DURABLE:  # Make it change what the one before it set.
        ledger.charge(MODEL, {"ada": on_history(charge_once)})
    before = len(statements)
    if operation == "revoke_key":
        ledger.revoke_key(key_id)
    else:
        OPERATIONS[operation](ledger)
    ran = statements[before:]
    assert [ran.count("BEGIN IMMEDIATE"), ran.count("COMMIT")] == [int(operation in WRITING)] * 2
    if operation in WRITING:
        assert is_synchronous(statements) == (operation in DURABLE)
        assert ran[-1] == "COMMIT"
    else:
        assert len(ran) == 1 or operation == "account_of", "one read sees one state"


@pytest.mark.parametrize("operation", sorted(WRITING - DURABLE))
def test_what_is_written_is_on_the_disk_once_a_second_if_not_at_once(
    path: Path, operation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [1000.0]
    monkeypatch.setattr("calpow.handler.ledger.sqlite.sqlite_file.time.monotonic", lambda: clock[0])
    statements = listen_to_sqlite(monkeypatch)
    ledger = open_ledger(f"sqlite:///{path}")
    written = []
    for clock[0] in (1000.0, 1000.9, 1001.0, 1001.1, 1001.9, 1002.1):
        OPERATIONS[operation](ledger)
        written.append(is_synchronous(statements))
    assert written == [True, False, True, False, False, True]


def listen_to_sqlite(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list to which connections append the statements that they run from now on."""
    statements: list[str] = []
    connect = sqlite3.connect

    def listen(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*arguments, **options)
        connection.set_trace_callback(statements.append)
        return connection

    monkeypatch.setattr(sqlite3, "connect", listen)
    return statements


def is_synchronous(statements: list[str]) -> bool:
    """Return whether the last transaction was on the disk before it ended, by the statements of its connection."""
    (*_, last) = (statement for statement in statements if statement.startswith("PRAGMA synchronous"))
    return last == "PRAGMA synchronous = FULL"


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
    assert history(ledger) == ONCE


def test_a_ledger_that_is_gone_is_not_replaced_by_an_empty_one(ledger: Ledger, path: Path, tmp_path: Path) -> None:
    move(path, tmp_path / "away")
    refuses(ledger, "gone", "put it back")
    refuses(ledger, "gone", "put it back")
    assert not path.exists()
    move(tmp_path / "away" / path.name, tmp_path)
    assert history(ledger) == ONCE


def test_nothing_is_written_into_a_ledger_that_was_replaced(ledger: Ledger, path: Path, tmp_path: Path) -> None:
    other = open_ledger(f"sqlite:///{tmp_path}/other/ledger.db")
    spend(other, use("first"))
    spend(other, use("second"))
    move(path, tmp_path / "away")
    move(tmp_path / "other" / path.name, tmp_path)
    refuses(ledger, "replaced")
    assert history(ledger) == charge_once(ONCE)
    spend(ledger, use("third"))
    assert history(open_ledger(f"sqlite:///{path}")).queries == 3
    assert history(open_ledger(f"sqlite:///{tmp_path}/away/ledger.db")) == ONCE


@pytest.mark.parametrize("content", [b"not a database at all" * 500, b"SQLite format 3\x00" + b"\xff" * 8000])
def test_what_is_no_database_is_refused_until_it_is_one(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    ledger = open_ledger(f"sqlite:///{path}")
    refuses(ledger, str(path))
    assert path.read_bytes() == content
    path.unlink()
    assert history(ledger) == NO_HISTORY


def test_a_damaged_database_is_refused_until_it_is_restored(path: Path) -> None:
    uri = f"sqlite:///{path}"
    run_children([["hammer", uri, "ada", "5"]])
    good = path.read_bytes()
    path.write_bytes(good[:4096] + b"\xff" * (len(good) - 4096))
    ledger = open_ledger(uri)
    refuses(ledger, "malformed")
    path.write_bytes(good)
    assert history(ledger).queries == 5


def test_another_programs_database_is_left_alone(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    before = path.read_bytes()
    refuses(open_ledger(f"sqlite:///{path}"), "another program's")
    assert path.read_bytes() == before


@pytest.mark.parametrize("version", [0, 8, 9])
def test_a_ledger_of_another_schema_is_refused(ledger: Ledger, path: Path, version: int) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {version}")
    before = path.read_bytes()
    refuses(open_ledger(f"sqlite:///{path}"), f"schema {version}", "reads 7")
    assert path.read_bytes() == before


def test_a_place_where_no_file_can_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    refuses(open_ledger(f"sqlite:///{tmp_path}/file/ledger.db"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_refused_until_it_may(ledger: Ledger, path: Path) -> None:
    other = open_ledger(f"sqlite:///{path}")
    path.chmod(0o000)
    refuses(other)
    path.chmod(0o600)
    assert history(other) == ONCE


@pytest.mark.slow
def test_a_ledger_that_somebody_holds_fails_soon_and_only_where_it_must_be_written(ledger: Ledger, path: Path) -> None:
    with locked(path):
        began = time.monotonic()
        with pytest.raises(LedgerUnavailable, match="locked"):
            spend(ledger, use("a"))
        assert time.monotonic() - began < 5
        assert history(ledger) == ONCE
        assert set(open_ledger(f"sqlite:///{path}").standing(MODEL, "ada", ["first"]).outcomes) == {"first"}
    spend(ledger, use("a"))
    assert history(ledger).queries == 2


def test_when_the_disk_is_full_nothing_is_settled_and_afterwards_it_goes_on(path: Path) -> None:
    uri = f"sqlite:///{path}"
    (result,) = run_children([["fill", uri, "ada", "300000"]])
    assert result["settled"] > 10
    assert history(open_ledger(uri)).queries == result["settled"]
