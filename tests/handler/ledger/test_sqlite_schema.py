"""A ledger file of an earlier version is upgraded in place, once."""

import os
import signal
import sqlite3
import struct
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from calpow.handler.errors import LedgerUnavailable
from calpow.handler.ledger.account import NEW_ACCOUNT, Account, Rule
from calpow.handler.ledger.api_key import ApiKey
from calpow.handler.ledger.history import History
from calpow.handler.ledger.holders import Identity, Key, KeyHolder, Standing
from calpow.handler.ledger.solutions import Admission
from calpow.handler.ledger.sqlite.sqlite_file import Schema, SqliteFile
from calpow.handler.ledger.sqlite.sqlite_freeze import freeze, thaw
from calpow.handler.ledger.sqlite.sqlite_schema import APPLICATION_ID, SCHEMA
from calpow.handler.ledger.uri import open_ledger
from tests.support.ledgers import (
    MODEL,
    NOW,
    Child,
    admit,
    charge_once,
    fail,
    on_history,
    outcomes,
    run_children,
    settle,
    spend,
    spending,
    use,
)

# As it was written, word for word.
VERSION_1 = """
CREATE TABLE deployment (id TEXT NOT NULL);
CREATE TABLE secrets (id TEXT NOT NULL UNIQUE, value BLOB NOT NULL);
CREATE TABLE keys (
        id TEXT PRIMARY KEY, digest BLOB NOT NULL, account TEXT NOT NULL, created REAL NOT NULL, revoked REAL
    ) WITHOUT ROWID;
CREATE TABLE accounts (
        model TEXT, account TEXT,
        cost_micro INTEGER NOT NULL, excess_micro INTEGER NOT NULL, queries INTEGER NOT NULL,
        PRIMARY KEY (model, account)
    ) WITHOUT ROWID;
CREATE TABLE challenges (
        id TEXT PRIMARY KEY, model TEXT NOT NULL, account TEXT NOT NULL, digest TEXT NOT NULL,
        token TEXT NOT NULL, expires REAL NOT NULL, hashes INTEGER NOT NULL,
        credit_cost INTEGER NOT NULL, credit_excess INTEGER NOT NULL, credit_queries INTEGER NOT NULL,
        state INTEGER NOT NULL, holder TEXT
    ) WITHOUT ROWID;
CREATE TABLE stamps (id TEXT PRIMARY KEY, challenge TEXT NOT NULL, spent REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX stamps_spent ON stamps (spent);
CREATE INDEX challenges_open ON challenges (model, account, digest, expires) WHERE state = 0;
CREATE INDEX challenges_held ON challenges (holder) WHERE state = 1;
CREATE INDEX challenges_expires ON challenges (expires);
"""
# The table that was another one until version 5, word for word.
KEYS_5 = """
ALTER TABLE keys RENAME TO new_keys;
CREATE TABLE keys (
        id TEXT PRIMARY KEY, digest BLOB NOT NULL, account TEXT NOT NULL, created REAL NOT NULL, revoked REAL
    ) WITHOUT ROWID;
INSERT INTO keys SELECT id, digest, account, created, revoked FROM new_keys;
DROP TABLE new_keys;
"""
SECRET = bytes(range(32))
KEPT, REVOKED = ApiKey.generate(), ApiKey.generate()
ADA, BOB = History(2**53 + 1, 70), History(3, 5)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file of version 1 in use: keys, accounts, challenges in every state, spent stamps."""
    path = tmp_path / "ledger.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(VERSION_1)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("PRAGMA user_version = 1")
        connection.execute("INSERT INTO deployment VALUES ('0dd0dd')")
        connection.execute("INSERT INTO secrets VALUES ('s1', ?)", (SECRET,))
        keys = [(KEPT.id, KEPT.digest, "ada", 1.5, None), (REVOKED.id, REVOKED.digest, "bob", 2.5, 3.5)]
        connection.executemany("INSERT INTO keys VALUES (?, ?, ?, ?, ?)", keys)
        accounts = [
            (model, account, history.cost_micro, -history.cost_micro, history.queries)
            for model, account, history in ((MODEL, "ada", ADA), (MODEL, "bob", BOB), ("letters", "ada", BOB))
        ]
        connection.executemany("INSERT INTO accounts VALUES (?, ?, ?, ?, ?)", accounts)
        challenges = [
            (f"c{state}-{index}", MODEL, "ada", "d", "token", NOW + 60, 9, 1, 1, 1, state, "v" if state == 1 else None)
            for state in (0, 1, 2)
            for index in range(100)
        ]
        connection.executemany("INSERT INTO challenges VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", challenges)
        connection.executemany(
            "INSERT INTO stamps VALUES (?, 'c2-0', ?)", [(f"s{number}", NOW) for number in range(100)]
        )
        connection.commit()
    return path


def schema(path: Path) -> set[tuple[str, str, str]]:
    with closing(sqlite3.connect(path)) as connection:
        return set(connection.execute("SELECT type, name, coalesce(sql, '') FROM sqlite_master"))


def version(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


def check(path: Path) -> None:
    """Check that the file is upgraded and everything that must be kept is there."""
    ledger = open_ledger(f"sqlite:///{path}")
    assert ledger.account_of(KEPT.text) == "ada"
    assert ledger.account_of(REVOKED.text) is None
    assert ledger.keys() == (Key(KEPT.id, "ada", 1.5, None), Key(REVOKED.id, "bob", 2.5, 3.5))
    assert [(secret.id, secret.value) for secret in ledger.secrets()] == [("s1", SECRET)]
    assert ledger.account(MODEL, "ada") == Account(ADA, 0, 1)
    assert ledger.account(MODEL, "bob") == Account(BOB, 0, 1)
    assert ledger.account("letters", "ada") == Account(BOB, 0, 1)
    assert ledger.standing(MODEL, "ada", ["c2-0", "s1"]).outcomes == {}
    assert version(path) == SCHEMA.version


def test_keys_secrets_costs_and_queries_are_kept(path: Path) -> None:
    check(path)
    check(path)


def test_an_upgraded_file_is_like_a_new_one(path: Path, tmp_path: Path) -> None:
    open_ledger(f"sqlite:///{path}").deployment()
    open_ledger(f"sqlite:///{tmp_path}/new.db").deployment()
    assert schema(path) == schema(tmp_path / "new.db")


def test_the_deployment_is_renamed_once(path: Path) -> None:
    renamed = open_ledger(f"sqlite:///{path}").deployment()
    assert renamed != "0dd0dd"
    assert len(bytes.fromhex(renamed)) == 3
    assert open_ledger(f"sqlite:///{path}").deployment() == renamed


def test_an_upgraded_ledger_works(path: Path) -> None:
    ledger = open_ledger(f"sqlite:///{path}")
    new = use("a", "b")
    assert admit(ledger, new) == [Admission.FRESH]
    assert settle(ledger, spending(new), owed=4)
    assert ledger.account(MODEL, "ada") == Account(charge_once(ADA), 4, 2)
    assert admit(ledger, new) == [Admission.REPEAT]
    assert ledger.account_of(ledger.add_key("eve")) == "eve"


@pytest.mark.slow
def test_processes_that_start_together_upgrade_once(path: Path) -> None:
    results = run_children([["identify", f"sqlite:///{path}"]] * 8)
    assert len({tuple(result.items()) for result in results}) == 1
    assert results[0]["secret"] == int.from_bytes(SECRET, "big")
    assert results[0]["deployment"] != 0x0DD0DD
    check(path)


@pytest.mark.slow
def test_processes_that_upgrade_and_work_at_once_lose_nothing(path: Path) -> None:
    run_children([["hammer", f"sqlite:///{path}", "ada", "20"]] * 8)
    account = open_ledger(f"sqlite:///{path}").account(MODEL, "ada")
    assert account.version == 161
    assert (account.history.cost_micro, account.history.queries) == (ADA.cost_micro + 480, ADA.queries + 160)
    assert account.history.wealth == (160, 320)


@pytest.mark.slow
def test_an_upgrade_waits_for_a_writer_and_fails_closed(path: Path) -> None:
    ledger = open_ledger(f"sqlite:///{path}")
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerUnavailable, match="locked"):
            ledger.account(MODEL, "ada")
    assert version(path) == 1
    assert ledger.account(MODEL, "ada") == Account(ADA, 0, 1)
    check(path)


def test_an_upgrade_that_fails_changes_nothing(path: Path) -> None:
    def break_off(connection: sqlite3.Connection) -> None:
        connection.execute("DROP TABLE challenges")
        connection.execute("UPDATE accounts SET queries = 0")
        raise sqlite3.OperationalError("database or disk is full")

    before = schema(path)
    file = SqliteFile(path, Schema(APPLICATION_ID, 2, break_off, {1: break_off}))
    with pytest.raises(LedgerUnavailable, match="disk is full"):
        file.query("SELECT 1")
    assert (schema(path), version(path)) == (before, 1)
    check(path)


def test_a_process_killed_while_it_upgrades_changes_nothing(path: Path) -> None:
    def die(connection: sqlite3.Connection) -> None:
        connection.execute("DROP TABLE challenges")
        connection.execute("UPDATE accounts SET queries = 0")
        os.kill(os.getpid(), signal.SIGKILL)

    before = schema(path)
    pid = os.fork()
    if pid == 0:
        SqliteFile(path, Schema(APPLICATION_ID, 2, die, {1: die})).query("SELECT 1")
        os._exit(1)
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL
    assert (schema(path), version(path)) == (before, 1)
    check(path)


def test_upgrades_follow_one_another(path: Path) -> None:
    upgraded: list[int] = []
    upgrades = {1: lambda connection: upgraded.append(1), 2: lambda connection: upgraded.append(2)}
    file = SqliteFile(path, Schema(APPLICATION_ID, 3, lambda connection: None, upgrades))
    file.query("SELECT 1")
    file.query("SELECT 1")
    assert upgraded == [1, 2]
    assert version(path) == 3


def test_a_worker_killed_right_after_the_upgrade_leaves_an_upgraded_file(path: Path) -> None:
    child = Child("stream", f"sqlite:///{path}", "eve")
    child.go()
    for _ in range(3):
        assert child.line()
    child.kill()
    check(path)


# The tables that were other ones in version 2, word for word.
VERSION_2 = """
DROP TABLE accounts;
DROP TABLE old_samples;
DROP TABLE rules;
DROP TABLE limits;
DROP TABLE modes;
DROP TABLE outcomes;
CREATE TABLE accounts (
        model TEXT, account TEXT,
        cost_micro INTEGER NOT NULL, excess_micro INTEGER NOT NULL, queries INTEGER NOT NULL,
        owed INTEGER NOT NULL, version INTEGER NOT NULL, failures INTEGER NOT NULL, failing_since REAL NOT NULL,
        PRIMARY KEY (model, account)
    ) WITHOUT ROWID;
CREATE TABLE outcomes (
        solution TEXT PRIMARY KEY, digest TEXT NOT NULL, settled REAL NOT NULL,
        price INTEGER NOT NULL, work INTEGER NOT NULL, rest INTEGER NOT NULL, expires REAL NOT NULL
    ) WITHOUT ROWID;
CREATE INDEX outcomes_expires ON outcomes (expires);
"""


@pytest.fixture
def path_2(tmp_path: Path) -> Path:
    """A file of version 2 in use, with a key, a spent solution and an account that owes work and has failed."""
    path = tmp_path / "second.db"
    ledger = open_ledger(f"sqlite:///{path}")
    ledger.deployment()
    spend(ledger, use("spent"))
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(VERSION_2 + KEYS_5)
        outcome = ("spent", "d", NOW, 8, 8, 0, NOW + 900)
        connection.execute("INSERT INTO outcomes VALUES (?, ?, ?, ?, ?, ?, ?)", outcome)
        connection.execute("INSERT INTO accounts VALUES (?, 'ada', 5, 9, 7, -3, 4, 11, ?)", (MODEL, NOW))
        connection.execute("INSERT INTO keys VALUES (?, ?, 'ada', 1.5, NULL)", (KEPT.id, KEPT.digest))
        connection.execute("PRAGMA user_version = 2")
        connection.commit()
    return path


def test_of_version_2_all_but_the_excess_is_kept(path_2: Path, tmp_path: Path) -> None:
    def identity() -> list[object]:
        with closing(sqlite3.connect(path_2)) as connection:
            return list(connection.execute("SELECT deployment.id, secrets.* FROM deployment, secrets"))

    before = identity()
    for _ in range(2):
        ledger = open_ledger(f"sqlite:///{path_2}")
        assert ledger.account(MODEL, "ada") == Account(History(5, 7), -3, 4)
        assert ledger.account_of(KEPT.text) == "ada"
        assert admit(ledger, use("spent")) == [Admission.REPEAT]
    assert identity() == before
    open_ledger(f"sqlite:///{tmp_path}/new.db").deployment()
    assert schema(path_2) == schema(tmp_path / "new.db")


def test_failures_that_version_2_counted_still_count(path_2: Path) -> None:
    ledger = open_ledger(f"sqlite:///{path_2}")
    fail(ledger, "another")
    assert list(outcomes(ledger, "another")) == ["another"]


# The table that was another one in version 3, word for word, and its indexes.
VERSION_3 = """
DROP TABLE accounts;
DROP TABLE old_samples;
DROP TABLE rules;
DROP TABLE limits;
DROP TABLE modes;
CREATE TABLE accounts (
        model TEXT, account TEXT,
        cost_micro INTEGER NOT NULL, queries INTEGER NOT NULL, owed INTEGER NOT NULL, version INTEGER NOT NULL,
        failures INTEGER NOT NULL, failing_since REAL NOT NULL,
        wealth BLOB NOT NULL, digests BLOB NOT NULL, sketches BLOB NOT NULL,
        PRIMARY KEY (model, account)
    ) WITHOUT ROWID;
CREATE INDEX uses_expires ON uses (expires);
CREATE INDEX outcomes_expires ON outcomes (expires);
"""


def test_of_version_3_everything_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "third.db"
    ledger = open_ledger(f"sqlite:///{path}")
    key, outcome = ledger.add_key("ada"), spend(ledger, use("spent"))
    wealth, digests, sketches = struct.pack("<2q", 3, -(2**40)), b"d" * 16, b"s" * 32
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(VERSION_3 + KEYS_5)
        row = (MODEL, "ada", 5, 7, -3, 4, 10, NOW, wealth, digests, sketches)
        connection.execute(f"INSERT INTO accounts VALUES ({', '.join('?' * len(row))})", row)
        connection.execute("PRAGMA user_version = 3")
        connection.commit()
    for _ in range(2):
        upgraded = open_ledger(f"sqlite:///{path}")
        assert upgraded.account(MODEL, "ada") == Account(History(5, 7, (3, -(2**40)), digests, sketches), -3, 4)
        assert upgraded.account_of(key) == "ada"
        assert outcomes(upgraded, "spent") == {"spent": outcome}
    fail(upgraded, "another")
    assert list(outcomes(upgraded, "another")) == ["another"]
    open_ledger(f"sqlite:///{tmp_path}/new.db").deployment()
    assert schema(path) == schema(tmp_path / "new.db")


def test_keys_of_version_5_stay_good_and_do_not_expire_and_a_frozen_file_stays_frozen(tmp_path: Path) -> None:
    path = tmp_path / "fifth.db"
    ledger = open_ledger(f"sqlite:///{path}")
    key = ledger.add_key("ada")
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(VERSION_6 + KEYS_5)
        connection.execute("PRAGMA user_version = 5")
        connection.commit()
    fifth = SqliteFile(path, replace(SCHEMA, version=5, upgrades={}))
    freeze(fifth, "moved")
    upgraded = open_ledger(f"sqlite:///{path}")
    assert upgraded.account_of(key) == "ada"
    assert upgraded.keys()[0].expires is None
    with pytest.raises(LedgerUnavailable, match="moved"):
        upgraded.add_key("bob")
    assert thaw(SqliteFile(path, SCHEMA))
    upgraded.add_key("bob", NOW)
    open_ledger(f"sqlite:///{tmp_path}/new.db").deployment()
    assert schema(path) == schema(tmp_path / "new.db")


# What version 6 did not have.
VERSION_6 = """
DROP TABLE limits;
ALTER TABLE accounts DROP COLUMN answered;
ALTER TABLE accounts DROP COLUMN day;
ALTER TABLE accounts DROP COLUMN today;
"""


def test_of_version_4_everything_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "fourth.db"
    ledger = open_ledger(f"sqlite:///{path}")
    key, outcome = ledger.add_key("ada"), spend(ledger, use("spent"))
    state = ledger.account(MODEL, "ada")
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(f"{VERSION_6} DROP TABLE rules; DROP TABLE modes; {KEYS_5}")
        connection.execute("PRAGMA user_version = 4")
        connection.commit()
    for _ in range(2):
        upgraded = open_ledger(f"sqlite:///{path}")
        (holder,) = upgraded.holders(MODEL, [(Identity(key), ["spent"])])
        assert holder == KeyHolder("ada", Standing(state, {"spent": outcome}))
    open_ledger(f"sqlite:///{tmp_path}/new.db").deployment()
    assert schema(path) == schema(tmp_path / "new.db")


def test_of_version_6_everything_is_kept_and_a_frozen_file_stays_frozen(tmp_path: Path) -> None:
    path = tmp_path / "sixth.db"
    ledger = open_ledger(f"sqlite:///{path}")
    key, outcome = ledger.add_key("acme/ada"), spend(ledger, use("spent"))
    ledger.set_rule("acme/ada", Rule.TRUSTED)
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(VERSION_6)
        row = (MODEL, "acme/ada", 5, 7, -3, 4, 10, NOW, struct.pack("<2q", 3, -(2**40)), b"d" * 8, b"s" * 16)
        connection.execute(f"INSERT INTO accounts VALUES ({', '.join('?' * len(row))})", row)
        connection.execute("PRAGMA user_version = 6")
        connection.commit()
    freeze(SqliteFile(path, replace(SCHEMA, version=6, upgrades={})), "moved")
    with pytest.raises(LedgerUnavailable, match="moved"):
        open_ledger(f"sqlite:///{path}").charge(MODEL, {"acme/ada": on_history(charge_once)})
    assert thaw(SqliteFile(path, SCHEMA))
    history = History(5, 7, (3, -(2**40)), b"", b"", b"d" * 8, b"s" * 16)
    for _ in range(2):
        upgraded = open_ledger(f"sqlite:///{path}")
        state = Account(history, -3, 4, NEW_ACCOUNT)
        holder = KeyHolder("acme/ada", Standing(state, {"spent": outcome}), Rule.TRUSTED)
        assert upgraded.holders(MODEL, [(Identity(key), ["spent"])]) == [holder]
        assert dict(upgraded.limits()) == {}
    fail(upgraded, "another", account="acme/ada")
    open_ledger(f"sqlite:///{tmp_path}/new.db").deployment()
    assert schema(path) == schema(tmp_path / "new.db")
