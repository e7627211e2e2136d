"""The gate by itself: who is let through, who is charged, what may be spent, on a real ledger without a server."""

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import pytest

from calpow.handler import problems
from calpow.handler.decision import Admitted, Refused
from calpow.handler.issuer import time_to_solve
from calpow.handler.ledger.base import Totals
from calpow.puzzle.challenge import Challenge, format_solution
from calpow.puzzle.solver import solve
from tests.house import House, challenge_of, prepay, refused, solution


@contextmanager
def ledger_away(folder: Path) -> Iterator[None]:
    """The ledger's files are elsewhere until the block ends, and a folder stands in their place."""
    away = folder / "away"
    away.mkdir()
    for file in folder.glob("ledger.db*"):
        os.rename(file, away / file.name)
    (folder / "ledger.db").mkdir()
    yield
    (folder / "ledger.db").rmdir()
    for file in away.iterdir():
        os.rename(file, folder / file.name)


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path / "ledger.db")


def test_nobody_without_a_key_comes_in_and_nothing_is_priced(house: House) -> None:
    assert refused(house.ask("1.0", key="")).type == "identity-missing"
    assert refused(house.ask("1.0", key="cp_00000000_" + "0" * 48)).type == "identity-unknown"
    assert house.pricer.priced == []


def test_a_revoked_key_is_unknown_at_once(house: House) -> None:
    house.challenge("1.0")
    house.ledger.revoke_key(house.ledger.keys()[0].id)
    assert refused(house.ask("1.0")).type == "identity-unknown"


def test_work_buys_one_answer(house: House) -> None:
    paid = house.ask("1.0", solution(house.challenge("1.0")))
    assert isinstance(paid, Admitted)
    assert paid.next_hashes > 0


def test_every_402_holds_a_solvable_challenge_and_says_what_it_takes_but_not_what_it_cost(house: House) -> None:
    problem = refused(house.ask("1.234567"))
    document = json.loads(problem.body())
    assert document["type"] == "urn:calpow:problem:pow-required"
    assert document["status"] == 402
    challenge = Challenge.from_problem(problem.body())
    assert challenge.token in problem.headers["WWW-Authenticate"]
    assert document["challenge"]["expected_hashes"] == pytest.approx(1000, rel=0.05)
    assert "about 0.99 ms" in document["detail"]
    assert "1.2345" not in problem.body()


def test_a_quote_is_charged_when_it_is_made_not_when_it_is_paid(house: House) -> None:
    house.challenge("1.5")
    assert house.totals() == Totals(1_500_000, 500_000, 1)


def test_what_makes_an_account_look_better_is_booked_when_it_is_paid_for(house: House) -> None:
    paid = solution(house.challenge("0.8"))
    assert house.totals() == Totals(800_000, 0, 0)
    admitted = house.ask("0.8", paid)
    assert isinstance(admitted, Admitted)
    house.gate.settle([admitted.id])
    assert house.totals() == Totals(800_000, -200_000, 1)


def test_unpaid_cheap_queries_buy_a_thief_nothing_and_paid_ones_little(house: House) -> None:
    house.gate = house.worker("digits", max_open=1000)
    thief, honest = house.ledger.add_key("thief"), house.ledger.add_key("alone")
    for index in range(40):
        house.challenge(f"0.5{'0' * index}", thief)
    for index in range(40):
        filled, alone = (house.challenge(f"2.0{'0' * index}", key) for key in (thief, honest))
        assert filled.puzzle.expected_hashes == alone.puzzle.expected_hashes
    assert alone.puzzle.expected_hashes > 50_000


def test_asking_again_with_the_same_payload_gets_the_same_challenge_and_costs_nothing(house: House) -> None:
    first = house.challenge("1.5")
    again = house.challenge("1.5")
    assert again.token == first.token
    assert house.totals().cost_micro == 1_500_000
    assert house.pricer.priced == ["1.5"]


def test_every_sample_of_a_payload_is_charged_and_worked_for(house: House) -> None:
    one = house.challenge("1.0").puzzle.expected_hashes
    four = house.challenge("1.0 1.0 1.0 1.0").puzzle.expected_hashes
    assert house.totals() == Totals(5_000_000, 0, 0)
    assert four == pytest.approx(4 * one, rel=0.1)


def test_a_large_ordinary_payload_pays_the_floor_a_sample_and_is_credited_only_when_paid(house: House) -> None:
    """One sample in five is as dear as the others are cheap: an honest user's batch."""
    batch = " ".join(["2.0", "0.1", "0.1", "0.1", "0.1"] * 40)
    challenge = house.challenge(batch)
    assert challenge.puzzle.expected_hashes == pytest.approx(200_000, rel=0.05)
    assert (house.totals().excess_micro, house.totals().queries) == (40_000_000, 40)
    assert isinstance(house.ask(batch, solution(challenge)), Admitted)
    house.gate.settle([challenge.puzzle.resource])
    assert (house.totals().excess_micro, house.totals().queries) == (0, 200)


def test_dear_queries_make_the_next_ones_dearer(house: House) -> None:
    house.gate = house.worker("digits", max_open=1000)
    works = [house.challenge(f"2.0 {'0' * index}1.0").puzzle.expected_hashes for index in range(60)]
    assert works[-1] > 20 * works[0]
    cheap = house.worker("digits", max_open=1000)
    bob = house.ledger.add_key("bob")
    decisions = [cheap.admit([house.request(f"1.0{'0' * index}", key=bob)])[0] for index in range(60)]
    assert len({challenge_of(each).puzzle.expected_hashes for each in decisions}) == 1


def test_a_payload_that_cannot_be_read_is_refused_and_not_charged(house: House) -> None:
    assert refused(house.ask("?")).type == "bad-payload"
    assert house.totals().cost_micro == 0


def test_a_bad_payload_does_not_spoil_the_batch_it_came_in(house: House) -> None:
    decisions = house.gate.admit([house.request("1.0"), house.request("?"), house.request("2.0")])
    assert [refused(each).status for each in decisions] == [402, 400, 402]
    assert house.totals() == Totals(3_000_000, 1_000_000, 1)


def test_when_nothing_can_be_priced_it_says_so_and_charges_nothing(house: House) -> None:
    problem = refused(house.ask("!"))
    assert (problem.status, problem.type, problem.headers["Retry-After"]) == (503, "pricing-unavailable", "5")
    assert house.totals().cost_micro == 0


def test_a_solution_is_good_once(house: House) -> None:
    paid = solution(house.challenge("1.0"))
    assert isinstance(house.ask("1.0", paid), Admitted)
    replayed = house.ask("1.0", paid)
    assert refused(replayed).type == "challenge-spent"
    assert challenge_of(replayed).token not in paid


def test_of_two_copies_in_one_batch_one_is_answered(house: House) -> None:
    paid = solution(house.challenge("1.0"))
    decisions = house.gate.admit([house.request("1.0", paid)] * 2)
    assert [type(each) for each in decisions] == [Admitted, Refused]


def test_of_200_simultaneous_replays_at_several_workers_exactly_one_is_answered(house: House) -> None:
    paid = house.request("1.0", solution(house.challenge("1.0")))
    workers = [house.worker("digits") for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        answers = pool.map(lambda worker: [worker.admit([paid])[0] for _ in range(25)], workers)
        assert sum(isinstance(each, Admitted) for answer in answers for each in answer) == 1


def test_a_solution_after_an_undo_is_good_again(house: House) -> None:
    paid = solution(house.challenge("1.0"))
    first = house.ask("1.0", paid)
    assert isinstance(first, Admitted)
    house.gate.undo([first.id])
    assert isinstance(house.ask("1.0", paid), Admitted)


def test_a_settled_solution_cannot_be_undone(house: House) -> None:
    paid = solution(house.challenge("1.0"))
    first = house.ask("1.0", paid)
    assert isinstance(first, Admitted)
    house.gate.settle([first.id])
    house.gate.undo([first.id])
    assert refused(house.ask("1.0", paid)).type == "challenge-spent"


def test_what_a_dead_worker_held_is_good_again(house: House) -> None:
    paid = solution(house.challenge("1.0"))
    assert isinstance(house.ask("1.0", paid), Admitted)
    assert house.ledger.recover(lambda holder: False) == 1
    assert isinstance(house.ask("1.0", paid), Admitted)


def test_a_worker_that_starts_while_the_ledger_is_down_gives_back_with_its_first_batch(
    house: House, tmp_path: Path
) -> None:
    paid = solution(house.challenge("1.0"))
    assert isinstance(house.ask("1.0", paid), Admitted)
    with ledger_away(tmp_path):
        house.gate = house.worker("digits")
        house.gate.recover(lambda holder: False)
        assert refused(house.ask("1.0", paid)).status == 503
    assert isinstance(house.ask("1.0", paid), Admitted)


@pytest.mark.parametrize("swap", ["payload", "account", "model"])
def test_a_solution_cannot_be_swapped(house: House, swap: str) -> None:
    paid = solution(house.challenge("1.0"))
    gate, text, key = house.gate, "1.0", house.key
    if swap == "payload":
        text = "3.0"
    elif swap == "account":
        key = house.ledger.add_key("bob")
    else:
        gate = house.worker("other")
    problem = refused(gate.admit([house.request(text, paid, key)])[0])
    assert (problem.status, problem.type) == (402, "challenge-mismatch")
    assert problem.challenge is not None
    assert isinstance(house.ask("1.0", paid), Admitted), "the mismatch spent nothing"


def test_an_expired_solution_is_refused_with_a_new_challenge(house: House) -> None:
    challenge = house.challenge("1.0")
    paid = solution(challenge)
    house.now = challenge.expires.timestamp()
    problem = refused(house.ask("1.0", paid))
    assert problem.type == "challenge-expired"
    assert problem.challenge is not None
    assert problem.challenge.expires > datetime.fromtimestamp(house.now, timezone.utc)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda token, stamps: "",
        lambda token, stamps: "x",
        lambda token, stamps: token[:-4] + " " + " ".join(stamps),
        lambda token, stamps: token.swapcase() + " " + " ".join(stamps),
        lambda token, stamps: "prepaid " + " ".join(stamps),
        lambda token, stamps: "n" * 7000,
        lambda token, stamps: token + " " + "\N{PILE OF POO}",
        lambda token, stamps: token,
    ],
)
def test_a_malformed_solution_is_told_so_and_gets_the_open_challenge(house: House, spoil: object) -> None:
    assert callable(spoil)
    challenge = house.challenge("1.0")
    decision = house.ask("1.0", spoil(challenge.token, solve(challenge.puzzle)))
    assert refused(decision).type in {"malformed-solution", "invalid-solution", "pow-required"}
    assert challenge_of(decision).token == challenge.token
    assert house.totals().cost_micro == 1_000_000


@pytest.mark.parametrize(
    "spoil",
    [
        lambda stamps: stamps[:-1],
        lambda stamps: [stamps[0]] * len(stamps),
        lambda stamps: [*stamps[1:], stamps[0]],
        lambda stamps: [*stamps, stamps[0]],
        lambda stamps: [stamp[:-1] for stamp in stamps],
    ],
)
def test_wrong_or_too_little_work_is_refused_and_spends_nothing(house: House, spoil: object) -> None:
    assert callable(spoil)
    challenge = house.challenge("1.0")
    stamps = solve(challenge.puzzle)
    decision = house.ask("1.0", format_solution(challenge.token, spoil(stamps)))
    assert refused(decision).type == "invalid-solution"
    assert challenge_of(decision).token == challenge.token
    assert isinstance(house.ask("1.0", format_solution(challenge.token, stamps)), Admitted)


def test_an_account_may_have_so_many_open_challenges_and_no_more(house: House) -> None:
    for index in range(8):
        house.challenge(f"1.{index}")
    problem = refused(house.ask("1.9"))
    assert (problem.status, problem.type) == (429, "too-many-open")
    assert 1 <= int(problem.headers["Retry-After"]) <= 61
    assert house.totals().cost_micro == 10_800_000
    assert len(house.pricer.priced) == 8
    house.now += int(problem.headers["Retry-After"])
    house.challenge("1.9")


def test_paying_makes_room_for_another_challenge(house: House) -> None:
    paid = [solution(house.challenge(f"1.{index}")) for index in range(8)]
    assert isinstance(house.ask("1.0", paid[0]), Admitted)
    house.challenge("1.9")


def test_without_a_ledger_nothing_is_answered_and_with_it_everything_works_again(house: House, tmp_path: Path) -> None:
    paid = solution(house.challenge("1.0"))
    with ledger_away(tmp_path):
        for text, given in (("1.0", paid), ("2.0", None)):
            problem = refused(house.ask(text, given))
            assert (problem.status, problem.type, problem.headers["Retry-After"]) == (503, "ledger-unavailable", "5")
    assert isinstance(house.ask("1.0", paid), Admitted)


def test_a_settlement_the_ledger_missed_is_made_up_for(house: House, tmp_path: Path) -> None:
    paid = solution(house.challenge("1.0"))
    admitted = house.ask("1.0", paid)
    assert isinstance(admitted, Admitted)
    with ledger_away(tmp_path):
        house.gate.settle([admitted.id])
    house.ask("2.0")
    assert house.ledger.recover(lambda holder: False) == 0, "settled, so a dead holder gives nothing back"


def test_the_expiry_grows_with_the_work_and_is_never_under_a_minute() -> None:
    assert time_to_solve(0.001, 16) == 60.0
    assert 40 * 1.8 * 1000 < time_to_solve(1000, 16) < 40 * 2.1 * 1000
    assert time_to_solve(1000, 1) > time_to_solve(1000, 16)


def test_a_problem_without_a_challenge_is_never_a_402() -> None:
    fixed = [each for each in vars(problems).values() if isinstance(each, problems.Problem)]
    assert len(fixed) >= 9
    for each in fixed:
        assert each.challenge is None
        assert replace(each).document()["title"]


def test_prepaid_work_buys_an_answer_in_one_round_trip_and_is_charged_all_the_same(house: House) -> None:
    paid = house.ask("1.0", prepay(house, 1000))
    assert isinstance(paid, Admitted)
    assert paid.next_hashes == pytest.approx(1000, rel=0.05)
    assert house.totals() == Totals(1_000_000, 0, 0)


def test_what_an_answer_announces_is_enough_for_the_next(house: House) -> None:
    announced = 1000
    for index in range(20):
        paid = house.ask(f"1.0{'0' * index}", prepay(house, announced))
        assert isinstance(paid, Admitted)
        announced = paid.next_hashes


def test_too_little_prepaid_work_gets_a_challenge_for_the_whole_and_is_not_spent(house: House) -> None:
    little = prepay(house, 500)
    problem = refused(house.ask("1.0", little))
    assert (problem.status, problem.type) == (402, "pow-required")
    assert problem.challenge is not None
    assert problem.challenge.puzzle.expected_hashes >= 990
    house.gate = house.worker("digits")
    stamps = f"{little} {prepay(house, 600).removeprefix('prepaid ')}"
    assert isinstance(house.ask("1.0", stamps), Admitted), "together they pay the open challenge"
    assert house.totals().cost_micro == 1_000_000


def test_a_prepaid_stamp_is_spent_once_also_on_another_payload_and_at_another_worker(house: House) -> None:
    stamps = prepay(house, 1000)
    assert isinstance(house.ask("1.0", stamps), Admitted)
    again = refused(house.ask("1.5", stamps))
    assert (again.status, again.type) == (402, "challenge-spent")
    house.gate = house.worker("digits")
    assert refused(house.ask("1.5", stamps)).type == "challenge-spent"
    one_old = f"{prepay(house, 2000)} {stamps.split()[1]}"
    assert refused(house.ask("1.7", one_old)).type == "challenge-spent"


def test_of_two_payloads_in_one_batch_prepaid_with_the_same_stamps_one_is_answered(house: House) -> None:
    stamps = prepay(house, 1000)
    decisions = house.gate.admit([house.request("1.0", stamps), house.request("1.1", stamps)])
    assert [type(each) for each in decisions] == [Admitted, Refused]


def test_prepaid_stamps_after_an_undo_are_good_again_for_the_same_payload(house: House) -> None:
    stamps = prepay(house, 1000)
    first = house.ask("1.0", stamps)
    assert isinstance(first, Admitted)
    house.gate.undo([first.id])
    assert refused(house.ask("1.1", stamps)).type == "challenge-spent"
    again = house.ask("1.0", stamps)
    assert isinstance(again, Admitted)
    house.gate.settle([again.id])
    assert refused(house.ask("1.0", stamps)).type == "challenge-spent"


def test_prepaid_stamps_are_the_callers_own_of_this_deployment_and_fresh(house: House) -> None:
    bob = house.ledger.add_key("bob")
    for stamps, said in (
        (prepay(house, 1000, key=bob), "invalid-solution"),
        (prepay(house, 1000, realm="digits@000000"), "invalid-solution"),
        (prepay(house, 1000, at=house.now - 601), "challenge-expired"),
        (prepay(house, 1000, at=house.now + 120), "challenge-expired"),
        ("prepaid " + " ".join(prepay(house, 1000).split()[1:2] * 30), "invalid-solution"),
        (prepay(house, 1000).replace("1:5:", "1:15:"), "invalid-solution"),
        (prepay(house, 1000).replace("1:5:2", "1:5:20"), "malformed-solution"),
    ):
        problem = refused(house.ask("1.0", stamps))
        assert (problem.type, problem.status) == (said, 402)
    assert house.totals().cost_micro == 1_000_000


def test_prepaid_payloads_that_cannot_be_read_cost_neither_charge_nor_stamps(house: House) -> None:
    stamps = prepay(house, 1000)
    assert refused(house.ask("?", stamps)).type == "bad-payload"
    assert isinstance(house.ask("1.0", stamps), Admitted)
