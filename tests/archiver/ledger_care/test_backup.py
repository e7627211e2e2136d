"""`calpow ledger backup`: a copy of a file that workers write to, whole and as it was at one time."""

import json
import stat
import threading
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from calpow.archiver.cli.ledger import ledger as command
from calpow.archiver.errors import LedgerFileError
from calpow.archiver.ledger_care import backup
from calpow.archiver.ledger_care.sqlite_inspection import inspect_sqlite
from calpow.handler.ledger.uri import open_ledger
from tests.support.ledger_child import charged, charged_account, history_of
from tests.support.ledgers import MODEL, Child, settle, spending, use


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


@pytest.mark.parametrize("why", ["is there already", "no ledger", "cannot be copied", "Redis makes backups"])
def test_a_backup_that_cannot_be_made_is_an_error_in_one_line_and_leaves_no_file(tmp_path: Path, why: str) -> None:
    uri, copy = f"sqlite:///{tmp_path}/ledger.db", tmp_path / "copy.db"
    if why != "no ledger":
        open_ledger(uri).add_key("ada")
    if why == "is there already":
        copy.write_text("precious")
    if why == "cannot be copied":
        copy = tmp_path / "absent" / "copy.db"
    if why == "Redis makes backups":
        uri = "redis://127.0.0.1:1/0"
    result = back_up(uri, copy)
    assert isinstance(result.exception, LedgerFileError)
    assert why in str(result.exception)
    assert "Errno" not in str(result.exception)
    assert "\n" not in str(result.exception)
    assert not list(tmp_path.glob("*.part*"))
    assert copy.exists() == (why == "is there already")


def test_a_copy_is_private_and_where_it_is_named_also_where_another_left_a_file_or_a_link(tmp_path: Path) -> None:
    uri, copy = f"sqlite:///{tmp_path}/ledger.db", tmp_path / "copy.db"
    open_ledger(uri).add_key("ada")
    part, elsewhere = tmp_path / "copy.db.part", tmp_path / "elsewhere"
    part.touch()
    part.chmod(0o666)
    assert back_up(uri, copy).exit_code == 0
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    copy.unlink()
    part.symlink_to(elsewhere)
    assert back_up(uri, copy).exit_code == 0
    assert not copy.is_symlink()
    assert not elsewhere.exists()
