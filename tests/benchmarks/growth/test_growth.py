"""The ledgers that growth is measured on are such as the gate itself writes, and answers on them are paid."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from benchmarks.growth import served_payloads
from benchmarks.growth.curve import Curve, slope, times_in_turns
from benchmarks.growth.growth_page import PANELS, findings, redis_findings
from benchmarks.growth.large_ledgers import add_expired, add_keys, fill
from benchmarks.growth.prepaid_answers import MODEL, Size, file_gate, policy, redis_gate
from benchmarks.growth.redis_ledgers import IDS
from benchmarks.growth.redis_series import ON_REDIS, account_curve, id_curves
from benchmarks.growth.series import (
    ACCOUNTS,
    EXPIRED,
    GATE,
    GATE_SERIES,
    PAYLOAD,
    SCORE_SERIES,
    SPENT,
    GateSeries,
    gate_curve,
)
from benchmarks.growth.served_payloads import PARTS, SERVED_PAYLOAD, served_curves
from benchmarks.results.exhibit import Exhibit, write
from benchmarks.results.origin import Origin
from calpow.archiver.ledger_care.redis_inspection import inspect_redis
from calpow.handler.ledger.history import DIGEST_BYTES, DIGESTS, SKETCH_BYTES, SKETCHES
from calpow.handler.ledger.sqlite.sqlite_ledger import SqliteLedger
from calpow.handler.ledger.uri import open_ledger
from tests.support.ledgers import NOW, use
from tests.support.redis_servers import redis_binary, redis_server

BETS = 6


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where a ledger may be."""
    return tmp_path / "ledger.db"


def test_accounts_have_sent_as_many_queries_as_they_should(path: Path) -> None:
    names = fill(path, MODEL, 20, BETS, queries=100)
    assert len(set(names)) == 20
    for name in names:
        history = SqliteLedger(path).account(MODEL, name).history
        assert (history.queries, history.wealth) == (100, (0,) * BETS)
        assert len(history.digests + history.new_digests) == 100 * DIGEST_BYTES
        assert len(history.sketches + history.new_sketches) == 100 * SKETCH_BYTES


def test_the_ledger_keeps_the_last_samples_of_an_account_alone(path: Path) -> None:
    (name,) = fill(path, MODEL, 1, BETS, queries=1_000_000)
    history = SqliteLedger(path).account(MODEL, name).history
    assert len(history.digests) == DIGESTS * DIGEST_BYTES
    assert len(history.sketches) == SKETCHES * SKETCH_BYTES


def test_accounts_differ_as_users_do(path: Path) -> None:
    names = fill(path, MODEL, 50, BETS)
    assert len({SqliteLedger(path).account(MODEL, name).history.queries for name in names}) > 20


def test_keys_lead_to_accounts(path: Path) -> None:
    names = fill(path, MODEL, 5, BETS)
    keys = add_keys(path, names, 3)
    assert {SqliteLedger(path).account_of(key) for key in keys} <= set(names)
    assert len(SqliteLedger(path).keys()) == 8


def test_expired_records_are_removed_by_answers(path: Path) -> None:
    fill(path, MODEL, 1, BETS)
    add_expired(path, 2_000)
    ledger = SqliteLedger(path)
    assert rows_of(ledger) == [1_000, 1_000]
    ledger.admit([use(f"id {number}") for number in range(32)], now=NOW)
    assert all(count < 1_000 for count in rows_of(ledger))


@pytest.mark.parametrize("size", [Size(accounts=3), Size(classes=3, requests=4), Size(payload=50_000, parsed=True)])
def test_answers_are_paid_and_timed(tmp_path: Path, size: Size) -> None:
    gate = file_gate(tmp_path / "ledger.db", size)
    assert gate.seconds() > 0
    # An answer is charged within the clock: its solution is spent.
    assert rows_of(SqliteLedger(tmp_path / "ledger.db")) == [2 * size.requests, size.requests]


def test_ordinary_samples_leave_an_account_without_wealth() -> None:
    evidence = policy(4).evidence
    assert set(evidence.beginning) == {0}
    assert len(evidence.tests[0].high) == 4


def curve(grows: str, sizes: Sequence[int], time_at: Callable[[int], float]) -> Curve:
    """Return a curve without any noise."""
    return Curve(grows, GATE, sizes, [[time_at(size)] * 8 for size in sizes])


def test_what_stays_has_the_exponent_0() -> None:
    flat = curve(ACCOUNTS, (100, 1_000, 10_000), lambda size: 3e-4)
    assert flat.exponent == pytest.approx(0)
    assert flat.exponents_of_parts == pytest.approx([0] * 4)
    assert flat.exponent_of_added is None


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_a_fixed_cost_is_told_apart_from_what_grows(power: float) -> None:
    grown = curve(PAYLOAD, (1, 1_000, 2_000, 5_000, 10_000), lambda size: 5e-5 + 1e-6 * size**power)
    assert grown.exponent_of_added == pytest.approx(power, abs=0.01)
    assert grown.exponent < power


def test_a_slope_is_that_of_the_logarithms() -> None:
    assert slope([(1, 5), (10, 500), (100, 50_000)]) == pytest.approx(2)


def test_all_take_turns_in_another_order_each_round_and_the_second_call_of_a_turn_counts() -> None:
    calls: list[str] = []

    def timed(name: str) -> float:
        calls.append(name)
        return float(len(calls))

    columns = times_in_turns([lambda: timed("a"), lambda: timed("b")], range(20), "turns")
    rounds = ["".join(calls[begin : begin + 4]) for begin in range(0, len(calls), 4)]
    assert set(rounds) == {"aabb", "bbaa"}
    assert sorted(columns[0] + columns[1]) == [2.0 * turn for turn in range(1, 41)]


def test_a_quick_run_leaves_out_large_ledgers(tmp_path: Path) -> None:
    series = GateSeries(ACCOUNTS, "accounts", (10, 20, 1_000_000), 5)
    assert list(gate_curve(series, tmp_path, quick=True).sizes) == [10, 20]
    assert not list(tmp_path.iterdir())


def test_a_ledger_in_redis_is_filled_with_what_the_gate_writes(tmp_path: Path) -> None:
    with redis_server(redis_binary(), tmp_path) as server:
        uri, now = server.uri(), time.time()
        gate = redis_gate(uri, Size(accounts=20, expired=200), now + 600)
        assert gate.seconds() > 0
        ledger = open_ledger(uri)
        assert len([one for one in ledger.summaries(MODEL) if one.name.startswith("user-")]) == 20
        kept = server.client()
        # Whole solutions of prepaid stamps are spent, and the two stamps of the answer.
        assert len(list(kept.scan_iter("*:id:*"))) == 7 * IDS + 2
        (fault,) = inspect_redis(uri).faults
        assert "set appendonly yes" in fault  # which a server for tests is not


def test_answers_on_redis_are_timed_as_accounts_and_ids_grow(tmp_path: Path) -> None:
    accounts = account_curve(ACCOUNTS, (5, 10), tmp_path, quick=True)
    assert (accounts.part, [len(column) for column in accounts.seconds]) == (ON_REDIS, [20, 20])
    (ids,) = id_curves(EXPIRED, (40, 80), tmp_path, quick=True)
    assert list(ids.sizes) == [40, 80]
    assert not list(tmp_path.iterdir())


def test_every_series_has_a_panel_and_at_least_four_sizes() -> None:
    every = (*GATE_SERIES, *SCORE_SERIES)
    assert {*(series.name for series in every), SERVED_PAYLOAD} == set(PANELS)
    assert all(len(series.sizes) >= 4 for series in every)


def test_the_page_has_each_exponent_each_number_and_a_picture(tmp_path: Path) -> None:
    curves = [
        curve(ACCOUNTS, (10, 100), lambda size: 1e-4 * size**0.3),
        curve(PAYLOAD, (1, 10, 100), lambda size: 1e-4 * size),
    ]
    shown = findings(curves)
    write(Exhibit("growth", "Growth", lambda _: shown), shown, Origin("python", "abc", "today", 1), tmp_path)
    page = (tmp_path / "growth.md").read_text()
    # Accounts should not matter, payloads may.
    assert "| accounts | gate | 10 | 100 | 200 | 398 | **2.00** | 0.30 |" in page
    assert "| bytes of a payload | gate | 1 | 100 | 100 | 10,000 | 100.00 | 1.00 | 1.00 to 1.00 | 1.00 |" in page
    assert len((tmp_path / "growth.csv").read_text().splitlines()) == 1 + 2 + 3
    assert (tmp_path / "growth.png").read_bytes().startswith(b"\x89PNG")


def test_answers_over_http_stand_beside_those_of_the_unprotected_model() -> None:
    served = [
        Curve(SERVED_PAYLOAD, part, (10, 100, 1_000), [[1e-3 * number * size for size in (1, 2, 3, 4)]] * 3)
        for number, part in enumerate(PARTS, 1)
    ]
    rows = [line for line in findings(served).text if line.startswith("| 1,000 |")]
    assert rows == ["| 1,000 | 2.5 | 5.0 | 2.00 (2.00 to 2.00) | 7.5 | 10.0 | 1.33 (1.33 to 1.33) |"]


@pytest.mark.server
@pytest.mark.long
def test_protected_and_unprotected_models_answer_payloads_of_every_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served_payloads, "SIZES", (10_000, 1_000_000))
    monkeypatch.setattr(served_payloads, "QUICK_ROUNDS", 2)
    curves = list(served_curves(tmp_path, quick=True))
    assert [curve.part for curve in curves] == list(PARTS)
    assert all(len(column) == 2 and min(column) > 0 for curve in curves for column in curve.seconds)
    assert not list(tmp_path.iterdir())


def test_the_page_on_redis_has_each_row_and_marks_what_takes_longer() -> None:
    shown = redis_findings([curve(SPENT, (10, 100), lambda size: 1e-4 * size**0.3)])
    assert "| spent ids | gate | 10 | 100 | 200 | 398 | **2.00** | 0.30 |" in "\n".join(shown.text)
    assert len(shown.rows) == 2


def rows_of(ledger: SqliteLedger) -> list[int]:
    """Return the numbers of ids and of outcomes."""
    return [ledger._file.query(f"SELECT count(*) FROM {table}")[0][0] for table in ("uses", "outcomes")]
