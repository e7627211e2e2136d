"""Retries and failures: a lost connection costs nothing, and a solution makes five passes at most."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from calpow.handler.gate.interface import PassResult
from calpow.handler.ledger.ledger import FAILURE_SECONDS, MOST_FAILURES
from calpow.handler.ledger.solutions import MOST_USES, RETRY_SECONDS
from calpow.puzzle.wire import format_prepaid
from tests.support.gate_harness import (
    FLOOR_HASHES,
    GateHarness,
    claim_work,
    decision_type,
    payload_of,
    prepaid_stamps,
    prepay,
    problem_of,
    released,
    rest_challenge,
    solution,
)
from tests.support.text_runner import TextRequest

# ---- Retries --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prepaid", [False, True])
def test_the_same_request_with_the_same_work_is_answered_again_without_a_charge(
    harness: GateHarness, prepaid: bool
) -> None:
    paid = prepay(harness, 1000) if prepaid else harness.pay("1.0")
    first = released(harness.ask("1.5", paid))
    account = harness.account()
    assert released(harness.ask("1.5", paid)) == first
    assert released(harness.ask("1.5", paid, gate=harness.worker())) == first
    assert harness.account() == account


def test_the_order_of_prepaid_stamps_makes_no_other_work_of_them(harness: GateHarness) -> None:
    stamps = prepaid_stamps(harness, 1000)
    released(harness.ask("1.0", format_prepaid(stamps)))
    released(harness.ask("1.0", format_prepaid(stamps[::-1])))
    assert harness.account().history.queries == 1


def test_one_work_makes_five_passes_at_most(harness: GateHarness) -> None:
    paid = harness.pay("1.0")
    decisions = [decision_type(harness.ask("1.0", paid)) for _ in range(MOST_USES + 3)]
    assert decisions == ["answered"] * MOST_USES + ["challenge-spent"] * 3
    assert harness.pass_count == MOST_USES
    assert harness.account().history.queries == 1


@pytest.mark.parametrize(("text", "explains"), [("1.1", False), ("1.0 1.0", False), ("1.0", True)])
def test_spent_work_buys_no_other_request(harness: GateHarness, text: str, explains: bool) -> None:
    paid = harness.pay("1.0")
    released(harness.ask("1.0", paid))
    assert decision_type(harness.ask(text, paid, explains=explains)) == "challenge-spent"
    assert (harness.pass_count, harness.account().history.queries) == (1, 1)
    released(harness.ask("1.0", paid))


def test_work_that_shares_a_stamp_with_spent_work_is_spent(harness: GateHarness) -> None:
    stamps = prepaid_stamps(harness, 1000)
    released(harness.ask("1.0", format_prepaid(stamps)))
    for mixed in ([stamps[0], *prepaid_stamps(harness, 2000)], [*stamps, *prepaid_stamps(harness, 300)], stamps[:-1]):
        assert decision_type(harness.ask("1.0", format_prepaid(mixed))) == "challenge-spent"
    assert harness.account().history.queries == 1


def test_after_ten_minutes_the_same_request_is_spent_too(slow: GateHarness) -> None:
    paid = slow.pay("1.0")
    released(slow.ask("1.0", paid))
    slow.now += RETRY_SECONDS
    released(slow.ask("1.0", paid))
    slow.now += 1
    assert decision_type(slow.ask("1.0", paid)) == "challenge-spent"


@pytest.mark.parametrize("prepaid", [False, True])
def test_a_retry_is_answered_for_ten_minutes_also_when_its_challenge_has_expired_meanwhile(
    harness: GateHarness, prepaid: bool
) -> None:
    paid = prepay(harness, 1000) if prepaid else harness.pay("1.0")
    harness.now += 50
    released(harness.ask("1.0", paid))
    harness.now += RETRY_SECONDS - 1
    released(harness.ask("1.0", paid))
    harness.now += 2
    assert decision_type(harness.ask("1.0", paid)) in ("challenge-expired", "challenge-spent")


def test_a_withheld_answers_rest_can_be_had_for_ten_minutes_also_when_its_challenge_has_expired(
    harness: GateHarness,
) -> None:
    paid = harness.pay("1.0")
    rest_challenge(harness.ask(payload_of(4), paid, counted=False))
    harness.now += RETRY_SECONDS - 1
    rest = rest_challenge(harness.ask(payload_of(4), paid, counted=False))
    released(harness.ask(payload_of(4), solution(rest), counted=False))


def test_an_expired_solution_that_was_never_spent_is_expired(harness: GateHarness) -> None:
    paid = [harness.pay("1.0"), prepay(harness, 1000)]
    harness.now += 601
    assert [decision_type(harness.ask("1.0", header)) for header in paid] == ["challenge-expired"] * 2
    assert harness.pass_count == 0


@pytest.mark.parametrize("prepaid", [False, True])
def test_what_the_ledger_forgets_this_moment_buys_nothing(harness: GateHarness, prepaid: bool) -> None:
    """The ledger deletes what has expired at its next write, which may be that of the very replay."""
    stamps = prepaid_stamps(harness, 1000)
    challenge = harness.challenge("1.0")
    paid = format_prepaid(stamps) if prepaid else solution(challenge)
    again = format_prepaid(stamps) if prepaid else claim_work(challenge)
    released(harness.ask("1.0", paid))
    harness.now = max(float(str(row[-1])) for row in harness.rows() if row[0] == "uses")
    for _ in range(40):
        assert decision_type(harness.ask(payload_of(256), again)) in ("challenge-spent", "challenge-expired")
    assert (harness.pass_count, harness.account().history.queries) == (1, 1)


def test_a_retry_is_answered_also_when_the_price_has_risen(harness: GateHarness) -> None:
    paid = harness.pay("1.0")
    released(harness.ask("1.0", paid))
    for index in range(10):
        harness.ask(f"2.9{'0' * index}", harness.pay("1.0"))
    assert harness.challenge("1.0").puzzle.expected_hashes > FLOOR_HASHES
    released(harness.ask("1.0", paid))


def test_a_retry_of_a_collected_answer_is_answered_and_a_retry_of_the_withheld_request_is_not(
    harness: GateHarness,
) -> None:
    paid = harness.pay("1.0")
    collected = solution(rest_challenge(harness.ask(payload_of(4), paid, counted=False)))
    released(harness.ask(payload_of(4), collected, counted=False))
    account = harness.account()
    for _ in range(MOST_USES - 1):
        rest_challenge(harness.ask(payload_of(4), paid, counted=False))
        released(harness.ask(payload_of(4), collected, counted=False))
    assert decision_type(harness.ask(payload_of(4), collected, counted=False)) == "challenge-spent"
    assert harness.account() == account
    assert harness.pass_count == 1 + MOST_USES


# ---- Failures -------------------------------------------------------------------------------------------------------


def test_a_bad_payload_is_not_charged_and_its_work_is_good_for_another(harness: GateHarness) -> None:
    paid = harness.pay("1.0")
    problem = problem_of(harness.ask("?", paid))
    assert (problem.status, problem.type, problem.challenge) == (400, "bad-payload", None)
    assert (harness.account().history.queries, harness.account().owed) == (0, 0)
    released(harness.ask("1.0", paid))


def test_the_victims_own_failure_leaves_as_it_is_and_its_work_is_good_for_another(harness: GateHarness) -> None:
    paid = harness.pay("1.0")
    failure = released(harness.ask("!", paid))
    assert (failure.answer, failure.next_hashes) == ("failure on !", None)
    assert harness.account().history.queries == 0
    released(harness.ask("1.0", paid))


def test_an_answer_that_cannot_be_priced_does_not_leave(harness: GateHarness) -> None:
    paid = harness.pay("1.0")
    problem = problem_of(harness.ask("*", paid))
    assert (problem.status, problem.type, problem.headers["Retry-After"]) == (503, "pricing-unavailable", "5")
    released(harness.ask("1.0", paid))


@pytest.mark.parametrize("text", ["?", "!", "*"])
def test_five_failing_passes_use_the_work_up(harness: GateHarness, text: str) -> None:
    paid = harness.pay("1.0")
    for _ in range(MOST_USES):
        assert decision_type(harness.ask(text, paid)) != "challenge-spent"
    assert decision_type(harness.ask("1.0", paid)) == "challenge-spent"
    assert harness.pass_count == MOST_USES


def test_stamps_that_failed_five_times_do_not_get_new_uses_among_others(harness: GateHarness) -> None:
    stamps = prepaid_stamps(harness, 1000)
    for _ in range(MOST_USES):
        harness.ask("?", format_prepaid(stamps))
    fresh = prepaid_stamps(harness, 1000)
    assert decision_type(harness.ask("1.0", format_prepaid([stamps[0], *fresh]))) == "challenge-spent"
    released(harness.ask("1.0", format_prepaid(fresh)))


def test_a_failed_pass_of_a_rest_leaves_all_that_it_builds_on_good(harness: GateHarness) -> None:
    paid = solution(rest_challenge(harness.ask("1.0", prepay(harness, 500))))
    assert decision_type(harness.ask("?", paid)) == "bad-payload"
    released(harness.ask("1.0", paid))


@pytest.mark.parametrize("text", ["?", "!"])
def test_beyond_ten_failures_an_hour_an_accounts_failures_spend_its_work(harness: GateHarness, text: str) -> None:
    for _ in range(MOST_FAILURES):
        paid = harness.pay("1.0")
        harness.ask(text, paid)
    released(harness.ask("1.0", paid))
    for _ in range(3):
        paid = harness.pay("1.0")
        assert decision_type(harness.ask(text, paid)) in ("bad-payload", "answered")
        assert decision_type(harness.ask("1.0", paid)) == "challenge-spent"
        assert decision_type(harness.ask(text, paid)) == "challenge-spent"
    assert harness.account().history.queries == 1


def test_what_the_server_cannot_price_does_not_count_as_the_accounts_failures(harness: GateHarness) -> None:
    for _ in range(MOST_FAILURES + 2):
        paid = harness.pay("1.0")
        assert decision_type(harness.ask("*", paid)) == "pricing-unavailable"
    released(harness.ask("1.0", paid))


def test_an_hour_later_failures_are_forgiven(harness: GateHarness) -> None:
    for _ in range(MOST_FAILURES + 1):
        harness.ask("?", harness.pay("1.0"))
    harness.now += FAILURE_SECONDS + 1
    paid = harness.pay("1.0")
    harness.ask("?", paid)
    released(harness.ask("1.0", paid))


def test_one_accounts_failures_do_not_count_for_another(harness: GateHarness) -> None:
    for _ in range(MOST_FAILURES + 1):
        harness.ask("?", harness.pay("1.0"))
    bob = harness.ledger.add_key("bob")
    paid = harness.pay("1.0", bob)
    harness.ask("?", paid, bob)
    released(harness.ask("1.0", paid, bob))


def test_a_retry_that_fails_costs_nothing(harness: GateHarness) -> None:
    passes = iter(("1.0", "!", "1.0"))

    def run(requests: Sequence[TextRequest]) -> list[PassResult[str | None]]:
        """Run the same request, which fails in the second pass."""
        return harness.runner.run([replace(request, text=next(passes)) for request in requests])

    request = harness.request("1.0", harness.pay("1.0"))
    answers = [released(harness.gate.answer([request], run)[0]).answer for _ in range(3)]
    assert answers == ["answer to 1.0", "failure on !", "answer to 1.0"]
    assert harness.account().history.queries == 1
