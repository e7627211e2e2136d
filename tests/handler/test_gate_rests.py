"""Rests: what is still asked for too little work and for an answer that was withheld, and that no work pays twice."""

from datetime import datetime, timezone
from pathlib import Path

import pytest

from calpow.handler.gate.challenges import LONGEST_EXPIRY_SECONDS
from calpow.handler.ledger.ledger import Account, Totals
from calpow.handler.policy.policies import SolverFit
from calpow.handler.policy.tariff import Tariff
from calpow.puzzle.prepaid import prepaid_resource
from calpow.puzzle.puzzle import MAX_COUNT, Puzzle
from calpow.puzzle.solving.solver import solve
from calpow.puzzle.wire import MAX_SOLUTION_LENGTH, MAX_TOKEN_LENGTH, Challenge, format_prepaid
from tests.support.house import (
    START,
    House,
    challenge_of,
    kind_of,
    many,
    prepaid_stamps,
    prepay,
    refused,
    released,
    rest_of,
    solution,
    work_of,
)

FLOOR = 992  # hashes of the puzzle that is nearest to the floor's thousand


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path / "ledger.db")


@pytest.fixture
def slow(tmp_path: Path) -> House:
    """A house whose reference client makes 50 hashes a second: its challenges stay open for up to an hour."""
    return House(tmp_path / "slow.db", floor=20.0, solver=SolverFit(0.0, 50.0))


def withheld(house: House, text: str) -> tuple[str, Challenge]:
    """A solution of one sample's work and the rest of the answer that it was spent on, which has more samples."""
    paid = house.pay("1.0")
    return paid, rest_of(house.ask(text, paid, counted=False))


def make_dearer(house: House) -> None:
    """Let the account send strangers until its next sample takes more than twenty times the floor."""
    for index in range(60):
        house.ask(f"2.9{'0' * index}", house.pay("1.0"))
        if house.challenge("1.0").puzzle.expected_hashes > 20 * FLOOR:
            return
    raise AssertionError("the account did not get dearer")


# ---- Too little work ------------------------------------------------------------------------------------------------


def test_too_little_work_is_not_spent_and_only_the_rest_is_asked_for(house: House) -> None:
    little, before = prepay(house, 500), house.rows()
    rest = rest_of(house.ask("1.0", little))
    assert FLOOR - work_of(little) <= rest.puzzle.expected_hashes <= 1.25 * (FLOOR - work_of(little))
    assert (house.passes, house.rows()) == (0, before)


def test_the_rest_pays_for_the_whole_and_spends_what_it_builds_on(house: House) -> None:
    stamps = prepaid_stamps(house, 500)
    paid = solution(rest_of(house.ask("1.0", format_prepaid(stamps))))
    assert released(house.ask("1.0", paid)).next_hashes == FLOOR
    assert house.account().owed == FLOOR - work_of(format_prepaid(stamps)) - work_of(paid) <= 0
    other = prepaid_stamps(house, 1500)
    assert kind_of(house.ask("1.1", format_prepaid([*stamps, *other]))) == "challenge-spent"
    assert kind_of(house.ask("1.1", paid)) == "challenge-spent"
    released(house.ask("1.1", format_prepaid(other)))


def test_a_challenges_solution_that_is_too_little_is_built_on_too(house: House) -> None:
    paid = house.pay("1.0")
    rest = rest_of(house.ask(many(3), paid))
    released(house.ask(many(3), solution(rest)))
    assert kind_of(house.ask("1.0", paid)) == "challenge-spent"
    assert house.account().totals.queries == 3


def test_the_same_too_little_work_always_gets_the_same_rest(house: House) -> None:
    little = prepay(house, 500)
    rests = [rest_of(house.ask(text, little)) for text in ("1.0", "1.5", many(2))]
    assert len({rest.puzzle.resource for rest in rests}) == 1
    assert rests[2].puzzle.expected_hashes > rests[0].puzzle.expected_hashes


def test_of_two_rests_that_build_on_the_same_work_one_is_good(house: House) -> None:
    stamps = prepaid_stamps(house, 500)
    first = solution(rest_of(house.ask("1.0", format_prepaid(stamps))))
    second = solution(rest_of(house.ask(many(2), format_prepaid(stamps))))
    third = solution(rest_of(house.ask(many(3), format_prepaid([*stamps, *prepaid_stamps(house, 300)]))))
    released(house.ask("1.0", first))
    for text, other in ((many(2), second), (many(3), third), ("1.2", first)):
        assert kind_of(house.ask(text, other)) == "challenge-spent"


def test_a_rest_of_too_little_work_pays_for_any_request(house: House) -> None:
    paid = solution(rest_of(house.ask("1.0", prepay(house, 500))))
    assert released(house.ask("1.3", paid)).answer == "answer to 1.3"


def test_where_the_price_rises_meanwhile_a_rest_of_the_rest_is_asked_for_and_nothing_is_lost(house: House) -> None:
    little = prepay(house, 500)
    rest = rest_of(house.ask("1.0", little))
    make_dearer(house)
    asked = house.challenge("1.0").puzzle.expected_hashes
    second = rest_of(house.ask("1.0", solution(rest)))
    had = work_of(little) + rest.puzzle.expected_hashes
    assert asked - had <= second.puzzle.expected_hashes <= 1.25 * (asked - had)
    owed = house.account().owed
    released(house.ask("1.0", solution(second)))
    assert house.account().owed <= owed


def test_where_the_price_falls_meanwhile_the_work_alone_is_enough(house: House) -> None:
    little = prepay(house, 2 * FLOOR)
    rest_of(house.ask(many(3), little))
    released(house.ask("1.0", little))


def test_invalid_work_is_not_built_on(house: House) -> None:
    little = prepay(house, 500).replace("1:4:", "1:5:")
    decision = house.ask("1.0", little)
    assert kind_of(decision) == "invalid-solution"
    assert challenge_of(decision).puzzle.expected_hashes == FLOOR


def test_a_rest_of_64_stamps_fits_into_a_header(house: House) -> None:
    resource = prepaid_resource(house.gate.realm, house.key)
    puzzle = Puzzle(house.kind.algorithm, resource, 1, MAX_COUNT)
    stamps = solve(puzzle, date=datetime.fromtimestamp(house.now, timezone.utc))
    paid = format_prepaid(stamps)
    for samples in (4, 8, 16, 32):
        rest = rest_of(house.ask(many(samples), paid))
        paid = solution(rest)
        assert len(rest.token) <= MAX_TOKEN_LENGTH
        assert len(paid) <= MAX_SOLUTION_LENGTH
    released(house.ask(many(32), paid))


def test_a_rest_that_would_name_too_many_ids_is_the_whole_and_the_work_stays_good(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("calpow.handler.gate.challenges.MOST_NAMED", 3)
    stamps = prepaid_stamps(house, 500)
    whole = rest_of(house.ask("1.0", format_prepaid(stamps)))
    assert whole.puzzle.expected_hashes == FLOOR
    released(house.ask("1.0", solution(whole)))
    released(house.ask("1.1", format_prepaid([*stamps, *prepaid_stamps(house, 600)])))


def test_where_a_rest_could_not_be_solved_before_its_work_is_forgotten_the_whole_is_asked_for(slow: House) -> None:
    young, old = prepay(slow, 3000), prepaid_stamps(slow, 3000)
    assert rest_of(slow.ask(many(10), young)).puzzle.expected_hashes < 10 * FLOOR
    slow.now += 599
    whole = rest_of(slow.ask(many(10), format_prepaid(old)))
    assert whole.puzzle.expected_hashes >= 10 * FLOOR
    released(slow.ask(many(10), solution(whole)))


def test_work_that_a_rest_builds_on_is_never_spent_twice_however_late_the_rest_comes(slow: House) -> None:
    challenge = slow.challenge(many(30))
    opened = challenge.expires.timestamp() - START
    paid = solution(challenge)
    slow.now = START + opened - 10
    rest = rest_of(slow.ask(many(36), paid))
    added = solution(rest)
    released(slow.ask(many(30), paid))
    for late in range(0, 3 * int(LONGEST_EXPIRY_SECONDS), 300):
        slow.now = START + opened + late
        assert kind_of(slow.ask(many(36), added)) in ("challenge-spent", "challenge-expired", "more-required")
    assert slow.account().totals.queries == 30


def test_a_young_stamp_spent_with_an_old_one_is_remembered_by_its_own_age(slow: House) -> None:
    old = prepaid_stamps(slow, 3000)
    slow.now = START + 599
    young = prepaid_stamps(slow, 30_000)
    added = solution(rest_of(slow.ask(many(32), format_prepaid(young))))
    released(slow.ask(many(31), format_prepaid([*old, *young])))
    for late in range(600, 3600, 100):
        slow.now = START + late + 1
        assert kind_of(slow.ask(many(32), added)) in ("challenge-spent", "challenge-expired")
    assert slow.account().totals.queries == 31


# ---- Withheld answers -----------------------------------------------------------------------------------------------


def test_up_to_twice_the_work_an_answer_leaves_and_the_rest_is_owed(house: House) -> None:
    released(house.ask(many(2), house.pay("1.0"), counted=False))
    assert house.account() == Account(Totals(2_000_000, 0, 2), FLOOR, 1)


def test_beyond_twice_the_work_an_answer_is_withheld_its_evidence_charged_and_the_work_spent(house: House) -> None:
    paid, rest = withheld(house, "2.0 2.0 1.5")
    assert rest.puzzle.expected_hashes >= 2 * FLOOR
    account = house.account()
    assert (account.totals, account.owed) == (Totals(5_500_000, 2_500_000, 3), 0)
    assert house.passes == 1
    assert kind_of(house.ask("1.0", paid)) == "challenge-spent"


def test_a_debt_stays_as_it_was_when_an_answer_is_withheld(house: House) -> None:
    released(house.ask(many(2), house.pay("1.0"), counted=False))
    owed = house.account().owed
    withheld(house, many(9))
    assert house.account().owed == owed > 0


def test_the_rest_is_what_was_due_and_pays_for_the_answer(house: House) -> None:
    _, rest = withheld(house, many(4))
    assert rest.puzzle.expected_hashes >= 3 * FLOOR
    answer = released(house.ask(many(4), solution(rest), counted=False))
    assert answer.answer == f"answer to {many(4)}"
    assert house.account().totals == Totals(4_000_000, 0, 4)
    assert house.account().owed == max(-FLOOR, 3 * FLOOR - rest.puzzle.expected_hashes)


def test_a_retry_of_a_withheld_request_gets_the_same_rest_and_makes_no_pass(house: House) -> None:
    paid, rest = withheld(house, many(4))
    before, passes = house.account(), house.passes
    for _ in range(10):
        house.now += 5
        again = rest_of(house.ask(many(4), paid, counted=False))
        assert again.puzzle == rest.puzzle
    assert (house.account(), house.passes) == (before, passes)


def test_the_rest_is_fixed_in_hashes_whatever_happens_meanwhile(house: House) -> None:
    paid, rest = withheld(house, many(40))
    before = house.account()
    for index in range(3):
        house.ask(f"0.8{'0' * index}", house.pay("1.0"))
    assert house.account() != before
    assert rest_of(house.ask(many(40), paid, counted=False)).puzzle == rest.puzzle


def test_a_rests_token_is_good_once_however_often_it_was_issued(house: House) -> None:
    paid, first = withheld(house, many(4))
    house.now += 30
    second = rest_of(house.ask(many(4), paid, counted=False))
    assert first.token != second.token
    solved = [solution(each) for each in (first, second)]
    released(house.ask(many(4), solved[0], counted=False))
    owed = house.account()
    # The second is a retry of the first: both spend the same id for the same request.
    assert released(house.ask(many(4), solved[1], counted=False)).answer == f"answer to {many(4)}"
    assert house.account() == owed
    house.now += 601
    for each in solved:
        assert kind_of(house.ask(many(4), each, counted=False)) in ("challenge-spent", "challenge-expired")


def test_the_rest_of_a_withheld_answer_is_good_until_its_token_expires(slow: House) -> None:
    paid, rest = withheld(slow, many(20))
    solved = solution(rest)
    slow.now = rest.expires.timestamp() - 1
    assert kind_of(slow.ask(many(20), paid, counted=False)) == "challenge-spent"
    released(slow.ask(many(20), solved, counted=False))


def test_the_rest_of_a_withheld_answer_is_good_for_its_request_only(house: House) -> None:
    _, rest = withheld(house, many(4))
    paid = solution(rest)
    for text, explains in ((many(3), False), (many(4), True), ("1.0", False)):
        assert kind_of(house.ask(text, paid, explains=explains, counted=False)) == "challenge-mismatch"
    released(house.ask(many(4), paid, counted=False))


def test_the_rest_of_a_withheld_answer_is_asked_for_at_the_price_of_the_day_if_that_is_more(house: House) -> None:
    paid, rest = withheld(house, many(4))
    make_dearer(house)
    price = house.challenge("1.0").puzzle.expected_hashes
    assert price > rest.puzzle.expected_hashes
    more = rest_of(house.ask(many(4), solution(rest), counted=False))
    assert more.puzzle.expected_hashes >= price - rest.puzzle.expected_hashes
    assert rest_of(house.ask(many(4), paid, counted=False)).puzzle.expected_hashes == price
    passes = house.passes
    released(house.ask(many(4), solution(more), counted=False))
    assert house.passes == passes + 1


def test_the_rest_of_a_withheld_answers_rest_is_bound_to_its_request_too(house: House) -> None:
    _, rest = withheld(house, many(4))
    make_dearer(house)
    more = rest_of(house.ask(many(4), solution(rest), counted=False))
    assert kind_of(house.ask("1.0", solution(more))) == "challenge-mismatch"


def test_the_rest_of_a_withheld_answers_rest_is_good_as_long_as_it_is_open(slow: House) -> None:
    paid, _ = withheld(slow, many(20))
    slow.now += 600
    rest = rest_of(slow.ask(many(20), paid, counted=False))
    slow.now = rest.expires.timestamp() - 10
    make_dearer(slow)
    more = rest_of(slow.ask(many(20), solution(rest), counted=False))
    slow.now = more.expires.timestamp() - 1
    # Others' requests clear away what the ledger need not remember.
    for index in range(20):
        slow.ask(f"1.{index}", slow.pay("1.0"))
    released(slow.ask(many(20), solution(more), counted=False))


def test_an_answer_whose_rest_takes_more_than_15_minutes_is_refused_for_good(slow: House) -> None:
    paid = slow.pay("1.0")
    problem = refused(slow.ask(many(60), paid, counted=False))
    assert (problem.status, problem.type, problem.challenge) == (413, "too-large", None)
    assert slow.account().totals.queries == 60
    assert kind_of(slow.ask(many(60), paid, counted=False)) == "too-large"
    assert kind_of(slow.ask("1.0", paid)) == "challenge-spent"


def test_the_dearest_rest_that_one_challenge_may_ask_for_can_be_paid(slow: House) -> None:
    longest = Tariff(slow.calibration).longest
    samples = longest // FLOOR + 1
    _, rest = withheld(slow, many(samples))
    assert rest.puzzle.expected_hashes <= longest
    released(slow.ask(many(samples), solution(rest), counted=False))


def test_a_rest_within_15_minutes_can_be_paid_also_where_as_many_samples_could_not_be_asked_for(slow: House) -> None:
    text = many(8, 1.6)
    rest = rest_of(slow.ask(text, slow.pay(text)))
    assert rest.puzzle.expected_hashes <= Tariff(slow.calibration).longest
    assert kind_of(slow.ask(many(8))) == "too-large"
    released(slow.ask(text, solution(rest)))
