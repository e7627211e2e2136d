"""`calpow ledger move`: what was settled is in the new ledger, and the old one refuses everything after."""

import random
import threading
import time
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from calpow.archiver.cli.ledger import ledger as command
from calpow.archiver.errors import LedgerFileError
from calpow.archiver.ledger_care import moving
from calpow.archiver.ledger_care.sqlite_inspection import inspect_sqlite
from calpow.handler.errors import LedgerUnavailable
from calpow.handler.ledger.account import Rule
from calpow.handler.ledger.ledger import Ledger
from calpow.handler.ledger.limits import AccountLimits
from calpow.handler.ledger.settlement import settlement_of
from calpow.handler.ledger.solutions import Admission
from calpow.handler.ledger.uri import open_ledger
from tests.support.ledger_child import charged, charged_account, history_of
from tests.support.ledgers import MODEL, admit, fail, settle, spend, spending, use
from tests.support.redis_servers import RedisServer

REFUSED = r"refuses changes: it has moved to redis://127.0.0.1:\d+/0\?prefix=\w+: start the workers with that ledger"


def move(old: str, new: str) -> str:
    """Run `calpow ledger move`, and return what it says."""
    result = CliRunner().invoke(command, ["move", new, "--ledger", old], standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    return result.stderr


@pytest.fixture
def old(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/ledger.db"


def changes(ledger: Ledger) -> None:
    """Check that every kind of change is refused."""
    for change in (
        lambda: ledger.add_key("ada"),
        lambda: ledger.revoke_key(ledger.keys()[0].id),
        lambda: ledger.set_rule("ada", Rule.BLOCKED),
        lambda: ledger.set_limits("ada", AccountLimits(budget=7)),
        lambda: ledger.set_mode(MODEL, "off"),
        ledger.rotate_secret,
        lambda: admit(ledger, use("new")),
        lambda: admit(ledger, use("spent")),
        lambda: settle(ledger, spending(use("other"))),
        lambda: settle(ledger, account="new"),
        lambda: ledger.charge(MODEL, {"ada": charged_account}),
        lambda: fail(ledger, "id"),
        lambda: ledger.forget(MODEL, "ada", ledger.account(MODEL, "ada").version),
    ):
        with pytest.raises(LedgerUnavailable, match=REFUSED):
            change()


def test_everything_is_in_the_new_ledger_and_the_old_one_refuses_every_change(old: str, redis: RedisServer) -> None:
    ledger, new = open_ledger(old), redis.uri()
    key = ledger.add_key("ada")
    for number in range(250):
        settle(ledger, account=f"account{number}", change=charged, owed=number)
    spend(ledger, use("spent"))
    ledger.charge(MODEL, {"acme/ann": charged_account, "acme/bob": charged_account})
    ledger.set_rule("eve", Rule.BLOCKED)
    ledger.set_mode(MODEL, "enforce")
    ledger.set_limits("ada", AccountLimits(budget=7))
    state = ledger.account(MODEL, "ada")
    assert ledger.settle(MODEL, [settlement_of("ada", state, state.counted(5))], now=0) == [True]
    assert "1 key, 254 accounts" in move(old, new)
    assert CliRunner().invoke(command, ["verify", "--ledger", new]).stdout == ""
    moved = open_ledger(new)
    assert moved.account_of(key) == "ada"
    assert (moved.rules(), moved.modes(), moved.models()) == (ledger.rules(), ledger.modes(), ledger.models())
    for name in ("ada", "account7", "account249", "acme", "acme/ann"):
        before, after = ledger.account(MODEL, name), moved.account(MODEL, name)
        assert (after.history, after.owed, after.usage) == (before.history, before.owed, before.usage)
    assert moved.account(MODEL, "ada").samples_left == 2
    assert moved.deployment() != ledger.deployment()
    assert {secret.value for secret in moved.secrets()}.isdisjoint(secret.value for secret in ledger.secrets())
    changes(ledger)
    changes(open_ledger(old))
    frozen = inspect_sqlite(Path(old.removeprefix("sqlite:///")))
    assert frozen.faults == [], "a ledger that was moved is whole"
    assert "refuses changes" in frozen.notes[0]


def test_thawed_it_goes_on(old: str, redis: RedisServer) -> None:
    ledger = open_ledger(old)
    spend(ledger, use("spent"))
    move(old, redis.uri())
    for words in ("takes changes. Start no worker with", "as it did before"):
        assert words in CliRunner().invoke(command, ["thaw", "--ledger", old]).stderr
    assert settle(ledger)
    assert admit(ledger, use("spent")) == [Admission.REPEAT]


@pytest.mark.slow
def test_of_workers_that_go_on_writing_no_settlement_is_lost(old: str, redis: RedisServer) -> None:
    new, stop = redis.uri(), time.monotonic() + 60
    ledger = open_ledger(old)
    for number in range(300):
        settle(ledger, account=f"idle{number}", change=charged)
    settled = dict.fromkeys(("ada", "bob", "eve", "zoe"), 0)
    refused = []

    def work(account: str) -> None:
        own, chance = open_ledger(old), random.Random(account)
        while time.monotonic() < stop:
            time.sleep(chance.uniform(0, 0.002))
            try:
                assert settle(own, spending(use(f"{account}{settled[account]}")), account=account, change=charged)
            except LedgerUnavailable as error:
                refused.append(str(error))
                return
            settled[account] += 1

    workers = [threading.Thread(target=work, args=(account,)) for account in settled]
    for worker in workers:
        worker.start()
    while min(settled.values()) < 5:
        time.sleep(0.01)
    before = dict(settled)
    move(old, new)
    for worker in workers:
        worker.join()
    assert len(refused) == len(workers)
    assert all("it has moved to" in why for why in refused)
    assert all(settled[account] > count for account, count in before.items()), "nothing was written meanwhile"
    moved = open_ledger(new)
    for account, count in settled.items():
        assert moved.account(MODEL, account).history == history_of(count)
        assert moved.account(MODEL, account).owed == 0


def test_where_it_fails_the_old_ledger_goes_on_and_nobody_has_a_key_of_the_new_one(
    old: str, redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger, new = open_ledger(old), redis.uri()
    key = ledger.add_key("ada")
    settle(ledger, change=charged)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(moving, "_copy_settings", interrupt)
    with pytest.raises(click.Abort):
        move(old, new)
    assert settle(ledger, change=charged)
    assert open_ledger(new).account_of(key) is None


def test_a_ledger_that_has_moved_stays_refused_whatever_becomes_of_another_move(old: str, redis: RedisServer) -> None:
    """Workers may serve with the new ledger already: what the old one took would be lost."""
    ledger = open_ledger(old)
    ledger.add_key("ada")
    settle(ledger, change=charged)
    move(old, redis.uri())
    again = redis.uri()
    with pytest.raises(LedgerFileError, match=r"refuses changes already.*calpow ledger thaw"):
        move(old, again)
    assert open_ledger(again).models() == []
    changes(ledger)


def test_of_two_moves_at_once_one_is_made(old: str, redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = open_ledger(old)
    ledger.add_key("ada")
    settle(ledger, change=charged)
    copy, others = moving._copy_accounts, [redis.uri()]

    def overtake(*args: object) -> None:
        copy(*args)  # type: ignore[arg-type]
        if others:
            move(old, others.pop())

    monkeypatch.setattr(moving, "_copy_accounts", overtake)
    late = redis.uri()
    with pytest.raises(LedgerFileError, match="refuses changes already"):
        move(old, late)
    assert open_ledger(late).keys() == ()
    changes(ledger)


def test_a_copy_that_differs_is_refused_and_the_old_ledger_goes_on(
    old: str, redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger, new = open_ledger(old), redis.uri()
    settle(ledger, change=charged)
    copy = moving._copy_settings

    def meddle(source: Ledger, target: Ledger) -> None:
        copy(source, target)
        settle(target, change=charged)

    monkeypatch.setattr(moving, "_copy_settings", meddle)
    with pytest.raises(LedgerFileError, match="does not hold what was copied"):
        move(old, new)
    assert settle(ledger, change=charged)


def test_only_a_file_is_moved_and_only_into_a_new_ledger(old: str, redis: RedisServer) -> None:
    used = redis.uri()
    settle(open_ledger(used))
    for source, target, why in (
        (old, redis.uri(), "there is no ledger"),
        (used, old, "only a ledger in SQLite"),
    ):
        with pytest.raises(LedgerFileError, match=why):
            move(source, target)
    settle(open_ledger(old))
    with pytest.raises(LedgerFileError, match="keys or accounts already"):
        move(old, used)
    assert settle(open_ledger(old))
