"""An export of a ledger: another one takes it over whole, or not at all."""

import json
import math
import stat
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner

from calpow.archiver.cli.ledger import ledger as command
from calpow.archiver.errors import LedgerFileError
from calpow.archiver.ledger_care.ledger_file import Counts, export_ledger, exported_accounts, import_ledger
from calpow.handler.ledger.account import Rule
from calpow.handler.ledger.api_key import check_account
from calpow.handler.ledger.history import History
from calpow.handler.ledger.ledger import Ledger
from calpow.handler.ledger.limits import AccountLimits
from calpow.handler.ledger.settlement import settlement_of
from calpow.handler.ledger.uri import open_ledger
from tests.support.ledger_child import charged_account
from tests.support.ledgers import MODEL, NOW, settlement, spend, use

PAST = History(-(2**53) - 1, 7, (3, -(2**40)), b"\0d" * 4, b"s" * 16, b"\xffn" * 4, b"t" * 16)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """A ledger of two accounts on two models, a blocked one and a revoked key among them."""
    ledger = open_ledger(f"sqlite:///{tmp_path}/ledger.db")
    ledger.settle(MODEL, [settlement(history=PAST, owed=-3)], now=NOW)
    ledger.settle("letters", [settlement(account="bob's & Zoë's")], now=NOW)
    ledger.set_rule("eve", Rule.BLOCKED)
    ledger.set_mode("letters", "observe")
    return ledger


@pytest.fixture
def other(tmp_path: Path) -> Ledger:
    """A ledger that does not exist yet."""
    return open_ledger(f"sqlite:///{tmp_path}/other.db")


def test_keys_rules_modes_and_accounts_are_taken_over(ledger: Ledger, other: Ledger, tmp_path: Path) -> None:
    key, revoked = ledger.add_key("ada", 2e9), ledger.add_key("ada")
    ledger.revoke_key(revoked.split("_")[1])
    file = tmp_path / "export.jsonl"
    assert export_ledger(ledger, file) == Counts(2, 2)
    assert import_ledger(other, file) == Counts(2, 2)
    assert (other.keys(), other.rules(), other.modes()) == (ledger.keys(), ledger.rules(), ledger.modes())
    assert other.account(MODEL, "ada").history == PAST
    assert other.account(MODEL, "ada").owed == -3
    assert [list(other.summaries(model)) for model in other.models()] == [
        list(ledger.summaries(model)) for model in ledger.models()
    ]
    assert (other.account_of(key), other.account_of(revoked)) == ("ada", None)


def test_groups_limits_and_what_was_used_of_them_are_taken_over(ledger: Ledger, other: Ledger, tmp_path: Path) -> None:
    before = ledger.account(MODEL, "acme/ada")
    after = before.on(20_000).counted(3)
    assert ledger.settle(MODEL, [settlement_of("acme/ada", before, after)], now=NOW) == [True]
    ledger.set_limits("acme", AccountLimits(7, None, 500, None, 2.5))
    ledger.set_limits("acme/ada", AccountLimits(ceiling_seconds=30))
    export_ledger(ledger, tmp_path / "export.jsonl")
    import_ledger(other, tmp_path / "export.jsonl")
    assert other.limits() == ledger.limits()
    assert other.account(MODEL, "acme/ada") == ledger.account(MODEL, "acme/ada")


@pytest.mark.parametrize("limits", [{"free": -1}, {"free": 1.5}, {"budget": True}, {"budget": "7"}, {"floors": 7}, {}])
def test_limits_that_are_none_are_refused(other: Ledger, tmp_path: Path, limits: dict[str, object]) -> None:
    entry = {"account": "ada", **(AccountLimits()._asdict() | limits if limits else {})}
    file = tmp_path / "export.jsonl"
    file.write_text(json.dumps({"format": {"calpow-ledger": 1}}) + "\n" + json.dumps({"limits": entry}))
    with pytest.raises(LedgerFileError, match="line 2"):
        import_ledger(other, file)
    assert dict(other.limits()) == {}


def test_an_export_holds_no_key_and_no_secret_and_is_its_owners_alone(ledger: Ledger, tmp_path: Path) -> None:
    key, file = ledger.add_key("ada"), tmp_path / "export.jsonl"
    export_ledger(ledger, file)
    text = file.read_text()
    assert key.split("_")[2] not in text
    assert all(secret.value.hex() not in text for secret in ledger.secrets())
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_the_other_ledger_is_another_deployment_that_knows_no_spent_solution(
    ledger: Ledger, other: Ledger, tmp_path: Path
) -> None:
    spend(ledger, use("spent"))
    export_ledger(ledger, tmp_path / "export.jsonl")
    import_ledger(other, tmp_path / "export.jsonl")
    assert other.deployment() != ledger.deployment()
    assert other.secrets() != ledger.secrets()


def test_a_ledger_that_has_keys_or_accounts_takes_nothing_over(ledger: Ledger, other: Ledger, tmp_path: Path) -> None:
    export_ledger(ledger, tmp_path / "export.jsonl")
    other.add_key("zoe")
    with pytest.raises(LedgerFileError, match="import into a new one"):
        import_ledger(other, tmp_path / "export.jsonl")
    assert (other.models(), other.rules()) == ([], {})


def test_an_account_that_comes_twice_is_an_error(ledger: Ledger, other: Ledger, tmp_path: Path) -> None:
    file = tmp_path / "export.jsonl"
    export_ledger(ledger, file)
    *lines, account, _ = file.read_text().splitlines()
    file.write_text("\n".join([*lines, account, account, json.dumps({"end": len(lines) + 1})]))
    with pytest.raises(LedgerFileError, match="an account twice"):
        import_ledger(other, file)


def test_more_accounts_than_are_written_at_once_are_taken_over(ledger: Ledger, other: Ledger, tmp_path: Path) -> None:
    changes = {f"user{number:03}": charged_account for number in range(230)}
    for model in (MODEL, "letters"):
        ledger.charge(model, changes)
    export_ledger(ledger, tmp_path / "export.jsonl")
    assert import_ledger(other, tmp_path / "export.jsonl") == Counts(0, 462)
    for model in (MODEL, "letters"):
        assert [one._replace(version=0) for one in other.summaries(model)] == [
            one._replace(version=0) for one in ledger.summaries(model)
        ]


def test_a_file_that_was_cut_off_anywhere_is_taken_over_by_no_ledger(
    ledger: Ledger, other: Ledger, tmp_path: Path
) -> None:
    file, whole = tmp_path / "export.jsonl", tmp_path / "whole.jsonl"
    ledger.add_key("ada")
    export_ledger(ledger, whole)
    lines = whole.read_text().splitlines(keepends=True)
    for text in [*("".join(lines[:count]) for count in range(len(lines))), "".join(lines)[:-3]]:
        file.write_text(text)
        with pytest.raises(LedgerFileError):
            import_ledger(other, file)
    with pytest.raises(LedgerFileError, match=r"is cut off.*calpow ledger export"):
        list(exported_accounts(cut_off(file, lines[:-1])))
    with pytest.raises(LedgerFileError, match="copy it again"):
        list(exported_accounts(cut_off(file, ["".join(lines)[:-3]])))
    assert (other.keys(), other.models(), other.rules(), other.modes()) == ((), [], {}, {})
    # Without the last line break alone, nothing is missing.
    import_ledger(other, cut_off(file, ["".join(lines).rstrip()]))
    assert other.rules() == ledger.rules()


def cut_off(file: Path, lines: Sequence[str]) -> Path:
    file.write_text("".join(lines))
    return file


def test_lines_that_are_missing_or_added_are_noticed(ledger: Ledger, other: Ledger, tmp_path: Path) -> None:
    file, whole = tmp_path / "export.jsonl", tmp_path / "whole.jsonl"
    export_ledger(ledger, whole)
    first, *lines, last = whole.read_text().splitlines(keepends=True)
    for changed, match in (
        ([first, *lines[1:], last], "has 3 lines of 4"),
        ([first, *lines, lines[0], last], "has 5 lines of 4"),
        ([first, *lines, last, lines[0]], "goes on after its last line"),
    ):
        with pytest.raises(LedgerFileError, match=match):
            import_ledger(other, cut_off(file, changed))
    assert (other.models(), other.rules()) == ([], {})


def test_a_file_of_before_is_taken_over_with_a_note(
    ledger: Ledger, other: Ledger, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "export.jsonl"
    export_ledger(ledger, file)
    _, *lines, _ = file.read_text().splitlines(keepends=True)
    cut_off(file, [json.dumps({"format": {"calpow-ledger": 1}}) + "\n", *lines])
    assert import_ledger(other, file) == Counts(0, 2)
    assert f"note: {file} is of an earlier version" in capsys.readouterr().err


PARTS = dict.fromkeys(("digests", "sketches", "new_digests", "new_sketches"), "")
HISTORY = {"cost_micro": 0, "queries": 1, "wealth": [0], **PARTS}
ACCOUNT = {"model": "m", "name": "a", "owed": 0, "usage": [0, 0, 0], "history": HISTORY}
KEY = {"id": "0a1b2c3d", "digest": "00" * 32, "account": "ada", "created": 1.0, "revoked": None, "expires": None}


@pytest.mark.parametrize(
    "line",
    [
        {"account": {**ACCOUNT, "name": "\ud800"}},
        {"account": {**ACCOUNT, "name": "ada\x1b[2J"}},
        {"account": {**ACCOUNT, "name": "ada" * 100}},
        {"account": {**ACCOUNT, "model": "m\nall is well"}},
        {"account": {**ACCOUNT, "owed": 2**63}},
        {"account": {**ACCOUNT, "history": {**HISTORY, "digests": "AAAA"}}},
        {"account": {**ACCOUNT, "history": {**HISTORY, "sketches": "AAAA"}}},
        {"account": {**ACCOUNT, "history": {**HISTORY, "new_digests": "AAAA" * 88}}},
        {"account": {**ACCOUNT, "history": {**HISTORY, "cost_micro": math.inf}}},
        {"key": {**KEY, "account": 5}},
        {"key": {**KEY, "account": " ada"}},
        {"key": {**KEY, "id": [5]}},
        {"key": {**KEY, "id": "\x1b[2J"}},
        {"key": {**KEY, "created": "yesterday"}},
        {"key": {**KEY, "created": None}},
        {"key": {**KEY, "expires": math.nan}},
        {"rule": ["ada"]},
        {"rule": ["a\nb", "blocked"]},
        {"limits": {"account": "\ud800", **AccountLimits()._asdict()}},
        {"mode": ["\ud800", "off"]},
        {"mode": ["\x1b[2J", "off"]},
        {"mode": ["m", "asleep"]},
    ],
    ids=str,
)
def test_of_a_file_with_a_line_that_no_ledger_can_keep_nothing_is_written(
    other: Ledger, tmp_path: Path, line: dict[str, object]
) -> None:
    lines: list[dict[str, object]] = [{"format": {"calpow-ledger": 1}}, {"rule": ["eve", "blocked"]}, line]
    (tmp_path / "export.jsonl").write_text("\n".join(map(json.dumps, lines)))
    with pytest.raises(LedgerFileError, match="line 3"):
        import_ledger(other, tmp_path / "export.jsonl")
    assert (other.keys(), other.models(), other.rules()) == ((), [], {})


def test_names_that_an_earlier_version_allowed_are_taken_over(
    ledger: Ledger, other: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ledger whose backup could not be restored would have none."""
    with monkeypatch.context() as earlier:
        earlier.setattr("calpow.handler.ledger.sqlite.sqlite_settings.check_new_account", check_account)
        keys = {name: ledger.add_key(name) for name in ("jose\u0301", "ada \u2764\ufe0f")}
    for name in keys:
        ledger.set_rule(name, Rule.BLOCKED)
        ledger.set_limits(name, AccountLimits(free=1))
    export_ledger(ledger, tmp_path / "export.jsonl")
    import_ledger(other, tmp_path / "export.jsonl")
    assert {name: other.account_of(key) for name, key in keys.items()} == {name: name for name in keys}
    assert (other.rules(), other.limits()) == (ledger.rules(), ledger.limits())


@pytest.mark.parametrize(
    ("line", "where"),
    [
        ("", "no export"),
        ('{"calpow": 1}', "line 1"),
        ("{", "line 1"),
        ('{"format": {"calpow-ledger": 3}}', "no export"),
        ('{"format": {"calpow-ledger": 2}}', "cut off"),
        ('{"format": {"calpow-ledger": 1}}\n{"key": {"id": "a"}}', "line 2"),
        ('{"format": {"calpow-ledger": 1}}\n{"rule": ["ada", "adored"]}', "line 2"),
        (
            '{"format": {"calpow-ledger": 1}}\n{"account": {"model": "m", "name": "a", "owed": 0, "history": {}}}',
            "line 2",
        ),
    ],
)
def test_what_is_no_export_is_refused_in_one_line(other: Ledger, tmp_path: Path, line: str, where: str) -> None:
    (tmp_path / "export.jsonl").write_text(line)
    with pytest.raises(LedgerFileError, match=where) as refused:
        import_ledger(other, tmp_path / "export.jsonl")
    assert "\n" not in str(refused.value)
    assert (other.keys(), other.models()) == ((), [])


def test_the_commands_move_a_ledger_and_renew_its_secret(ledger: Ledger, tmp_path: Path) -> None:
    file, uri, other = str(tmp_path / "e.jsonl"), f"sqlite:///{tmp_path}/ledger.db", f"sqlite:///{tmp_path}/new.db"
    for words in (("export", file, "--ledger", uri), ("import", file, "--ledger", other)):
        result = CliRunner().invoke(command, words)
        assert result.exit_code == 0
        assert "0 keys, 2 accounts" in result.stderr
    (before,) = ledger.secrets()
    assert CliRunner().invoke(command, ["rotate-secret", "--ledger", uri]).exit_code == 0
    assert ledger.secrets()[0] == before
    assert len(ledger.secrets()) == 2
    assert json.loads(Path(file).read_text().splitlines()[0]) == {"format": {"calpow-ledger": 2}}
