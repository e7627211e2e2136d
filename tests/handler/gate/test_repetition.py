"""A sample that an account was answered before reveals nothing: it costs the floor and changes nothing."""

from pathlib import Path

import pytest

from calpow.handler.gate.interface import Released
from calpow.handler.policy.calibrated_policy import PolicyName
from calpow.handler.policy.tariff import Tariff
from calpow.puzzle.wire import Challenge
from tests.support.calibrations import identity
from tests.support.gate_harness import (
    FLOOR_HASHES,
    GateHarness,
    WatchedLedger,
    challenge_of,
    claim_work,
    decision_type,
    payload_of,
    skip_fsync,
    trust_stamps,
    work_of,
)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    trust_stamps(monkeypatch)
    skip_fsync(monkeypatch)


def buy(harness: GateHarness, text: str, first: Challenge | None = None, *, counted: bool = True) -> int:
    """Do whatever is asked for until a text is answered, and return the work of it."""
    work = 0
    challenge = first or challenge_of(harness.ask(text, counted=counted))
    while True:
        header = claim_work(challenge)
        work += work_of(header)
        decision = harness.ask(text, header, counted=counted)
        if isinstance(decision, Released):
            return work
        challenge = challenge_of(decision)


def make_dear(harness: GateHarness, odd: int = 6) -> None:
    """Send as many odd samples as make the account dear, and pay for them."""
    for number in range(odd):
        buy(harness, f"2.5#dear{number}")


def test_an_account_is_known_by_all_its_samples_whatever_of_them_a_settlement_writes(harness: GateHarness) -> None:
    """Most settlements write the new samples alone, and every 32nd sample takes the old ones with it."""
    texts: list[str] = []
    for size in (1, 15, 15, 1, 40, 3, 29, 31):
        words = [f"1.0#{number}" for number in range(len(texts), len(texts) + size)]
        buy(harness, " ".join(words))
        texts += words
        history = harness.account().history
        assert history.digests + history.new_digests == b"".join(identity(text).digest for text in texts)
    assert len(history.digests) > 0 < len(history.new_digests)


@pytest.mark.parametrize("cost", ["1.0", "1.5", "2.5"])
def test_a_repeated_sample_is_neither_charged_nor_credited_and_costs_the_floor(harness: GateHarness, cost: str) -> None:
    make_dear(harness)
    buy(harness, f"{cost}#it")
    before, paid = harness.account(), claim_work(harness.challenge("1.0"))
    assert decision_type(harness.ask(f"{cost}#it", paid)) == "answered"
    after = harness.account()
    assert after.history == before.history
    assert after.owed == max(before.owed + FLOOR_HASHES - work_of(paid), -price(harness))


@pytest.mark.parametrize(
    "around",
    ["2.5#it", "1.0#a 2.5#it", "2.5#it 1.0#a 2.5#it", "2.5#it 2.5#b 2.5#it"],
    ids=["alone", "last", "twice", "odd"],
)
@pytest.mark.parametrize("counted", [True, False])
def test_it_is_known_in_whatever_request_it_comes(harness: GateHarness, around: str, *, counted: bool) -> None:
    plain = GateHarness(harness.path.with_name("plain.db"))
    for one in (harness, plain):
        buy(one, "2.5#it")
    buy(harness, around, counted=counted)
    buy(plain, " ".join(word for word in around.split() if word != "2.5#it") or "2.5#it", counted=counted)
    # Both accounts have the same samples behind them.
    assert harness.account().history == plain.account().history


def test_it_is_known_within_one_batch_and_by_another_worker(harness: GateHarness) -> None:
    paid = [claim_work(harness.challenge("1.0")) for _ in range(3)]
    decisions = harness.batch(*(harness.request("1.5#it", header) for header in paid))
    assert [decision_type(decision) for decision in decisions] == ["answered"] * 3
    assert harness.account().history.queries == 1
    harness.gate = harness.worker()
    before = harness.account().history
    buy(harness, "1.5#it")
    assert harness.account().history == before


def test_two_workers_that_answer_the_same_sample_at_once_charge_it_once(harness: GateHarness) -> None:
    other = harness.worker()
    paid = [claim_work(harness.challenge("1.0")) for _ in range(2)]

    def overtake() -> None:
        if len(ledger.calls) == 1:
            assert decision_type(harness.ask("1.5#it", paid[1], gate=other)) == "answered"

    ledger = WatchedLedger(harness.path, overtake)
    assert decision_type(harness.ask("1.5#it", paid[0], gate=harness.worker_on(ledger))) == "answered"
    assert len(ledger.calls) == 2, "the account had changed"
    history = harness.account().history
    assert (history.queries, history.cost_micro, len(history.new_digests)) == (1, 1_500_000, 8)


def test_what_is_asked_for_a_repeated_sample_is_what_is_asked_for_any_other(harness: GateHarness) -> None:
    make_dear(harness, 3)
    challenges = [harness.challenge(text) for text in ("2.5#dear0", "2.5#dear2", "2.5#new", "0.1", "?", "!")]
    assert len({challenge.puzzle.expected_hashes for challenge in challenges}) == 1
    assert challenges[0].puzzle.expected_hashes > FLOOR_HASHES


# ---- Withheld answers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["2.5#a 2.5#b", payload_of(4), payload_of(40), payload_of(8, 2.5), "2.5 2.5 2.5"])
@pytest.mark.parametrize("odd", [0, 2, 6])
@pytest.mark.parametrize("again_counted", [True, False])
def test_whoever_sends_a_withheld_request_again_instead_of_paying_its_rest_pays_no_less(
    tmp_path: Path, text: str, odd: int, *, again_counted: bool
) -> None:
    patient, stubborn = (GateHarness(tmp_path / f"{name}.db") for name in ("patient", "stubborn"))
    bills = []
    for harness in (patient, stubborn):
        make_dear(harness, odd)
        owed = harness.account().owed
        header = claim_work(challenge_of(harness.ask(text, counted=False)))
        decision = harness.ask(text, header, counted=False)
        assert decision_type(decision) == "more-required"
        rest = challenge_of(decision) if harness is patient else None
        work = work_of(header) + buy(harness, text, rest, counted=harness is stubborn and again_counted)
        bills.append(work + harness.account().owed - owed)
    assert bills[1] >= bills[0]
    assert bills[0] > 0


def test_a_withheld_sample_is_repeated_only_once_its_rest_is_paid(harness: GateHarness) -> None:
    text = "2.5#a 2.5#b"
    header = claim_work(challenge_of(harness.ask(text, counted=False)))
    rest = challenge_of(harness.ask(text, header, counted=False))
    charged = harness.account().history
    assert (charged.queries, charged.new_digests) == (2, b"")
    buy(harness, text, rest, counted=False)
    before = harness.account().history
    assert (before.queries, before.wealth, len(before.new_digests)) == (2, charged.wealth, 16)
    buy(harness, text)
    assert harness.account().history == before


def test_a_withheld_list_earns_credit_only_once_it_is_paid_for(harness: GateHarness) -> None:
    make_dear(harness)
    dear, text = price(harness), payload_of(100)
    for _ in range(3):
        header = claim_work(challenge_of(harness.ask(text, counted=False)))
        rest = challenge_of(harness.ask(text, header, counted=False))
        assert price(harness) == dear
    buy(harness, text, rest, counted=False)
    assert price(harness) == FLOOR_HASHES


def test_nothing_is_free_however_often_it_is_sent(harness: GateHarness) -> None:
    work, owed = 0, 0
    for _ in range(20):
        work += buy(harness, "1.0#it")
        assert work + harness.account().owed - owed >= FLOOR_HASHES
    assert work + harness.account().owed >= 20 * FLOOR_HASHES


# ---- The life of an account -----------------------------------------------------------------------------------------


def price(harness: GateHarness) -> int:
    return Tariff(harness.policy).next(harness.account())


def test_strangers_raise_the_price_one_after_another_and_ordinary_samples_bring_it_back_to_the_floor(
    harness: GateHarness,
) -> None:
    prices = []
    for number in range(10):
        buy(harness, f"2.5#odd{number}")
        prices.append(price(harness))
    assert prices == sorted(prices)
    assert prices[0] <= 2 * FLOOR_HASHES
    assert prices[-1] > 2000 * FLOOR_HASHES
    falling = []
    for number in range(120):
        buy(harness, f"1.0#plain{number}")
        falling.append(price(harness))
    assert falling == sorted(falling, reverse=True)
    assert falling[-1] == FLOOR_HASHES


def test_repeating_one_cheap_payload_does_not_bring_the_price_down(harness: GateHarness) -> None:
    buy(harness, "1.0#cheap")
    make_dear(harness, 4)
    dear = price(harness)
    for _ in range(10):
        buy(harness, "1.0#cheap")
    assert price(harness) == dear > 20 * FLOOR_HASHES
    buy(harness, "1.0#another")
    assert price(harness) < dear


def test_the_papers_policy_does_not_charge_a_repeated_sample_either(tmp_path: Path) -> None:
    harness = GateHarness(tmp_path / "paper.db", name=PolicyName.paper)
    buy(harness, "2.5#it")
    before = harness.account().history
    assert before.queries == 1
    buy(harness, "2.5#it")
    assert harness.account().history == before
