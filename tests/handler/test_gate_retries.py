"""Retries and failures: a lost connection costs nothing, an answer is given five times at most, a failure buys none."""

from pathlib import Path

import pytest

from calpow.handler.ledger.ledger import FAILURE_SECONDS, MOST_FAILURES, MOST_USES, RETRY_SECONDS
from calpow.handler.policy.policies import SolverFit
from calpow.puzzle.wire import format_prepaid
from tests.support.house import (
    House,
    claimed,
    kind_of,
    many,
    prepaid_stamps,
    prepay,
    refused,
    released,
    rest_of,
    solution,
)

FLOOR = 992  # hashes of the puzzle that is nearest to the floor's thousand


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path / "ledger.db")


@pytest.fixture
def slow(tmp_path: Path) -> House:
    """A house whose challenges stay open for longer than ten minutes."""
    return House(tmp_path / "slow.db", floor=20.0, solver=SolverFit(0.0, 50.0))


# ---- Retries --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prepaid", [False, True])
def test_the_same_request_with_the_same_work_is_answered_again_without_a_charge(house: House, prepaid: bool) -> None:
    paid = prepay(house, 1000) if prepaid else house.pay("1.0")
    first = released(house.ask("1.5", paid))
    account = house.account()
    assert released(house.ask("1.5", paid)) == first
    assert released(house.ask("1.5", paid, gate=house.worker())) == first
    assert house.account() == account


def test_the_order_of_prepaid_stamps_makes_no_other_work_of_them(house: House) -> None:
    stamps = prepaid_stamps(house, 1000)
    released(house.ask("1.0", format_prepaid(stamps)))
    released(house.ask("1.0", format_prepaid(stamps[::-1])))
    assert house.account().totals.queries == 1


def test_one_work_makes_five_passes_at_most(house: House) -> None:
    paid = house.pay("1.0")
    said = [kind_of(house.ask("1.0", paid)) for _ in range(MOST_USES + 3)]
    assert said == ["answered"] * MOST_USES + ["challenge-spent"] * 3
    assert house.passes == MOST_USES
    assert house.account().totals.queries == 1


@pytest.mark.parametrize(("text", "explains"), [("1.1", False), ("1.0 1.0", False), ("1.0", True)])
def test_spent_work_buys_no_other_request(house: House, text: str, explains: bool) -> None:
    paid = house.pay("1.0")
    released(house.ask("1.0", paid))
    assert kind_of(house.ask(text, paid, explains=explains)) == "challenge-spent"
    assert (house.passes, house.account().totals.queries) == (1, 1)
    released(house.ask("1.0", paid))


def test_work_that_shares_a_stamp_with_spent_work_is_spent(house: House) -> None:
    stamps = prepaid_stamps(house, 1000)
    released(house.ask("1.0", format_prepaid(stamps)))
    for mixed in ([stamps[0], *prepaid_stamps(house, 2000)], [*stamps, *prepaid_stamps(house, 300)], stamps[:-1]):
        assert kind_of(house.ask("1.0", format_prepaid(mixed))) == "challenge-spent"
    assert house.account().totals.queries == 1


def test_after_ten_minutes_the_same_request_is_spent_too(slow: House) -> None:
    paid = slow.pay("1.0")
    released(slow.ask("1.0", paid))
    slow.now += RETRY_SECONDS
    released(slow.ask("1.0", paid))
    slow.now += 1
    assert kind_of(slow.ask("1.0", paid)) == "challenge-spent"


@pytest.mark.parametrize("prepaid", [False, True])
def test_a_retry_is_answered_for_ten_minutes_also_when_its_challenge_has_expired_meanwhile(
    house: House, prepaid: bool
) -> None:
    paid = prepay(house, 1000) if prepaid else house.pay("1.0")
    house.now += 50
    released(house.ask("1.0", paid))
    house.now += RETRY_SECONDS - 1
    released(house.ask("1.0", paid))
    house.now += 2
    assert kind_of(house.ask("1.0", paid)) in ("challenge-expired", "challenge-spent")


def test_a_withheld_answers_rest_can_be_had_for_ten_minutes_also_when_its_challenge_has_expired(house: House) -> None:
    paid = house.pay("1.0")
    rest_of(house.ask(many(4), paid, counted=False))
    house.now += RETRY_SECONDS - 1
    rest = rest_of(house.ask(many(4), paid, counted=False))
    released(house.ask(many(4), solution(rest), counted=False))


def test_an_expired_solution_that_was_never_spent_is_expired(house: House) -> None:
    paid = [house.pay("1.0"), prepay(house, 1000)]
    house.now += 601
    assert [kind_of(house.ask("1.0", each)) for each in paid] == ["challenge-expired"] * 2
    assert house.passes == 0


@pytest.mark.parametrize("prepaid", [False, True])
def test_what_the_ledger_forgets_this_moment_buys_nothing(house: House, prepaid: bool) -> None:
    """The ledger clears away what has expired when it is written to next: perhaps by the one who brings it again."""
    stamps = prepaid_stamps(house, 1000)
    challenge = house.challenge("1.0")
    paid = format_prepaid(stamps) if prepaid else solution(challenge)
    again = format_prepaid(stamps) if prepaid else claimed(challenge)
    released(house.ask("1.0", paid))
    house.now = max(float(str(row[-1])) for row in house.rows() if row[0] == "uses")
    for _ in range(40):
        assert kind_of(house.ask(many(256), again)) in ("challenge-spent", "challenge-expired")
    assert (house.passes, house.account().totals.queries) == (1, 1)


def test_a_retry_is_answered_also_when_the_price_has_risen(house: House) -> None:
    paid = house.pay("1.0")
    released(house.ask("1.0", paid))
    for index in range(10):
        house.ask(f"2.9{'0' * index}", house.pay("1.0"))
    assert house.challenge("1.0").puzzle.expected_hashes > FLOOR
    released(house.ask("1.0", paid))


def test_a_retry_of_a_collected_answer_is_answered_and_a_retry_of_the_withheld_request_is_not(house: House) -> None:
    paid = house.pay("1.0")
    collected = solution(rest_of(house.ask(many(4), paid, counted=False)))
    released(house.ask(many(4), collected, counted=False))
    account = house.account()
    for _ in range(MOST_USES - 1):
        rest_of(house.ask(many(4), paid, counted=False))
        released(house.ask(many(4), collected, counted=False))
    assert kind_of(house.ask(many(4), collected, counted=False)) == "challenge-spent"
    assert house.account() == account
    assert house.passes == 1 + MOST_USES


# ---- Failures -------------------------------------------------------------------------------------------------------


def test_a_bad_payload_is_not_charged_and_its_work_is_good_for_another(house: House) -> None:
    paid = house.pay("1.0")
    problem = refused(house.ask("?", paid))
    assert (problem.status, problem.type, problem.challenge) == (400, "bad-payload", None)
    assert (house.account().totals.queries, house.account().owed) == (0, 0)
    released(house.ask("1.0", paid))


def test_the_victims_own_failure_leaves_as_it_is_and_its_work_is_good_for_another(house: House) -> None:
    paid = house.pay("1.0")
    failure = released(house.ask("!", paid))
    assert (failure.answer, failure.next_hashes) == ("failure on !", None)
    assert house.account().totals.queries == 0
    released(house.ask("1.0", paid))


def test_an_answer_that_cannot_be_priced_does_not_leave(house: House) -> None:
    paid = house.pay("1.0")
    problem = refused(house.ask("*", paid))
    assert (problem.status, problem.type, problem.headers["Retry-After"]) == (503, "pricing-unavailable", "5")
    released(house.ask("1.0", paid))


@pytest.mark.parametrize("text", ["?", "!", "*"])
def test_five_failing_passes_use_the_work_up(house: House, text: str) -> None:
    paid = house.pay("1.0")
    for _ in range(MOST_USES):
        assert kind_of(house.ask(text, paid)) != "challenge-spent"
    assert kind_of(house.ask("1.0", paid)) == "challenge-spent"
    assert house.passes == MOST_USES


def test_stamps_that_failed_five_times_do_not_get_new_uses_among_others(house: House) -> None:
    stamps = prepaid_stamps(house, 1000)
    for _ in range(MOST_USES):
        house.ask("?", format_prepaid(stamps))
    fresh = prepaid_stamps(house, 1000)
    assert kind_of(house.ask("1.0", format_prepaid([stamps[0], *fresh]))) == "challenge-spent"
    released(house.ask("1.0", format_prepaid(fresh)))


def test_a_failed_pass_of_a_rest_leaves_all_that_it_builds_on_good(house: House) -> None:
    paid = solution(rest_of(house.ask("1.0", prepay(house, 500))))
    assert kind_of(house.ask("?", paid)) == "bad-payload"
    released(house.ask("1.0", paid))


@pytest.mark.parametrize("text", ["?", "!"])
def test_beyond_ten_failures_an_hour_an_accounts_failures_spend_its_work(house: House, text: str) -> None:
    for _ in range(MOST_FAILURES):
        paid = house.pay("1.0")
        house.ask(text, paid)
    released(house.ask("1.0", paid))
    for _ in range(3):
        paid = house.pay("1.0")
        assert kind_of(house.ask(text, paid)) in ("bad-payload", "answered")
        assert kind_of(house.ask("1.0", paid)) == "challenge-spent"
        assert kind_of(house.ask(text, paid)) == "challenge-spent"
    assert house.account().totals.queries == 1


def test_what_the_server_cannot_price_does_not_count_as_the_accounts_failures(house: House) -> None:
    for _ in range(MOST_FAILURES + 2):
        paid = house.pay("1.0")
        assert kind_of(house.ask("*", paid)) == "pricing-unavailable"
    released(house.ask("1.0", paid))


def test_an_hour_later_failures_are_forgiven(house: House) -> None:
    for _ in range(MOST_FAILURES + 1):
        house.ask("?", house.pay("1.0"))
    house.now += FAILURE_SECONDS + 1
    paid = house.pay("1.0")
    house.ask("?", paid)
    released(house.ask("1.0", paid))


def test_one_accounts_failures_do_not_count_for_another(house: House) -> None:
    for _ in range(MOST_FAILURES + 1):
        house.ask("?", house.pay("1.0"))
    bob = house.ledger.add_key("bob")
    paid = house.pay("1.0", bob)
    house.ask("?", paid, bob)
    released(house.ask("1.0", paid, bob))


def test_a_retry_that_fails_costs_nothing(house: House) -> None:
    class Moody:
        """The same request, which fails when it is made a second time."""

        passes = 0

        def __str__(self) -> str:
            self.passes += 1
            return "1.0" if self.passes != 2 else "!"

    paid = house.pay("1.0")
    request = house.request("1.0", paid)
    object.__setattr__(request, "payload", Moody())
    said = [released(house.batch(request)[0]).answer for _ in range(3)]
    assert said == ["answer to 1.0", "failure on !", "answer to 1.0"]
    assert house.account().totals.queries == 1
