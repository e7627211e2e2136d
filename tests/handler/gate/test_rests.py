"""Rests: the work that too little work and a withheld answer still need. No work pays twice."""

from datetime import datetime, timezone

import pytest

from calpow.handler.gate.challenges import LONGEST_EXPIRY_SECONDS
from calpow.handler.policy.tariff import Tariff
from calpow.puzzle.prepaid import prepaid_resource
from calpow.puzzle.puzzle import MAX_COUNT, Puzzle
from calpow.puzzle.solving.solver import solve
from calpow.puzzle.wire import MAX_SOLUTION_LENGTH, MAX_TOKEN_LENGTH, Challenge, format_prepaid
from tests.support.gate_harness import (
    FLOOR_HASHES,
    START,
    GateHarness,
    challenge_of,
    decision_type,
    payload_of,
    prepaid_stamps,
    prepay,
    problem_of,
    released,
    rest_challenge,
    solution,
    work_of,
)


def withheld(harness: GateHarness, text: str) -> tuple[str, Challenge]:
    """Return a solution of one sample's work, and the challenge for the rest of an answer with more samples."""
    paid = harness.pay("1.0")
    return paid, rest_challenge(harness.ask(text, paid, counted=False))


def make_dearer(harness: GateHarness) -> None:
    """Send odd samples until the account's next one takes more than twenty times the floor."""
    for index in range(60):
        harness.ask(f"2.9{'0' * index}", harness.pay("1.0"))
        if harness.challenge("1.0").puzzle.expected_hashes > 20 * FLOOR_HASHES:
            return
    raise AssertionError("the account did not get dearer")


# ---- Too little work ------------------------------------------------------------------------------------------------


def test_too_little_work_is_not_spent_and_only_the_rest_is_asked_for(harness: GateHarness) -> None:
    little, before = prepay(harness, 500), harness.rows()
    rest = rest_challenge(harness.ask("1.0", little))
    assert FLOOR_HASHES - work_of(little) <= rest.puzzle.expected_hashes <= 1.25 * (FLOOR_HASHES - work_of(little))
    assert (harness.pass_count, harness.rows()) == (0, before)


def test_the_rest_pays_for_the_whole_and_spends_what_it_builds_on(harness: GateHarness) -> None:
    stamps = prepaid_stamps(harness, 500)
    paid = solution(rest_challenge(harness.ask("1.0", format_prepaid(stamps))))
    assert released(harness.ask("1.0", paid)).next_hashes == FLOOR_HASHES
    assert harness.account().owed == FLOOR_HASHES - work_of(format_prepaid(stamps)) - work_of(paid) <= 0
    other = prepaid_stamps(harness, 1500)
    assert decision_type(harness.ask("1.1", format_prepaid([*stamps, *other]))) == "challenge-spent"
    assert decision_type(harness.ask("1.1", paid)) == "challenge-spent"
    released(harness.ask("1.1", format_prepaid(other)))


def test_a_challenges_solution_that_is_too_little_is_built_on_too(harness: GateHarness) -> None:
    paid = harness.pay("1.0")
    rest = rest_challenge(harness.ask(payload_of(3), paid))
    released(harness.ask(payload_of(3), solution(rest)))
    assert decision_type(harness.ask("1.0", paid)) == "challenge-spent"
    assert harness.account().history.queries == 3


def test_the_same_too_little_work_always_gets_the_same_rest(harness: GateHarness) -> None:
    little = prepay(harness, 500)
    rests = [rest_challenge(harness.ask(text, little)) for text in ("1.0", "1.5", payload_of(2))]
    assert len({rest.puzzle.resource for rest in rests}) == 1
    assert rests[2].puzzle.expected_hashes > rests[0].puzzle.expected_hashes


def test_of_two_rests_that_build_on_the_same_work_one_is_good(harness: GateHarness) -> None:
    stamps = prepaid_stamps(harness, 500)
    first = solution(rest_challenge(harness.ask("1.0", format_prepaid(stamps))))
    second = solution(rest_challenge(harness.ask(payload_of(2), format_prepaid(stamps))))
    third = solution(
        rest_challenge(harness.ask(payload_of(3), format_prepaid([*stamps, *prepaid_stamps(harness, 300)])))
    )
    released(harness.ask("1.0", first))
    for text, other in ((payload_of(2), second), (payload_of(3), third), ("1.2", first)):
        assert decision_type(harness.ask(text, other)) == "challenge-spent"


def test_a_rest_of_too_little_work_pays_for_any_request(harness: GateHarness) -> None:
    paid = solution(rest_challenge(harness.ask("1.0", prepay(harness, 500))))
    assert released(harness.ask("1.3", paid)).answer == "answer to 1.3"


def test_where_the_price_rises_meanwhile_a_rest_of_the_rest_is_asked_for_and_nothing_is_lost(
    harness: GateHarness,
) -> None:
    little = prepay(harness, 500)
    rest = rest_challenge(harness.ask("1.0", little))
    make_dearer(harness)
    asked = harness.challenge("1.0").puzzle.expected_hashes
    second = rest_challenge(harness.ask("1.0", solution(rest)))
    missing = asked - work_of(little) - rest.puzzle.expected_hashes
    assert missing <= second.puzzle.expected_hashes <= 1.25 * missing
    owed = harness.account().owed
    released(harness.ask("1.0", solution(second)))
    assert harness.account().owed <= owed


def test_where_the_price_falls_meanwhile_the_work_alone_is_enough(harness: GateHarness) -> None:
    little = prepay(harness, 2 * FLOOR_HASHES)
    rest_challenge(harness.ask(payload_of(3), little))
    released(harness.ask("1.0", little))


def test_invalid_work_is_not_built_on(harness: GateHarness) -> None:
    little = prepay(harness, 500).replace("1:4:", "1:5:")
    decision = harness.ask("1.0", little)
    assert decision_type(decision) == "invalid-solution"
    assert challenge_of(decision).puzzle.expected_hashes == FLOOR_HASHES


def test_a_rest_of_64_stamps_fits_into_a_header(harness: GateHarness) -> None:
    resource = prepaid_resource(harness.gate.realm, harness.key)
    puzzle = Puzzle(harness.kind.algorithm, resource, 1, MAX_COUNT)
    stamps = solve(puzzle, date=datetime.fromtimestamp(harness.now, timezone.utc))
    paid = format_prepaid(stamps)
    for samples in (4, 8, 16, 32):
        rest = rest_challenge(harness.ask(payload_of(samples), paid))
        paid = solution(rest)
        assert len(rest.token) <= MAX_TOKEN_LENGTH
        assert len(paid) <= MAX_SOLUTION_LENGTH
    released(harness.ask(payload_of(32), paid))


def test_a_rest_that_would_name_too_many_ids_is_the_whole_and_the_work_stays_good(
    harness: GateHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("calpow.handler.gate.challenges.MOST_NAMED", 3)
    stamps = prepaid_stamps(harness, 500)
    whole = rest_challenge(harness.ask("1.0", format_prepaid(stamps)))
    assert whole.puzzle.expected_hashes == FLOOR_HASHES
    released(harness.ask("1.0", solution(whole)))
    released(harness.ask("1.1", format_prepaid([*stamps, *prepaid_stamps(harness, 600)])))


def test_where_a_rest_could_not_be_solved_before_its_work_is_forgotten_the_whole_is_asked_for(
    slow: GateHarness,
) -> None:
    young, old = prepay(slow, 3000), prepaid_stamps(slow, 3000)
    assert rest_challenge(slow.ask(payload_of(10), young)).puzzle.expected_hashes < 10 * FLOOR_HASHES
    slow.now += 599
    whole = rest_challenge(slow.ask(payload_of(10), format_prepaid(old)))
    assert whole.puzzle.expected_hashes >= 10 * FLOOR_HASHES
    released(slow.ask(payload_of(10), solution(whole)))


def test_work_that_a_rest_builds_on_is_never_spent_twice_however_late_the_rest_comes(slow: GateHarness) -> None:
    challenge = slow.challenge(payload_of(30))
    opened = challenge.expires.timestamp() - START
    paid = solution(challenge)
    slow.now = START + opened - 10
    rest = rest_challenge(slow.ask(payload_of(36), paid))
    added = solution(rest)
    released(slow.ask(payload_of(30), paid))
    for late in range(0, 3 * int(LONGEST_EXPIRY_SECONDS), 300):
        slow.now = START + opened + late
        assert decision_type(slow.ask(payload_of(36), added)) in (
            "challenge-spent",
            "challenge-expired",
            "more-required",
        )
    assert slow.account().history.queries == 30


def test_a_young_stamp_spent_with_an_old_one_is_remembered_by_its_own_age(slow: GateHarness) -> None:
    old = prepaid_stamps(slow, 3000)
    slow.now = START + 599
    young = prepaid_stamps(slow, 30_000)
    added = solution(rest_challenge(slow.ask(payload_of(32), format_prepaid(young))))
    released(slow.ask(payload_of(31), format_prepaid([*old, *young])))
    for late in range(600, 3600, 100):
        slow.now = START + late + 1
        assert decision_type(slow.ask(payload_of(32), added)) in ("challenge-spent", "challenge-expired")
    assert slow.account().history.queries == 31


# ---- Withheld answers -----------------------------------------------------------------------------------------------


def test_up_to_twice_the_work_an_answer_leaves_and_the_rest_is_owed(harness: GateHarness) -> None:
    released(harness.ask(payload_of(2), harness.pay("1.0"), counted=False))
    account = harness.account()
    assert (account.history.cost_micro, account.history.queries) == (2_000_000, 2)
    assert (account.owed, account.version) == (FLOOR_HASHES, 1)


def test_beyond_twice_the_work_an_answer_is_withheld_its_samples_charged_and_the_work_spent(
    harness: GateHarness,
) -> None:
    paid, rest = withheld(harness, "2.0 2.00 1.5")
    assert rest.puzzle.expected_hashes >= 2 * FLOOR_HASHES
    account = harness.account()
    assert (account.history.cost_micro, account.history.queries, account.owed) == (5_500_000, 3, 0)
    assert min(account.history.wealth) > 0
    assert harness.pass_count == 1
    assert decision_type(harness.ask("1.0", paid)) == "challenge-spent"


def test_a_debt_stays_as_it_was_when_an_answer_is_withheld(harness: GateHarness) -> None:
    released(harness.ask(payload_of(2), harness.pay("1.0"), counted=False))
    owed = harness.account().owed
    withheld(harness, payload_of(9))
    assert harness.account().owed == owed > 0


def test_the_rest_is_what_was_due_and_pays_for_the_answer(harness: GateHarness) -> None:
    _, rest = withheld(harness, payload_of(4))
    assert rest.puzzle.expected_hashes >= 3 * FLOOR_HASHES
    answer = released(harness.ask(payload_of(4), solution(rest), counted=False))
    assert answer.answer == f"answer to {payload_of(4)}"
    assert harness.account().history.queries == 4
    assert harness.account().owed == max(-FLOOR_HASHES, 3 * FLOOR_HASHES - rest.puzzle.expected_hashes)


def test_a_retry_of_a_withheld_request_gets_the_same_rest_and_makes_no_pass(harness: GateHarness) -> None:
    paid, rest = withheld(harness, payload_of(4))
    before, passes = harness.account(), harness.pass_count
    for _ in range(10):
        harness.now += 5
        again = rest_challenge(harness.ask(payload_of(4), paid, counted=False))
        assert again.puzzle == rest.puzzle
    assert (harness.account(), harness.pass_count) == (before, passes)


def test_the_rest_is_fixed_in_hashes_whatever_happens_meanwhile(harness: GateHarness) -> None:
    paid, rest = withheld(harness, payload_of(40))
    before = harness.account()
    for index in range(3):
        harness.ask(f"0.8{'0' * index}", harness.pay("1.0"))
    assert harness.account() != before
    assert rest_challenge(harness.ask(payload_of(40), paid, counted=False)).puzzle == rest.puzzle


def test_a_rests_token_is_good_once_however_often_it_was_issued(harness: GateHarness) -> None:
    paid, first = withheld(harness, payload_of(4))
    harness.now += 30
    second = rest_challenge(harness.ask(payload_of(4), paid, counted=False))
    assert first.token != second.token
    solved = [solution(challenge) for challenge in (first, second)]
    released(harness.ask(payload_of(4), solved[0], counted=False))
    owed = harness.account()
    # The second is a retry of the first: both spend the same id for the same request.
    assert released(harness.ask(payload_of(4), solved[1], counted=False)).answer == f"answer to {payload_of(4)}"
    assert harness.account() == owed
    harness.now += 601
    for paid_again in solved:
        assert decision_type(harness.ask(payload_of(4), paid_again, counted=False)) in (
            "challenge-spent",
            "challenge-expired",
        )


def test_the_rest_of_a_withheld_answer_is_good_until_its_token_expires(slow: GateHarness) -> None:
    paid, rest = withheld(slow, payload_of(20))
    solved = solution(rest)
    slow.now = rest.expires.timestamp() - 1
    assert decision_type(slow.ask(payload_of(20), paid, counted=False)) == "challenge-spent"
    released(slow.ask(payload_of(20), solved, counted=False))


def test_the_rest_of_a_withheld_answer_is_good_for_its_request_only(harness: GateHarness) -> None:
    _, rest = withheld(harness, payload_of(4))
    paid = solution(rest)
    for text, explains in ((payload_of(3), False), (payload_of(4), True), ("1.0", False)):
        assert decision_type(harness.ask(text, paid, explains=explains, counted=False)) == "challenge-mismatch"
    released(harness.ask(payload_of(4), paid, counted=False))


def test_the_rest_of_a_withheld_answer_is_asked_for_at_the_price_of_the_day_if_that_is_more(
    harness: GateHarness,
) -> None:
    paid, rest = withheld(harness, payload_of(4))
    make_dearer(harness)
    price = harness.challenge("1.0").puzzle.expected_hashes
    assert price > rest.puzzle.expected_hashes
    more = rest_challenge(harness.ask(payload_of(4), solution(rest), counted=False))
    assert more.puzzle.expected_hashes >= price - rest.puzzle.expected_hashes
    assert rest_challenge(harness.ask(payload_of(4), paid, counted=False)).puzzle.expected_hashes == price
    passes = harness.pass_count
    released(harness.ask(payload_of(4), solution(more), counted=False))
    assert harness.pass_count == passes + 1


def test_the_rest_of_a_withheld_answers_rest_is_bound_to_its_request_too(harness: GateHarness) -> None:
    _, rest = withheld(harness, payload_of(4))
    make_dearer(harness)
    more = rest_challenge(harness.ask(payload_of(4), solution(rest), counted=False))
    assert decision_type(harness.ask("1.0", solution(more))) == "challenge-mismatch"


def test_the_rest_of_a_withheld_answers_rest_is_good_as_long_as_it_is_open(slow: GateHarness) -> None:
    paid, _ = withheld(slow, payload_of(20))
    slow.now += 600
    rest = rest_challenge(slow.ask(payload_of(20), paid, counted=False))
    slow.now = rest.expires.timestamp() - 10
    make_dearer(slow)
    more = rest_challenge(slow.ask(payload_of(20), solution(rest), counted=False))
    slow.now = more.expires.timestamp() - 1
    # Others' requests clear away what the ledger need not remember.
    for index in range(20):
        slow.ask(f"1.{index}", slow.pay("1.0"))
    released(slow.ask(payload_of(20), solution(more), counted=False))


def test_an_answer_whose_rest_takes_more_than_15_minutes_is_refused_for_good(slow: GateHarness) -> None:
    paid = slow.pay("1.0")
    problem = problem_of(slow.ask(payload_of(60), paid, counted=False))
    assert (problem.status, problem.type, problem.challenge) == (413, "too-large", None)
    assert "one challenge asks for at most " in problem.detail
    samples = int(problem.detail.split(" at most ")[1].split()[0])
    challenge_of(slow.ask(payload_of(samples)))
    assert decision_type(slow.ask(payload_of(samples + 1))) == "too-large"
    assert slow.account().history.queries == 60
    assert decision_type(slow.ask(payload_of(60), paid, counted=False)) == "too-large"
    assert decision_type(slow.ask("1.0", paid)) == "challenge-spent"


def test_the_dearest_rest_that_one_challenge_may_ask_for_can_be_paid(slow: GateHarness) -> None:
    longest = Tariff(slow.policy).longest
    samples = longest // FLOOR_HASHES + 1
    _, rest = withheld(slow, payload_of(samples))
    assert rest.puzzle.expected_hashes <= longest
    released(slow.ask(payload_of(samples), solution(rest), counted=False))


def test_a_rest_within_15_minutes_can_be_paid_also_where_as_many_samples_could_not_be_asked_for(
    slow: GateHarness,
) -> None:
    text = payload_of(4, 2.5)
    rest = rest_challenge(slow.ask(text, slow.pay(text)))
    assert rest.puzzle.expected_hashes <= Tariff(slow.policy).longest
    assert decision_type(slow.ask(payload_of(4))) == "too-large"
    released(slow.ask(text, solution(rest)))


def test_whose_rest_is_too_large_is_told_how_many_such_samples_one_challenge_can_pay_for(slow: GateHarness) -> None:
    problem = problem_of(slow.ask(payload_of(10, 1.6), slow.pay("1.0"), counted=False))
    assert problem.type == "too-large"
    samples = int(problem.detail.split(" at most ")[1].split()[0])
    assert samples == Tariff(slow.policy).payable(slow.account()) == 2
    # Ordinary samples lower the price of those after them, and one challenge can pay for more of these.
    challenge_of(slow.ask(payload_of(samples + 1)))
