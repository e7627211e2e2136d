"""`calpow account`: what an operator sees of accounts, and what he can do for one who is locked out."""

import dataclasses
import re
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from calpow.archiver.account_table import Snapshot
from calpow.archiver.cli.account import account
from calpow.archiver.cli.top import top
from calpow.archiver.errors import AccountError, FolderError
from calpow.client.cli.main import main
from calpow.handler.errors import CalibrationError, LedgerError
from calpow.handler.gate.probes import probe_account
from calpow.handler.ledger.account import Rule
from calpow.handler.ledger.api_key import check_account
from calpow.handler.ledger.history import History
from calpow.handler.ledger.ledger import Ledger
from calpow.handler.ledger.limits import AccountLimits
from calpow.handler.ledger.settlement import Settlement, settlement_of
from calpow.handler.ledger.uri import open_ledger
from tests.support.calibrations import EVIDENCE, calibration
from tests.support.terminals import read_until, terminal

MODEL = "digits"


@pytest.fixture
def uri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The ledger of `ada`, who is ordinary, and `eve`, who is not, on two models."""
    uri = f"sqlite:///{tmp_path}/ledger.db"
    monkeypatch.setenv("CALPOW_LEDGER", uri)
    ledger = open_ledger(uri)
    add(ledger, "ada", (0,) * EVIDENCE.bets, queries=1200)
    add(ledger, "eve", (12_345_678,) * EVIDENCE.bets, owed=500)
    add(ledger, "eve", (0,) * EVIDENCE.bets, model="letters")
    for name in ("ada", "eve"):
        ledger.add_key(name)
    return uri


def add(
    ledger: Ledger, name: str, wealth: tuple[int, ...], queries: int = 7, owed: int = 0, model: str = MODEL
) -> None:
    history = History(3_500_000, queries, wealth, b"d" * 8, b"s" * 16)
    assert ledger.settle(model, [Settlement(name, 0, history, owed, ())], now=0.0) == [True]


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(account, arguments)
    assert result.exit_code == 0, (result.output, result.exception)
    return result


def refused(*arguments: str) -> BaseException:
    """Return the error of a command, which the command line prints as one line."""
    result = CliRunner().invoke(account, arguments)
    assert isinstance(result.exception, AccountError | FolderError | CalibrationError | LedgerError)
    assert "\n" not in str(result.exception)
    return result.exception


def test_the_accounts_with_most_evidence_are_listed_first(uri: str) -> None:
    heading, *lines = run("list").stdout.splitlines()
    assert heading.split() == ["model", "account", "samples", "cost", "evidence", "owed"]
    assert [line.split()[:2] for line in lines] == [["digits", "eve"], ["digits", "ada"], ["letters", "eve"]]
    assert lines[0].split()[2:] == ["7", "3.5", "12.3", "500"]
    assert len(run("list", "--top", "1").stdout.splitlines()) == 2
    assert "letters" not in run("list", "--model", MODEL).stdout


@pytest.mark.parametrize("packaged", [False, True])
def test_with_the_policy_prices_are_shown_in_floors(uri: str, tmp_path: Path, packaged: bool) -> None:
    file = tmp_path / "calibration.json"
    calibration().save(file)
    if packaged:
        file = tmp_path / "digits.mar"
        with zipfile.ZipFile(file, "w") as archive:
            archive.write(tmp_path / "calibration.json", "calibration.json")
    shown = run("show", "eve", "--model", MODEL, "--policy", str(file)).stdout
    assert re.search(r"floors +owed\n.* 140 +500\n", shown)  # e^(0.4 * 12.345678)
    shown = run("show", "ada", "--policy", str(file)).stdout
    assert re.search(r" 1 +0\n", shown)


def test_what_is_no_protected_archive_is_refused_in_one_line(uri: str, tmp_path: Path) -> None:
    (tmp_path / "empty.json").write_text("{}")
    with zipfile.ZipFile(tmp_path / "plain.mar", "w") as archive:
        archive.writestr("model.pt", b"")
    refused("list", "--policy", str(tmp_path / "empty.json"))
    assert "is not protected" in str(refused("list", "--policy", str(tmp_path / "plain.mar")))


def test_a_forgiven_account_pays_the_floor_and_owes_nothing(uri: str) -> None:
    assert "eve pays the floor" in run("forgive", "eve", "--model", MODEL).stderr
    state = open_ledger(uri).account(MODEL, "eve")
    assert (state.history.wealth, state.owed) == ((0,) * EVIDENCE.bets, 0)
    assert (state.history.digests, state.history.queries, state.version) == (b"d" * 8, 7, 2)
    assert EVIDENCE.log_multiple(state.history) == 0


def test_blocking_and_trusting_last_until_the_account_is_allowed(uri: str) -> None:
    ledger = open_ledger(uri)
    for command, rule in (("block", Rule.BLOCKED), ("trust", Rule.TRUSTED)):
        run(command, "eve")
        assert ledger.rule("eve") is rule
        assert rule.value in run("list").stdout
        run("allow", "eve")
        assert ledger.rule("eve") is Rule.PRICED


COMPOSED, APART = "jos\u00e9", "jose\u0301"


def test_an_account_is_named_however_a_terminal_writes_its_letters(uri: str) -> None:
    ledger = open_ledger(uri)
    add(ledger, COMPOSED, (0,) * EVIDENCE.bets)
    for given in (COMPOSED, APART):
        assert COMPOSED in run("show", given).stdout
        run("block", given)
        assert ledger.rules() == {COMPOSED: Rule.BLOCKED}
        run("allow", given)
        run("limit", given, "--budget", "7")
        assert list(ledger.limits()) == [COMPOSED]
        run("limit", given, "--budget", "none")
    run("block", "--new", "zoe\u0308")
    assert ledger.rules()["zo\u00eb"] is Rule.BLOCKED


def test_an_account_that_an_earlier_version_named_otherwise_is_found(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = open_ledger(uri)
    with monkeypatch.context() as earlier:
        earlier.setattr("calpow.handler.ledger.sqlite.sqlite_settings.check_new_account", check_account)
        ledger.add_key(APART)
    add(ledger, APART, (12_345_678,) * EVIDENCE.bets)
    for given in (COMPOSED, APART):
        run("forgive", given)
        run("trust", given)
        assert ledger.rules() == {APART: Rule.TRUSTED}
        run("allow", given)
    # Beside one that is named as today, each is what was given letter by letter.
    ledger.add_key(COMPOSED)
    run("block", COMPOSED)
    assert (ledger.rule(COMPOSED), ledger.rule(APART)) == (Rule.BLOCKED, Rule.PRICED)
    run("block", APART)
    assert ledger.rule(APART) is Rule.BLOCKED


def test_accounts_that_are_not_there_are_refused_in_one_line(uri: str) -> None:
    for command in ("show", "forgive"):
        assert "'bob' has queried any model" in str(refused(command, "bob"))
    for command in ("block", "trust", "allow", "limit"):
        assert "there is no account 'bob'" in str(refused(command, "bob"))
    assert "invisible" in str(refused("block", "bo\u034fb", "--new"))


def test_accounts_without_keys_are_blocked_and_trusted_once_they_have_queried_or_as_new_ones(uri: str) -> None:
    ledger = open_ledger(uri)
    add(ledger, "jwt:ada", (0,) * EVIDENCE.bets, model="letters")
    run("block", "jwt:ada")
    assert "the price of a new account" in run("trust", "jwt:batch", "--new").stderr
    assert ledger.rules() == {"jwt:ada": Rule.BLOCKED, "jwt:batch": Rule.TRUSTED}
    run("allow", "jwt:batch")
    assert ledger.rule("jwt:batch") is Rule.PRICED
    assert "calpow account forgive" in run("trust", "jwt:ada").stderr


class TestGroups:
    """Accounts `TENANT/USER`, whose evidence their group shares."""

    @pytest.fixture
    def tenant(self, uri: str) -> Ledger:
        """The ledger with a group of two, of which one has sent what all pay for."""
        ledger = open_ledger(uri)
        for name in ("acme/ada", "acme/eve"):
            ledger.add_key(name)
        member = ledger.account(MODEL, "acme/eve")
        history = History(3_500_000, 7, (12_345_678,) * EVIDENCE.bets, b"d" * 8, b"s" * 16)
        shared = member._replace(history=history, group=member._replace(history=history, group=None))
        assert ledger.settle(MODEL, [settlement_of("acme/eve", member, shared)], now=0.0) == [True]
        add(ledger, "acme/ada", (0,) * EVIDENCE.bets, queries=5)
        return ledger

    def test_a_group_is_listed_with_the_number_of_its_members(self, tenant: Ledger) -> None:
        heading, *lines = run("list", "--model", MODEL).stdout.splitlines()
        assert heading.split()[2] == "members"
        assert {line.split()[1] for line in lines} == {"ada", "eve", "acme", "acme/ada", "acme/eve"}
        (group,) = [line.split() for line in lines if line.split()[1] == "acme"]
        assert group[2:5] == ["2", "7", "3.5"]

    def test_a_member_is_shown_with_its_group_and_pays_what_the_dearer_pays(
        self, tenant: Ledger, tmp_path: Path
    ) -> None:
        calibration().save(tmp_path / "calibration.json")
        options = ("--model", MODEL, "--policy", str(tmp_path / "calibration.json"))
        _, member, group = run("show", "acme/ada", *options).stdout.splitlines()
        assert [line.split()[-2] for line in (member, group)] == ["140", "140"]
        assert [line.split()[1] for line in (member, group)] == ["acme/ada", "acme"]
        assert len(run("show", "acme", *options).stdout.splitlines()) == 2
        highest = Snapshot.take(tenant, [MODEL], calibration().policy).highest(4)
        assert [row.floors for row in highest] == [pytest.approx(139.5, abs=0.1)] * 4

    def test_totals_count_what_members_drew_once(self, tenant: Ledger) -> None:
        """Samples that `acme/ada` drew before there were groups are not in the group's sums."""
        totals = Snapshot.take(tenant, [MODEL], None).totals()
        assert totals.startswith("digits: 4 accounts, 1 group, 1,219 samples, cost 14 in all")

    def test_a_forgiven_member_is_told_of_its_group_which_can_be_forgiven_too(self, tenant: Ledger) -> None:
        assert "`calpow account forgive acme`" in run("forgive", "acme/eve").stderr
        state = tenant.account(MODEL, "acme/eve")
        assert state.group is not None
        assert not any(state.history.wealth)
        assert any(state.group.history.wealth)
        assert "acme pays the floor" in run("forgive", "acme").stderr
        assert "acme/eve pays the floor" in run("forgive", "acme/eve").stderr
        assert not any(tenant.account(MODEL, "acme").history.wealth)

    def test_a_rule_of_a_group_needs_a_member_and_holds_for_all(self, tenant: Ledger) -> None:
        run("block", "acme")
        assert tenant.rule("acme/ada") is Rule.BLOCKED
        assert "its group acme is blocked" in run("allow", "acme/ada").stderr
        run("allow", "acme")
        assert tenant.rule("acme/ada") is Rule.PRICED
        assert "'acm'" in str(refused("block", "acm"))


def test_an_empty_ledger_says_so(tmp_path: Path) -> None:
    result = run("list", "--ledger", f"sqlite:///{tmp_path}/none.db")
    assert "No account in" in result.stderr


def test_a_model_that_nobody_has_asked_is_named(uri: str) -> None:
    assert "has sent a query to letter yet" in run("list", "--model", "letter").stderr
    assert CliRunner().invoke(top, ["--model", "letter"]).stdout == "no account has sent a query to letter yet\n"


class TestTop:
    """`calpow top`, which shows the same live."""

    def test_without_a_terminal_totals_and_accounts_are_printed_once(self, uri: str) -> None:
        result = CliRunner().invoke(top, [])
        assert result.exit_code == 0
        totals, rows = result.stdout.split("\n\n")
        assert totals.splitlines() == [
            "digits: 2 accounts, 1,207 samples, cost 7 in all, 1 with evidence",
            "letters: 1 account, 7 samples, cost 3.5 in all, 0 with evidence",
        ]
        assert rows.splitlines()[1].split()[:2] == ["digits", "eve"]

    def test_new_samples_are_those_since_the_last_reading(self, uri: str) -> None:
        ledger = open_ledger(uri)
        before = Snapshot.take(ledger, [MODEL], None)
        state = ledger.account(MODEL, "eve")
        history = dataclasses.replace(state.history, queries=state.history.queries + 5)
        ledger.settle(MODEL, [Settlement("eve", state.version, history, 0, ())], now=0.0)
        add(ledger, "zoe", (0,) * EVIDENCE.bets, queries=3)
        rows = Snapshot.take(ledger, [MODEL], None).highest(10, before.samples)
        assert {row.account: row.new for row in rows} == {"eve": 5, "ada": 0, "zoe": 3}

    @pytest.mark.slow
    def test_accounts_that_rise_together_are_named(self, uri: str) -> None:
        ledger = open_ledger(uri)
        for name in ("mallory", "trudy"):
            add(ledger, name, (0,) * EVIDENCE.bets)

        def raise_both() -> None:
            for name in ("mallory", "trudy"):
                state = ledger.account(MODEL, name)
                history = dataclasses.replace(
                    state.history, wealth=tuple(wealth + 1_000 for wealth in state.history.wealth)
                )
                ledger.settle(MODEL, [Settlement(name, state.version, history, 0, ())], now=0.0)

        with terminal() as (ours, theirs):
            program = [sys.executable, "-m", "calpow.client", "top", "--seconds", "0.2"]
            with subprocess.Popen(program, stdout=theirs, stderr=theirs) as process:
                read_until(ours, "digits: 4 accounts")
                for _ in range(6):
                    raise_both()
                    time.sleep(0.7)
                read_until(ours, "rising together: mallory, trudy")
                process.send_signal(signal.SIGINT)
                assert process.wait(20) == 0

    @pytest.mark.slow
    def test_a_terminal_is_drawn_anew_until_ctrl_c(self, uri: str) -> None:
        with terminal() as (ours, theirs):
            program = [sys.executable, "-m", "calpow.client", "top", "--seconds", "0.2"]
            with subprocess.Popen(program, stdout=theirs, stderr=theirs) as process:
                read_until(ours, "digits: 2 accounts")
                add(open_ledger(uri), "zoe", (0,) * EVIDENCE.bets)
                read_until(ours, "digits: 3 accounts")
                process.send_signal(signal.SIGINT)
                assert process.wait(20) == 0


def test_the_long_name_of_a_probe_is_shortened(uri: str) -> None:
    name = probe_account(b"payload")
    add(open_ledger(uri), name, (0,) * EVIDENCE.bets)
    for words in (("list",), ("show", name)):
        assert f"{name[:18]}…" in run(*words).stdout
        assert name not in run(*words).stdout


class TestLimits:
    """`calpow account limit`."""

    def test_limits_are_set_shown_changed_and_taken_away(self, uri: str) -> None:
        ledger = open_ledger(uri)
        assert "eve: no limits" in run("limit", "eve").stderr
        options = ("--free", "100/day", "--budget", "10000", "--budget", "500/day", "--ceiling", "30s")
        assert "free 100/day" in run("limit", "eve", *options).stderr
        assert ledger.limits_of("eve") == AccountLimits(100, 10_000, 500, 30.0, None)
        run("limit", "eve", "--ceiling", "20floors", "--free", "0/day", "--budget", "none/day")
        assert ledger.limits_of("eve") == AccountLimits(0, 10_000, None, None, 20.0)
        for command in (("show", "eve"), ("list",)):
            assert "free 0/day (0 used), budget 10000 (0 used), ceiling 20floors" in run(*command).stdout
        assert run("limit", "eve").stderr == "eve: free 0/day, budget 10000, ceiling 20floors\n"
        run("limit", "eve", "--free", "none", "--budget", "none", "--ceiling", "none")
        assert dict(ledger.limits()) == {}
        assert "limits" not in run("list").stdout.splitlines()[0]

    def test_a_group_is_limited_by_its_name(self, uri: str) -> None:
        open_ledger(uri).add_key("acme/ada")
        run("limit", "acme", "--budget", "7")
        assert open_ledger(uri).account(MODEL, "acme/ada").samples_left == 7

    @pytest.mark.parametrize(
        "words",
        [
            ("--free", "100"),
            ("--free", "-1/day"),
            ("--free", "1.5/day"),
            ("--free", "100/hour"),
            ("--free", "100/day/day"),
            ("--free", "9999999999999999/day"),
            ("--budget", "many"),
            ("--budget", "10 000"),
            ("--budget", "1e6"),
            ("--budget", "٣"),
            ("--ceiling", "30"),
            ("--ceiling", "0s"),
            ("--ceiling", "0.5floors"),
            ("--ceiling", "infs"),
            ("--ceiling", "30m"),
            ("--ceiling", ""),
        ],
    )
    def test_nonsense_is_refused_in_one_line(
        self, uri: str, words: tuple[str, str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["account", "limit", "eve", *words]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1
        assert dict(open_ledger(uri).limits()) == {}

    def test_a_mistyped_account_is_refused(self, uri: str) -> None:
        assert "'evee'" in str(refused("limit", "evee", "--free", "1/day"))
