"""`calpow ledger backup`: what it writes while workers write, and what can be made of it again."""

import json
import stat
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from calpow.archiver.cli.ledger import ledger as command
from calpow.archiver.errors import LedgerFileError
from calpow.archiver.ledger_care import backup
from calpow.archiver.ledger_care.redis_inspection import inspect_redis
from calpow.archiver.ledger_care.sqlite_inspection import inspect_sqlite
from calpow.handler.errors import LedgerUnavailable
from calpow.handler.ledger.account import Rule
from calpow.handler.ledger.ledger import Ledger
from calpow.handler.ledger.limits import AccountLimits
from calpow.handler.ledger.uri import open_ledger
from tests.support.ledger_child import charged, charged_account, history_of
from tests.support.ledgers import MODEL, Child, run_children, settle, spending, use
from tests.support.redis_servers import RedisServer


def back_up(uri: str, copy: Path) -> Result:
    """Run `calpow ledger backup`."""
    return CliRunner().invoke(command, ["backup", str(copy), "--ledger", uri])


@pytest.mark.slow
def test_a_backup_beside_writing_workers_is_a_state_between_two_settlements(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/ledger.db"
    ledger = open_ledger(uri)
    key = ledger.add_key("ada")
    workers = [Child("hammer", uri, account, "400") for account in ("ada", "bob")]
    for worker in workers:
        worker.go()
    copies: list[Path] = []
    while any(worker.process.poll() is None for worker in workers):
        copies.append(tmp_path / f"copy{len(copies)}.db")
        assert back_up(uri, copies[-1]).exit_code == 0
    assert [json.loads(worker.remaining_output())["settled"] for worker in workers] == [400, 400]
    versions = []
    for path in copies:
        assert inspect_sqlite(path).faults == []
        copy = open_ledger(f"sqlite:///{path}")
        state = copy.account(MODEL, "ada")
        assert state.history == history_of(state.version)
        assert inspect_sqlite(path).counts["spent solutions"] == state.version + copy.account(MODEL, "bob").version
        assert (copy.account_of(key), copy.secrets(), copy.deployment()) == (
            "ada",
            ledger.secrets(),
            ledger.deployment(),
        )
        versions.append(state.version)
    assert versions == sorted(versions)
    assert len(set(versions)) > 1, "no copy was made while they worked"


def test_a_backup_ends_however_much_is_written_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # SQLite begins anew at the next step where another connection has written since the last one.
    monkeypatch.setattr(backup, "_PAGES", 1)
    uri = f"sqlite:///{tmp_path}/ledger.db"
    ledger, stop, settled = open_ledger(uri), threading.Event(), 0
    ledger.charge(MODEL, {f"account{number}": charged_account for number in range(100)})

    def work() -> None:
        nonlocal settled
        own = open_ledger(uri)
        while not stop.is_set():
            assert settle(own, spending(use(f"id{settled}")), change=charged, account="busy")
            settled += 1

    worker = threading.Thread(target=work)
    worker.start()
    try:
        for number in range(5):
            assert back_up(uri, tmp_path / f"copy{number}.db").exit_code == 0
    finally:
        stop.set()
        worker.join()
    assert settled > 0
    assert ledger.account(MODEL, "busy").version == settled


def test_a_backup_is_its_owners_alone_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/ledger.db"
    open_ledger(uri).add_key("ada")
    (tmp_path / "backups").mkdir()
    result = back_up(uri, tmp_path / "backups" / "copy.db")
    assert "copy of sqlite:///" in result.stderr
    (file,) = (tmp_path / "backups").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.slow
def test_a_backup_of_redis_beside_writing_workers_becomes_a_new_ledger(redis: RedisServer, tmp_path: Path) -> None:
    uri, names = redis.uri(), ("ada", "acme/bob")
    ledger = open_ledger(uri)
    key, revoked = ledger.add_key("ada"), ledger.add_key("eve")
    ledger.revoke_key(revoked.split("_")[1])
    ledger.set_rule("eve", Rule.BLOCKED)
    ledger.set_limits("acme", AccountLimits(budget=7))
    workers = [Child("hammer", uri, account, "300") for account in names]
    for worker in workers:
        worker.go()
    files: list[Path] = []
    states: list[list[int]] = [samples_of(ledger, names)]
    while any(worker.process.poll() is None for worker in workers):
        files.append(tmp_path / f"backup{len(files)}.jsonl")
        result = back_up(uri, files[-1])
        assert result.exit_code == 0
        assert f"calpow ledger import {files[-1]} --ledger URI" in result.stderr
        states.append(samples_of(ledger, names))
    assert [json.loads(worker.remaining_output())["settled"] for worker in workers] == [300, 300]
    assert states[0] != states[-2], "no backup was made while they worked"
    for before, file, after in zip(states[:-1], files, states[1:], strict=True):
        restored_uri = redis.uri()
        assert CliRunner().invoke(command, ["import", str(file), "--ledger", restored_uri]).exit_code == 0
        restored = open_ledger(restored_uri)
        for name, least, most in zip(names, before, after, strict=True):
            history = restored.account(MODEL, name).history
            assert least <= history.queries <= most
            assert history == history_of(history.queries)
        assert (restored.account_of(key), restored.account_of(revoked)) == ("ada", None)
        assert (restored.rules(), restored.limits()) == (ledger.rules(), ledger.limits())
        assert inspect_redis(restored_uri).faults == []
        # Work of before is for another deployment: that the new ledger does not know what was spent is no harm.
        assert restored.deployment() != ledger.deployment()
        assert not set(restored.secrets()) & set(ledger.secrets())


def samples_of(ledger: Ledger, accounts: Sequence[str]) -> list[int]:
    return [ledger.account(MODEL, account).history.queries for account in accounts]


def test_a_restored_ledger_goes_on_under_load(redis: RedisServer, tmp_path: Path) -> None:
    """Workers that are started with it settle on from what the backup holds."""
    uri, restored = redis.uri(), redis.uri()
    ledger = open_ledger(uri)
    ledger.charge(MODEL, {"ada": charged_account, "acme/bob": charged_account})
    assert back_up(uri, tmp_path / "backup.jsonl").exit_code == 0
    assert CliRunner().invoke(command, ["import", str(tmp_path / "backup.jsonl"), "--ledger", restored]).exit_code == 0
    run_children([("hammer", restored, "ada", "40"), ("hammer", restored, "acme/bob", "40")])
    assert samples_of(open_ledger(restored), ("ada", "acme/bob", "acme")) == [41, 41, 41]


@pytest.mark.parametrize("uri_of", ["sqlite", "redis"])
@pytest.mark.parametrize("subcommand", ["backup", "export"])
def test_no_file_is_overwritten(redis: RedisServer, tmp_path: Path, uri_of: str, subcommand: str) -> None:
    uri, file = f"sqlite:///{tmp_path}/ledger.db" if uri_of == "sqlite" else redis.uri(), tmp_path / "precious"
    open_ledger(uri).add_key("ada")
    file.write_text("precious")
    result = CliRunner().invoke(command, [subcommand, str(file), "--ledger", uri])
    assert isinstance(result.exception, LedgerFileError)
    assert "is there already" in str(result.exception)
    assert file.read_text() == "precious"


def test_of_a_redis_that_is_away_no_file_is_left(tmp_path: Path) -> None:
    result = back_up("redis://127.0.0.1:1/0", tmp_path / "backup.jsonl")
    assert isinstance(result.exception, LedgerUnavailable)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("why", ["is there already", "no ledger", "cannot be copied"])
def test_a_backup_that_cannot_be_made_is_an_error_in_one_line_and_leaves_no_file(tmp_path: Path, why: str) -> None:
    uri, copy = f"sqlite:///{tmp_path}/ledger.db", tmp_path / "copy.db"
    if why != "no ledger":
        open_ledger(uri).add_key("ada")
    if why == "is there already":
        copy.write_text("precious")
    if why == "cannot be copied":
        copy = tmp_path / "absent" / "copy.db"
    result = back_up(uri, copy)
    assert isinstance(result.exception, LedgerFileError)
    assert why in str(result.exception)
    assert "Errno" not in str(result.exception)
    assert "\n" not in str(result.exception)
    assert not list(tmp_path.glob("*.part*"))
    assert copy.exists() == (why == "is there already")
