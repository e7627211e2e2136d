"""The audit has a line for each solution that was presented, and none of what is secret."""

import json
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from calpow.handler.errors import GateMisconfigured, LedgerUnavailable
from calpow.handler.gate import audit as module
from calpow.handler.gate.audit import AuditFile, AuditLine, Event, Settling
from calpow.handler.gate.gate import Gate
from calpow.handler.ledger.settlement import Settlement
from calpow.handler.ledger.sqlite.sqlite_ledger import SqliteLedger
from calpow.handler.ledger.uri import open_ledger
from tests.support.gate_harness import MODEL, START, GateHarness, challenge_of, payload_of, solution

LINE = AuditLine(START, "request-1", MODEL, "ada", Event.charged, Settling(1, 992, 992, 0, False), None)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "logs" / "audit.jsonl"


@pytest.fixture
def audited(harness: GateHarness, file: Path) -> tuple[Gate, AuditFile]:
    """A worker's gate with an audit."""
    audit = AuditFile(file)
    return harness.worker_on(open_ledger(f"sqlite:///{harness.path}"), audit), audit


def lines(audited: tuple[Gate, AuditFile], file: Path) -> list[dict[str, Any]]:
    assert audited[1].flush(10)
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_a_paid_answer_is_a_charge(harness: GateHarness, audited: tuple[Gate, AuditFile], file: Path) -> None:
    paid = harness.pay("1.0")
    harness.ask("1.0", paid, gate=audited[0])
    (line,) = lines(audited, file)
    price = line.pop("price")
    assert 0 < price <= line["work"]
    assert line == {
        "at": START,
        "request": "request-1",
        "model": MODEL,
        "account": "ada",
        "event": "charged",
        "samples": 1,
        "work": line["work"],
        "rest": 0,
        "problem": None,
    }


def test_who_presents_no_work_or_is_nobody_leaves_no_line(
    harness: GateHarness, audited: tuple[Gate, AuditFile], file: Path
) -> None:
    harness.ask("1.0", gate=audited[0])
    harness.ask("1.0", "prepaid x", key="cp_00000000_" + "0" * 48, gate=audited[0])
    assert lines(audited, file) == []


def test_a_retry_is_not_charged_and_another_request_is_refused(
    harness: GateHarness, audited: tuple[Gate, AuditFile], file: Path
) -> None:
    paid = harness.pay("1.0")
    for text in ("1.0", "1.0", "1.1"):
        harness.ask(text, paid, gate=audited[0])
    assert [(line["event"], line["problem"]) for line in lines(audited, file)] == [
        ("charged", None),
        ("uncharged", None),
        ("refused", "challenge-spent"),
    ]


class LosingLedger(SqliteLedger):
    """A ledger that writes its first settlement, and whose reply is lost."""

    lost = False

    def settle(self, model: str, settlements: Sequence[Settlement], *, now: float) -> list[bool]:
        written = super().settle(model, settlements, now=now)
        if not self.lost:
            self.lost = True
            raise LedgerUnavailable("the reply is lost")
        return written


def test_a_charge_whose_reply_is_lost_is_not_passed_over(harness: GateHarness, file: Path) -> None:
    audit = AuditFile(file)
    gate = harness.worker_on(LosingLedger(harness.path), audit)
    paid = harness.pay("1.0")
    for _ in range(2):
        harness.ask("1.0", paid, gate=gate)
    unknown, retry = lines((gate, audit), file)
    assert (unknown["event"], unknown["problem"], unknown["samples"]) == ("unknown", "ledger-unavailable", 1)
    assert unknown["price"] > 0
    assert (retry["event"], retry["price"]) == ("uncharged", 0)


def test_what_is_no_solution_leaves_no_line(harness: GateHarness, audited: tuple[Gate, AuditFile], file: Path) -> None:
    for solution_text in ("x", "prepaid", "prepaid 1:1:1", "a.b.c stamp"):
        harness.ask("1.0", solution_text, gate=audited[0])
    assert lines(audited, file) == []


def test_a_withheld_answer_is_charged_once(harness: GateHarness, audited: tuple[Gate, AuditFile], file: Path) -> None:
    text = payload_of(8)
    asked = challenge_of(harness.ask(text, counted=False, gate=audited[0]))
    more = challenge_of(harness.ask(text, solution(asked), counted=False, gate=audited[0]))
    harness.ask(text, solution(more), counted=False, gate=audited[0])
    withheld, rest = lines(audited, file)
    assert (withheld["event"], withheld["problem"], withheld["samples"]) == ("withheld", "more-required", 8)
    assert withheld["rest"] == withheld["price"] - withheld["work"]
    assert (rest["event"], rest["problem"], rest["rest"]) == ("rest-paid", None, 0)
    assert rest["price"] == withheld["price"] <= rest["work"]


def test_no_key_token_stamp_or_payload_is_in_it(
    harness: GateHarness, audited: tuple[Gate, AuditFile], file: Path
) -> None:
    paid = harness.pay("1.0#payload")
    harness.ask("1.0#payload", paid, gate=audited[0])
    harness.ask("1.0#payload", "prepaid garbage", gate=audited[0])
    assert len(lines(audited, file)) == 1
    text = file.read_text()
    assert not any(part in text for part in (harness.key, *paid.split(), "payload", "garbage"))


def test_the_file_may_be_taken_away_at_any_time(file: Path) -> None:
    audit = AuditFile(file)
    audit.write([LINE])
    assert audit.flush(10)
    file.rename(file.with_suffix(".1"))
    audit.write([LINE, LINE])
    assert audit.flush(10)
    assert [len(path.read_text().splitlines()) for path in (file.with_suffix(".1"), file)] == [1, 2]
    assert file.stat().st_mode & 0o077 == 0


def test_lines_wait_while_the_file_cannot_be_written(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SECONDS_UNTIL_RETRY", 0.05)
    audit = AuditFile(file)
    file.unlink()
    file.mkdir()
    audit.write([LINE])
    assert not audit.flush(0.2)
    file.rmdir()
    assert audit.flush(10)
    assert len(file.read_text().splitlines()) == 1


def test_what_cannot_wait_is_lost_and_said_to_be(
    file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "MOST_WAITING", 2)
    monkeypatch.setattr(module, "_SECONDS_UNTIL_RETRY", 0.05)
    audit = AuditFile(file)
    file.unlink()
    file.mkdir()
    for _ in range(5):
        audit.write([LINE])
    file.rmdir()
    assert audit.flush(10)
    assert len(file.read_text().splitlines()) == 2
    assert "a line of the audit is lost" in caplog.text


def test_several_threads_lose_nothing(file: Path) -> None:
    audit = AuditFile(file)

    def write() -> None:
        for _ in range(500):
            audit.write([LINE])

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert audit.flush(10)
    assert len([json.loads(line) for line in file.read_text().splitlines()]) == 2_000


def test_a_line_takes_the_request_next_to_no_time(file: Path) -> None:
    audit = AuditFile(file)
    begun = time.perf_counter()
    for _ in range(1_000):
        audit.write([LINE])
    assert (time.perf_counter() - begun) / 1_000 < 0.001


@pytest.mark.parametrize("named", ["audit.jsonl", "/proc/none/audit.jsonl"])
def test_a_file_that_cannot_be_is_refused_at_load(named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALPOW_AUDIT", named)
    with pytest.raises(GateMisconfigured, match=r"audits? cannot go to "):
        AuditFile.from_environment()


def test_there_is_none_where_none_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CALPOW_AUDIT", raising=False)
    assert AuditFile.from_environment() is None
