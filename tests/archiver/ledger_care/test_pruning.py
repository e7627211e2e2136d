"""`calpow ledger prune` forgets what has expired, accounts without keys and unchanged ones, and nothing else."""

import json
import sqlite3
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from calpow.archiver.cli.ledger import ledger as command
from calpow.archiver.errors import LedgerFileError
from calpow.handler.ledger.account import NEW_ACCOUNT, Rule
from calpow.handler.ledger.history import History
from calpow.handler.ledger.ledger import Ledger
from calpow.handler.ledger.limits import AccountLimits
from calpow.handler.ledger.uri import open_ledger
from tests.support.ledgers import MODEL, admit, outcomes, settle, settlement, spend, use
from tests.support.redis_servers import RedisServer

JWT = {"issuer": "https://login.example.org/", "audience": MODEL, "algorithms": ["RS256"], "jwks": "/etc/jwks.json"}
FLOOR = History(5, 1, (0, 0), b"a" * 8, b"s" * 16)


@pytest.fixture(params=["sqlite", "redis"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/ledger.db"
    server: RedisServer = request.getfixturevalue("redis")
    return server.uri()


def prune(uri: str, *words: str) -> Result:
    """Run `calpow ledger prune`."""
    result = CliRunner().invoke(command, ["prune", *words, "--ledger", uri])
    assert result.exit_code == 0, result.output
    return result


def names(ledger: Ledger) -> set[str]:
    return {summary.name for model in ledger.models() for summary in ledger.summaries(model)}


def revoked(ledger: Ledger, account: str) -> None:
    ledger.revoke_key(ledger.add_key(account).split("_")[1])


def test_what_has_expired_is_deleted_and_what_has_not_stays(tmp_path: Path) -> None:
    uri, now = f"sqlite:///{tmp_path}/ledger.db", time.time()
    ledger = open_ledger(uri)
    # Some few: workers themselves delete what has expired with every sixteenth id.
    for number in range(6):
        spend(ledger, use(f"old{number}", expires=now - 1), now=now - 60)
    spend(ledger, use("new", expires=now + 600), now=now)
    assert "Expired ids and solutions to be deleted: 12." in prune(uri, "--dry-run").stderr
    assert "Expired ids and solutions deleted: 12." in prune(uri).stderr
    assert "deleted: 0." in prune(uri).stderr
    with sqlite3.connect(tmp_path / "ledger.db") as connection:
        assert connection.execute("SELECT id FROM uses").fetchall() == [("new",)]
    connection.close()
    assert set(outcomes(ledger, "new")) == {"new"}
    assert names(ledger) == {"ada"}


def test_what_is_no_export_is_refused_before_anything_is_deleted(tmp_path: Path) -> None:
    uri, picture = f"sqlite:///{tmp_path}/ledger.db", tmp_path / "digit.png"
    picture.write_bytes(b"\x89PNG")
    spend(open_ledger(uri), use("old", expires=time.time() - 1), now=time.time() - 60)
    result = CliRunner().invoke(command, ["prune", "--unchanged-since", str(picture), "--ledger", uri])
    assert isinstance(result.exception, LedgerFileError)
    assert "Expired ids and solutions to be deleted: 2." in prune(uri, "--dry-run").stderr


def test_many_expired_rows_are_deleted_in_several_transactions(tmp_path: Path) -> None:
    uri, now = f"sqlite:///{tmp_path}/ledger.db", time.time()
    open_ledger(uri).secrets()
    with sqlite3.connect(tmp_path / "ledger.db") as connection:
        rows = ((f"{number:06}", 1, None, now - 1 if number % 3 else now + 600) for number in range(9000))
        connection.executemany("INSERT INTO uses VALUES (?, ?, ?, ?)", rows)
    assert "Expired ids and solutions deleted: 6,000." in prune(uri).stderr
    assert connection.execute("SELECT count(*), min(expires) > 0 FROM uses").fetchone() == (3000, 1)
    connection.close()


def test_accounts_whose_keys_were_all_revoked_long_ago_are_forgotten(uri: str) -> None:
    ledger = open_ledger(uri)
    for account in ("ada", "bob", "eve", "token"):
        settle(ledger, account=account)
    ledger.add_key("ada", time.time() - 60)
    revoked(ledger, "bob")
    ledger.add_key("bob")  # has another key
    revoked(ledger, "eve")
    # `token` has no key at all: it may be known by another means than keys.
    assert prune(uri, "--revoked", "1").stdout == ""
    assert prune(uri, "--revoked", "0", "--dry-run").stdout == f"{MODEL}  ada\n{MODEL}  eve\n"
    assert names(ledger) == {"ada", "bob", "eve", "token"}
    assert prune(uri, "--revoked", "0").stdout == f"{MODEL}  ada\n{MODEL}  eve\n"
    assert names(ledger) == {"bob", "token"}
    assert ledger.account(MODEL, "ada") == NEW_ACCOUNT
    assert settle(ledger, account="ada"), "a forgotten account may come back"
    assert names(ledger) == {"ada", "bob", "token"}


def test_a_group_stays_with_its_members_and_so_does_what_is_limited(uri: str) -> None:
    """An account whose count is forgotten could use its budget once more."""
    ledger = open_ledger(uri)
    for account in ("acme", "acme/ada", "acme/bob", "ada", "firm", "firm/eve"):
        settle(ledger, account=account)
        revoked(ledger, account)
    ledger.add_key("acme/ada")
    ledger.set_limits("ada", AccountLimits(budget=7))
    forgotten = "".join(f"{MODEL}  {name}\n" for name in ("acme/bob", "firm", "firm/eve"))
    assert prune(uri, "--revoked", "0").stdout == forgotten
    assert names(ledger) == {"acme", "acme/ada", "ada"}


def test_accounts_that_a_token_or_a_proxy_may_name_stay_when_their_keys_end(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user who has a token as well would otherwise lose his past by giving up the key."""
    ledger = open_ledger(uri)
    for account in ("ada", "jwt:ada", "jwt:acme/bob", "proxy:ada", "anonymous", "oidc-ada"):
        settle(ledger, account=account)
        revoked(ledger, account)
    assert prune(uri, "--revoked", "0", "--dry-run").stdout == f"{MODEL}  ada\n{MODEL}  oidc-ada\n"
    for prefix, forgotten in (("oidc-", ["ada", "jwt:acme/bob", "jwt:ada"]), ("", [])):
        (tmp_path / "identity.json").write_text(json.dumps({"schema": 1, "jwt": {**JWT, "prefix": prefix}}))
        monkeypatch.setenv("CALPOW_IDENTITY", str(tmp_path / "identity.json"))
        expected = "".join(f"{MODEL}  {name}\n" for name in forgotten)
        assert prune(uri, "--revoked", "0", "--dry-run").stdout == expected


def test_a_group_stays_with_members_whom_tokens_name(uri: str) -> None:
    """Such members have no key, and query on after the group's own key is revoked."""
    ledger = open_ledger(uri)
    for account in ("acme", "acme/ada"):
        settle(ledger, account=account)
    revoked(ledger, "acme")
    assert prune(uri, "--revoked", "0").stdout == ""
    assert names(ledger) == {"acme", "acme/ada"}


def test_accounts_that_are_as_in_an_export_and_have_nothing_held_against_them_are_forgotten(
    uri: str, tmp_path: Path
) -> None:
    ledger, export = open_ledger(uri), str(tmp_path / "export.jsonl")
    for account, owed in (
        *(("idle", 0), ("paid too much", -7), ("owes", 1)),
        *(("trusted", 0), ("limited", 0), ("busy", 0)),
    ):
        assert ledger.settle(MODEL, [settlement(account=account, history=FLOOR, owed=owed)], now=0) == [True]
    settle(ledger, account="suspect")  # has wealth
    ledger.set_rule("trusted", Rule.TRUSTED)
    ledger.set_limits("limited", AccountLimits(budget=7))
    assert CliRunner().invoke(command, ["export", export, "--ledger", uri]).exit_code == 0
    settle(ledger, account="busy", change=lambda past: History(6, 2, past.wealth, past.digests, past.sketches))
    assert ledger.settle(MODEL, [settlement(account="later", history=FLOOR)], now=0) == [True]
    forgotten = f"{MODEL}  idle\n{MODEL}  paid too much\n"
    assert prune(uri, "--unchanged-since", export).stdout == forgotten
    assert names(ledger) == {"owes", "trusted", "limited", "busy", "suspect", "later"}


def test_an_account_that_comes_back_meanwhile_is_kept(uri: str) -> None:
    ledger = open_ledger(uri)
    settle(ledger)
    before = ledger.account(MODEL, "ada").version
    settle(ledger)
    assert not ledger.forget(MODEL, "ada", before)
    assert names(ledger) == {"ada"}
    assert ledger.forget(MODEL, "ada", before + 1)
    assert names(ledger) == set()
    assert not ledger.forget(MODEL, "ada", before + 1)
    assert names(ledger) == set()


def test_a_forgotten_account_leaves_its_spent_solutions_spent(uri: str) -> None:
    ledger, now = open_ledger(uri), time.time()
    outcome = spend(ledger, use("a", expires=now + 600), now=now)
    assert ledger.forget(MODEL, "ada", 1)
    assert outcomes(ledger, "a") == {"a": outcome}
    (admission,) = admit(ledger, use("a", digest="other", expires=now + 600), now=now)
    assert admission.value == "spent"
