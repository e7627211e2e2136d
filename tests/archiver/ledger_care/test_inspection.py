"""`calpow ledger verify` finds what is damaged, in files and in Redis, and changes nothing."""

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from calpow.archiver.cli.ledger import ledger as command
from calpow.handler.ledger.account import Rule
from calpow.handler.ledger.ledger import Ledger
from calpow.handler.ledger.redis.redis_ledger import RedisLedger
from calpow.handler.ledger.uri import open_ledger
from calpow.puzzle.errors import CalpowError
from tests.support.ledger_child import charged_account, history_of
from tests.support.ledgers import MODEL, admit, settlement, spending, use
from tests.support.redis_servers import RedisServer, redis_binary, redis_server


def fill(ledger: Ledger) -> None:
    """Do what workers and operators do."""
    now = time.time()
    ledger.secrets()
    ledger.deployment()
    ledger.add_key("ada")
    ledger.revoke_key(ledger.add_key("bob").split("_")[1])
    ledger.set_rule("bob", Rule.BLOCKED)
    ledger.set_mode(MODEL, "observe")
    paid = use("a", "b", expires=now + 600)
    admit(ledger, paid, use("c", expires=now + 600), now=now)
    change = settlement(spending(paid, settled=now), history=history_of(40), owed=-3)
    assert ledger.settle(MODEL, [change, settlement(account="bob", history=history_of(3))], now=now) == [True, True]
    ledger.charge(MODEL, {"acme/ann": charged_account, "acme/bob": charged_account})
    ledger.fail(MODEL, "zoe", ["z"], expires=now + 600, now=now)


def verify(uri: str, exit_code: int) -> Result:
    """Run `calpow ledger verify`."""
    result = CliRunner().invoke(command, ["verify", "--ledger", uri], standalone_mode=False)
    assert (result.exception, result.return_value) == (None, exit_code), result.output
    assert ("Nothing is wrong with it." in result.stderr) is (exit_code == 0)
    return result


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The file of a ledger that was in use and is closed."""
    fill(open_ledger(f"sqlite:///{tmp_path}/ledger.db"))
    return tmp_path / "ledger.db"


def test_nothing_is_left_beside_a_file_that_nobody_uses(file: Path) -> None:
    before = file.read_bytes()
    verify(f"sqlite:///{file}", 0)
    assert CliRunner().invoke(command, ["prune", "--dry-run", "--ledger", f"sqlite:///{file}"]).exit_code == 0
    backup = file.with_name("backup.db")
    assert CliRunner().invoke(command, ["backup", str(backup), "--ledger", f"sqlite:///{file}"]).exit_code == 0
    verify(f"sqlite:///{backup}", 0)
    assert sorted(file.parent.iterdir()) == [backup, file]
    assert file.read_bytes() == before


def test_a_file_that_nobody_may_write_is_verified(file: Path) -> None:
    file.chmod(0o400)
    verify(f"sqlite:///{file}", 0)


def test_a_file_in_use_is_whole_and_counted(file: Path) -> None:
    ledger = open_ledger(f"sqlite:///{file}")
    ledger.add_key("eve")
    before = file.read_bytes(), Path(f"{file}-wal").read_bytes()
    verified = verify(f"sqlite:///{file}", 0)
    assert verified.stdout == ""
    counts = "3 keys, 2 valid keys, 1 rule, 5 accounts, 47 samples, 3 ids, 0 expired ids, 1 spent solution, 1 signing"
    assert counts in verified.stderr
    assert (file.read_bytes(), Path(f"{file}-wal").read_bytes()) == before


FILE_FAULTS = {
    "a key has no SHA-256": "UPDATE keys SET digest = x'00' WHERE account = 'ada'",
    "a key's account has a name that no new key can have": "UPDATE keys SET account = ' ada'",
    "a key was created in the future": "UPDATE keys SET created = 9e9 WHERE account = 'ada'",
    "a key was revoked before it was created": "UPDATE keys SET revoked = 1 WHERE account = 'bob'",
    "an account has the rule 'adored'": "UPDATE rules SET rule = 'adored'",
    "a model has the mode 'asleep'": "UPDATE modes SET mode = 'asleep'",
    "there is no signing secret": "DELETE FROM secrets",
    "a signing secret is cut off": "UPDATE secrets SET value = x'0011'",
    "the deployment has no name or several": "INSERT INTO deployment VALUES ('abcdef')",
    "an account has a negative count: ada of digits": "UPDATE accounts SET queries = -1 WHERE account = 'ada'",
    "an account was answered more samples than are counted": "UPDATE accounts SET queries = 39 WHERE account = 'ada'",
    "an account's bets have negative wealth": "UPDATE accounts SET wealth = x'ffffffffffffffff' WHERE account = 'ada'",
    "an account's bets are cut off": "UPDATE accounts SET wealth = x'ff' WHERE account = 'ada'",
    "an account's samples are cut off or too many": "UPDATE old_samples SET sketches = x'00' WHERE account = 'ada'",
    "samples belong to an account that is not there": "DELETE FROM accounts WHERE account = 'ada'",
    "an id has an impossible number of uses": "UPDATE uses SET uses = 6 WHERE id = 'a'",
    "a solution has negative work": "UPDATE outcomes SET work = -1",
    "a spent id is remembered longer than its solution": "UPDATE uses SET expires = expires + 1 WHERE id = 'a'",
    "a spent solution has lost its ids": "DELETE FROM uses",
    "the file has schema": "PRAGMA user_version = 99",
    "tables or columns are missing": "DROP TABLE modes",
}


@pytest.mark.parametrize("fault", FILE_FAULTS)
def test_every_fault_of_a_file_is_found(file: Path, fault: str) -> None:
    connection = sqlite3.connect(file)
    connection.execute(FILE_FAULTS[fault])
    connection.commit()
    connection.close()
    assert any(line.startswith(fault) for line in verify(f"sqlite:///{file}", 1).stdout.splitlines())


def test_a_file_with_damaged_pages_is_found(file: Path) -> None:
    content = bytearray(file.read_bytes())
    for page in range(2, len(content) // 4096):
        content[4096 * page : 4096 * page + 64] = b"\xff" * 64
    file.write_bytes(content)
    assert verify(f"sqlite:///{file}", 1).stdout.startswith(("the file is damaged", "the file cannot be read"))


def test_a_file_that_others_can_read_is_found(file: Path) -> None:
    file.chmod(0o644)
    assert f"chmod 600 {file}" in verify(f"sqlite:///{file}", 1).stdout


@pytest.mark.parametrize("content", [None, b"", b"text" * 2000])
def test_what_is_no_ledger_is_an_error_in_one_line(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "none.db"
    if content is not None:
        path.write_bytes(content)
    result = CliRunner().invoke(command, ["verify", "--ledger", f"sqlite:///{path}"])
    assert isinstance(result.exception, CalpowError)
    assert "\n" not in str(result.exception)
    assert path.exists() == (content is not None)


def test_a_folder_is_no_ledger(tmp_path: Path) -> None:
    result = CliRunner().invoke(command, ["verify", "--ledger", f"sqlite:///{tmp_path}"])
    assert isinstance(result.exception, CalpowError)
    assert "is a folder" in str(result.exception)


def test_a_redis_that_no_worker_has_used_is_whole_from_its_first_key_on(redis: RedisServer) -> None:
    uri = redis.uri()
    open_ledger(uri).add_key("ada")
    assert verify(uri, 0).stdout == ""


def test_a_redis_in_use_is_whole_and_counted(redis: RedisServer) -> None:
    uri = redis.uri()
    fill(open_ledger(uri))
    client = redis.client()
    before = {name: client.dump(name) for name in client.keys("*")}
    verified = verify(uri, 0)
    assert verified.stdout == ""
    assert "2 keys, 1 valid key, 1 rule, 5 accounts, 47 samples, 3 ids, 1 spent solution, 1 sign" in verified.stderr
    assert {name: client.dump(name) for name in client.keys("*")} == before


def damages(uri: str, redis: RedisServer) -> dict[str, Callable[[], object]]:
    """Return for each fault what brings it about."""
    client: Any = redis.client()
    prefix = uri.partition("prefix=")[2].partition("&")[0]
    ids = [name.decode() for name in client.keys(f"{prefix}:*:id:*")]
    (secret,) = client.lrange(f"{prefix}:secrets", 0, -1)
    account, *_ = sorted(client.keys(f"{prefix}:*:account:{MODEL}"), key=lambda name: -client.memory_usage(name))
    (key,) = [name for name in client.keys(f"{prefix}:key:*") if client.hget(name, "account") == b"ada"]
    return {
        "a key is none of the ledger's": lambda: client.set(f"{prefix}:stray", 1),
        "a spent id or the like never expires": lambda: client.persist(ids[0]),
        "what must stay for good expires": lambda: client.expire(account, 600),
        "a key has no SHA-256": lambda: client.hset(key, "digest", b"short"),
        "an account has the rule": lambda: client.hset(f"{prefix}:rules", "ada", "adored"),
        "a model has the mode": lambda: client.hset(f"{prefix}:modes", MODEL, "asleep"),
        "a signing secret is cut off": lambda: client.rpush(f"{prefix}:secrets", "x:00"),
        "two signing secrets are the same": lambda: client.rpush(f"{prefix}:secrets", secret),
        "there is no signing secret": lambda: client.delete(f"{prefix}:secrets"),
        "the deployment has no name": lambda: client.delete(f"{prefix}:deployment"),
        "an account cannot be read": lambda: client.hset(account, "s", b"cut off"),
        "an account was answered more": lambda: client.hset(
            account, "s", client.hget(account, "s")[:8] + bytes(8) + client.hget(account, "s")[16:]
        ),
        "the list of accounts lacks 1": lambda: client.srem(f"{prefix}:accounts:{MODEL}", "ada"),
    }


@pytest.mark.parametrize("number", range(13))
def test_every_fault_in_redis_is_found(redis: RedisServer, number: int) -> None:
    uri = redis.uri()
    fill(open_ledger(uri))
    fault, damage = list(damages(uri, redis).items())[number]
    damage()
    assert any(line.startswith(fault) for line in verify(uri, 1).stdout.splitlines())


def test_settings_of_redis_that_forget_spent_solutions_are_found(tmp_path: Path) -> None:
    options = ("--maxmemory-policy", "volatile-lru", "--save", "", "--appendonly", "no")
    with redis_server(redis_binary(), tmp_path, *options) as server:
        fill(RedisLedger(server.uri(prefix="forgetful")))
        found = verify(server.uri(prefix="forgetful"), 1).stdout
        assert "set maxmemory-policy noeviction" in found
        assert "set appendonly yes" in found
