"""An operator's limits: free samples, budgets and ceilings hold exactly, and give away no more than they say."""

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from calpow.handler.ledger.limits import DAY_SECONDS, NO_LIMITS, AccountLimits
from calpow.handler.ledger.uri import open_ledger
from calpow.handler.policy.tariff import Tariff
from tests.support.gate_harness import (
    FLOOR_HASHES,
    MODEL,
    GateHarness,
    TextDecision,
    challenge_of,
    claim_work,
    decision_type,
    next_hashes_of,
    payload_of,
    prepay,
    problem_of,
    rest_challenge,
    skip_fsync,
    trust_stamps,
)

THREADS = 8


@pytest.fixture
def harness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GateHarness:
    trust_stamps(monkeypatch)
    return GateHarness(tmp_path / "ledger.db")


def limit(harness: GateHarness, name: str = "ada", **limits: float) -> None:
    harness.ledger.set_limits(name, AccountLimits(**limits))  # type: ignore[arg-type]  # the tests' own mapping


def answer(harness: GateHarness, text: str, key: str | None = None) -> TextDecision:
    """Return the answer to a request, whose work is claimed as often as it is asked for."""
    decision = harness.ask(text, key=key)
    while decision_type(decision) != "answered":
        decision = harness.ask(text, claim_work(challenge_of(decision)), key)
    return decision


def kinds(decisions: Iterator[TextDecision]) -> Counter[str]:
    return Counter(decision_type(decision) for decision in decisions)


class TestFreeSamples:
    """The first samples of a day, which cost no work."""

    def test_the_first_samples_of_a_day_cost_nothing_and_the_next_one_the_floor(self, harness: GateHarness) -> None:
        limit(harness, free=3)
        assert [next_hashes_of(harness.ask(f"1.0#{number}")) for number in range(3)] == [0, 0, FLOOR_HASHES]
        assert harness.challenge("1.0#3").puzzle.expected_hashes == FLOOR_HASHES
        answer(harness, "1.0#3")
        account = harness.account()
        assert (account.history.queries, account.usage.total, account.usage.today, account.owed) == (4, 4, 4, 0)
        harness.now += DAY_SECONDS
        assert next_hashes_of(harness.ask("1.0#4")) == 0
        assert (harness.account().usage.total, harness.account().usage.today) == (5, 1)

    def test_a_list_is_asked_for_what_is_not_free(self, harness: GateHarness) -> None:
        limit(harness, free=3)
        five = harness.challenge(payload_of(5)).puzzle.expected_hashes
        assert five == pytest.approx(2 * FLOOR_HASHES, rel=0.1)
        assert decision_type(harness.ask(payload_of(5), prepay(harness, five))) == "answered"
        assert decision_type(harness.ask("1.0#next")) == "pow-required"

    def test_evidence_is_charged_all_the_same_and_odd_samples_are_not_free(self, harness: GateHarness) -> None:
        limit(harness, free=1000)
        rest = rest_challenge(harness.ask("2.9#odd"))
        price = Tariff(harness.policy).next(harness.account())
        assert rest.puzzle.expected_hashes >= price > FLOOR_HASHES
        assert decision_type(harness.ask("1.0#plain")) == "pow-required"
        assert decision_type(harness.ask("2.9#odd", claim_work(rest))) == "answered"
        paid = 0
        while decision_type(decision := harness.ask(f"0.5#{paid}")) != "answered":
            paid += 1
            assert decision_type(harness.ask(f"0.5#{paid}", claim_work(challenge_of(decision)))) == "answered"
        assert paid > 2
        assert Tariff(harness.policy).next(harness.account()) == FLOOR_HASHES

    def test_a_thief_gets_nothing_odd_for_nothing(self, harness: GateHarness) -> None:
        """He fills with ordinary samples until the price is at the floor, and tries an odd one again."""
        limit(harness, free=10_000)
        decisions = kinds(
            harness.ask(f"2.0#odd{number}") if number % 20 == 0 else harness.ask(f"0.5#{number}")
            for number in range(400)
        )
        answered = [text for text in harness.runner.passes if text.startswith("2.0")]
        assert decisions["more-required"] == len(answered) > 0

    def test_explanations_are_never_free(self, harness: GateHarness) -> None:
        limit(harness, free=100)
        assert harness.challenge("1.0", explains=True).puzzle.expected_hashes >= 9 * FLOOR_HASHES

    @pytest.mark.parametrize(
        ("text", "problem"), [("?", "bad-payload"), ("!", "answered"), ("*", "pricing-unavailable")]
    )
    def test_a_free_pass_that_fails_counts(self, harness: GateHarness, text: str, problem: str) -> None:
        limit(harness, free=5)
        assert [decision_type(harness.ask(text)) for _ in range(5)] == [problem] * 5
        assert decision_type(harness.ask(text)) == "pow-required"
        assert harness.pass_count == 5

    def test_a_free_pass_beyond_the_budget_counts(self, harness: GateHarness) -> None:
        """Nobody has passes for nothing by hiding more samples than are left."""
        limit(harness, free=100, budget=3)
        decisions = [decision_type(harness.ask(payload_of(4), counted=False)) for _ in range(10)]
        assert decisions == ["budget-exhausted"] * 10
        assert harness.pass_count == 3

    def test_hidden_samples_beyond_the_free_ones_are_paid_before_the_answer_leaves(self, harness: GateHarness) -> None:
        limit(harness, free=3)
        rest = rest_challenge(harness.ask(payload_of(5), counted=False))
        assert rest.puzzle.expected_hashes == pytest.approx(2 * FLOOR_HASHES, rel=0.1)
        assert decision_type(harness.ask(payload_of(5), claim_work(rest), counted=False)) == "answered"
        assert harness.account().usage.today == 5

    def test_a_group_and_a_member_each_allow_what_they_allow(self, harness: GateHarness) -> None:
        keys = [harness.ledger.add_key(name) for name in ("acme/ada", "acme/bob")]
        limit(harness, "acme", free=5)
        limit(harness, "acme/ada", free=2)
        assert kinds(harness.ask(f"1.0#a{number}", key=keys[0]) for number in range(4)) == {
            "answered": 2,
            "pow-required": 2,
        }
        assert kinds(harness.ask(f"1.0#b{number}", key=keys[1]) for number in range(5)) == {
            "answered": 3,
            "pow-required": 2,
        }

    def test_a_clock_that_is_set_back_renews_nothing_and_a_wrong_one_heals(self, harness: GateHarness) -> None:
        limit(harness, free=1)
        assert decision_type(harness.ask("1.0#0")) == "answered"
        harness.now -= DAY_SECONDS
        assert decision_type(harness.ask("1.0#1")) == "pow-required"
        harness.now += 400 * DAY_SECONDS
        assert decision_type(harness.ask("1.0#2")) == "answered"
        harness.now -= 399 * DAY_SECONDS
        assert decision_type(harness.ask("1.0#3")) == "answered"
        assert decision_type(harness.ask("1.0#4")) == "pow-required"

    @pytest.mark.slow
    def test_two_servers_never_give_more_than_is_free(
        self, harness: GateHarness, uri: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        decisions = race(harness, uri, monkeypatch, {"acme": AccountLimits(free=25)}, lambda _: None)
        assert decisions["answered"] == 25
        assert set(decisions) <= {"answered", "more-required", "pow-required", "ledger-unavailable"}

    @pytest.mark.slow
    def test_two_servers_never_give_one_account_more_than_is_free(
        self, harness: GateHarness, uri: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        limits = {"acme/user0": AccountLimits(free=25)}
        assert race(harness, uri, monkeypatch, limits, lambda _: None, members=1)["answered"] == 25


def race(
    harness: GateHarness,
    uri: str,
    monkeypatch: pytest.MonkeyPatch,
    limits: dict[str, AccountLimits],
    pay: Callable[[str], str | None],
    members: int = 4,
) -> Counter[str]:
    """Return the kinds of decisions on 80 requests of members of a group, from eight threads on two servers."""
    skip_fsync(monkeypatch)
    harness.ledger = open_ledger(uri)
    harness.gate = harness.worker_on(harness.ledger)
    for name, limited in limits.items():
        harness.ledger.set_limits(name, limited)
    keys = [harness.ledger.add_key(f"acme/user{number}") for number in range(members)]
    gates = [harness.worker_on(open_ledger(uri)) for _ in range(2)]
    payers = [keys[number % members] for number in range(80)]
    requests = [harness.request(f"1.0#{number}", pay(key), key) for number, key in enumerate(payers)]

    def ask(number: int) -> TextDecision:
        return gates[number % 2].answer([requests[number]], harness.runner.run)[0]

    with ThreadPoolExecutor(THREADS) as pool:
        decisions = kinds(pool.map(ask, range(len(requests))))
    assert harness.ledger.account(MODEL, "acme").usage.total >= decisions["answered"]
    return decisions


class TestBudget:
    """The most samples that are answered."""

    def test_beyond_it_nothing_is_answered_and_no_work_is_asked_for(self, harness: GateHarness) -> None:
        limit(harness, budget=2)
        paid = [harness.pay(f"1.0#{number}") for number in range(3)]
        assert [decision_type(harness.ask(f"1.0#{number}", paid[number])) for number in range(2)] == ["answered"] * 2
        rows = harness.rows()
        for decision in (harness.ask("1.0#2", paid[2]), harness.ask("1.0#2"), harness.ask("1.0#2", "nonsense")):
            problem = problem_of(decision)
            assert (problem.type, problem.status, problem.challenge) == ("budget-exhausted", 403, None)
        assert (harness.pass_count, harness.rows()) == (2, rows)
        limit(harness, budget=3)
        assert decision_type(harness.ask("1.0#2", paid[2])) == "answered"

    def test_a_retry_of_a_settled_answer_is_still_answered(self, harness: GateHarness) -> None:
        limit(harness, budget=1)
        paid = harness.pay("1.0")
        assert [decision_type(harness.ask("1.0", paid)) for _ in range(2)] == ["answered"] * 2
        assert harness.account().usage.total == 1
        assert decision_type(harness.ask("1.0#other", paid)) == "budget-exhausted"

    def test_the_rest_of_a_withheld_answer_can_still_be_paid(self, harness: GateHarness) -> None:
        limit(harness, budget=12)
        text = " ".join(f"2.9#{number}" for number in range(12))
        paid = claim_work(harness.challenge("1.0"))
        rest = rest_challenge(harness.ask(text, paid, counted=False))
        assert harness.account().usage.total == 12
        assert decision_type(harness.ask("1.0")) == "budget-exhausted"
        assert decision_type(harness.ask(text, claim_work(rest), counted=False)) == "answered"
        assert harness.account().usage.total == 12

    def test_samples_that_could_not_be_counted_are_refused_and_cost_nothing(self, harness: GateHarness) -> None:
        limit(harness, budget=3)
        paid, before = harness.pay("1.0"), harness.account()
        assert decision_type(harness.ask(payload_of(4), paid, counted=False)) == "budget-exhausted"
        assert harness.account() == before
        assert decision_type(harness.ask(payload_of(4))) == "budget-exhausted"
        assert decision_type(harness.ask("1.0", paid)) == "answered"

    def test_in_one_batch_no_more_is_answered_than_is_left(self, harness: GateHarness) -> None:
        limit(harness, budget=2)
        requests = [harness.request(f"1.0#{number}", harness.pay("1.0")) for number in range(4)]
        assert kinds(iter(harness.batch(*requests))) == {"answered": 2, "budget-exhausted": 2}

    def test_a_days_budget_is_new_on_the_next_day_and_both_can_be_set(self, harness: GateHarness) -> None:
        limit(harness, budget=3, day_budget=2)
        for day, expected in enumerate((2, 1, 0)):
            decisions = kinds(harness.ask(f"1.0#{day}.{n}", prepay(harness, FLOOR_HASHES)) for n in range(3))
            assert decisions["answered"] == expected
            harness.now += DAY_SECONDS

    def test_a_groups_budget_is_shared_and_free_samples_count(self, harness: GateHarness) -> None:
        keys = [harness.ledger.add_key(name) for name in ("acme/ada", "acme/bob")]
        limit(harness, "acme", budget=3, free=100)
        decisions = kinds(harness.ask(f"1.0#{number}", key=keys[number % 2]) for number in range(6))
        assert decisions == {"answered": 3, "budget-exhausted": 3}

    @pytest.mark.slow
    def test_two_servers_never_answer_more_than_the_budget(
        self, harness: GateHarness, uri: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        limits = {"acme": AccountLimits(budget=25)}
        decisions = race(harness, uri, monkeypatch, limits, lambda key: prepay(harness, FLOOR_HASHES, key))
        assert decisions["answered"] + decisions["ledger-unavailable"] >= 25
        assert decisions["answered"] <= 25
        assert set(decisions) <= {"answered", "budget-exhausted", "ledger-unavailable"}


class TestCeiling:
    """The most work that a sample is asked for."""

    @pytest.mark.parametrize("limits", [AccountLimits(ceiling_floors=4), AccountLimits(ceiling_seconds=0.004)])
    def test_no_sample_is_asked_for_more(self, harness: GateHarness, limits: AccountLimits) -> None:
        harness.ledger.set_limits("ada", limits)
        tariff = Tariff(harness.policy)
        for number in range(20):
            asked = harness.challenge(f"2.9#{number}").puzzle.expected_hashes
            assert asked <= 4 * FLOOR_HASHES
            assert next_hashes_of(answer(harness, f"2.9#{number}")) <= 4 * FLOOR_HASHES
        assert tariff.next(harness.account()) > 3 * FLOOR_HASHES
        assert tariff.next(harness.account()._replace(limits=NO_LIMITS)) > 100 * FLOOR_HASHES
        odd = " ".join(f"2.9#list{number}" for number in range(10))
        assert harness.challenge(odd).puzzle.expected_hashes <= 1.2 * 41 * FLOOR_HASHES  # a step

    def test_what_was_owed_before_is_asked_for_up_to_the_ceiling(self, harness: GateHarness) -> None:
        for number in range(8):
            answer(harness, f"2.9#{number}")
        dear = harness.challenge("1.0").puzzle.expected_hashes
        limit(harness, ceiling_floors=2)
        assert dear > 100 * FLOOR_HASHES
        paid = harness.pay("1.0#plain")
        assert decision_type(harness.ask("1.0#plain", paid)) == "answered"
        assert harness.challenge("1.0").puzzle.expected_hashes <= 2 * FLOOR_HASHES

    def test_a_groups_ceiling_holds_for_its_members_and_the_lower_one_counts(self, harness: GateHarness) -> None:
        key = harness.ledger.add_key("acme/ada")
        for number in range(8):
            answer(harness, f"2.9#{number}", key)
        tariff = Tariff(harness.policy)
        limit(harness, "acme", ceiling_floors=8)
        assert tariff.next(harness.account("acme/ada")) <= 8 * FLOOR_HASHES
        limit(harness, "acme/ada", ceiling_floors=2)
        assert tariff.next(harness.account("acme/ada")) <= 2 * FLOOR_HASHES
        harness.ledger.set_limits("acme/ada", NO_LIMITS)
        harness.ledger.set_limits("acme", NO_LIMITS)
        assert tariff.next(harness.account("acme/ada")) > 100 * FLOOR_HASHES

    def test_a_ceiling_below_the_floor_is_the_floor(self, harness: GateHarness) -> None:
        limit(harness, ceiling_seconds=1e-6)
        assert harness.challenge("1.0").puzzle.expected_hashes == FLOOR_HASHES
