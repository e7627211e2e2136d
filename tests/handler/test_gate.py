"""The gate by itself: who is let in, what is asked of them, and that nothing is done for whoever has not paid."""

import json
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import pytest

from calpow.handler.gate import problems
from calpow.handler.gate.decision import Request
from calpow.handler.gate.gate import Allowance
from calpow.puzzle.prepaid import prepaid_resource
from calpow.puzzle.profiles import PROFILES
from calpow.puzzle.puzzle import Puzzle
from calpow.puzzle.solving.solver import solve
from calpow.puzzle.wire import Challenge, format_prepaid, format_solution
from tests.support.house import (
    House,
    announced,
    challenge_of,
    claimed,
    claimed_stamps,
    count_digests,
    kind_of,
    many,
    prepaid_stamps,
    prepay,
    refused,
    released,
    solution,
)

FLOOR = 992  # hashes of the puzzle that is nearest to the floor's thousand
STRANGE_KEY = "cp_00000000_" + "0" * 48


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path / "ledger.db")


def must_not_be_read() -> str:
    raise AssertionError("a payload was looked at")


def spoiled_in_every_way(house: House) -> list[str | None]:
    """What a client sends that has not paid for one sample: nothing, rubbish, and work that is none."""
    challenge = house.challenge("1.0")
    stamps = solve(challenge.puzzle)
    bob = house.ledger.add_key("bob")
    return [
        *(None, "", "x", "n" * 7000, f"{challenge.token} \N{PILE OF POO}", challenge.token),
        f"{challenge.token[:-4]} {' '.join(stamps)}",
        f"{challenge.token.swapcase()} {' '.join(stamps)}",
        f"prepaid {' '.join(stamps)}",
        *(format_solution(challenge.token, spoil) for spoil in (stamps[:-1], stamps[::-1], [stamps[0]] * len(stamps))),
        claimed(challenge),
        house.pay("1.0", bob),
        prepay(house, 500),
        prepay(house, 2000, at=house.now - 601),
        prepay(house, 2000, key=bob),
        prepay(house, 2000, realm="digits@000000"),
    ]


def test_whoever_has_not_paid_makes_no_pass_and_writes_nothing(house: House) -> None:
    sent = spoiled_in_every_way(house)
    before = house.rows()
    with sqlite3.connect(house.path) as watching:
        version = watching.execute("PRAGMA data_version").fetchone()
        for header in sent:
            challenge_of(house.ask("1.0", header))
        assert watching.execute("PRAGMA data_version").fetchone() == version
    assert house.rows() == before
    assert house.passes == 0


def test_what_is_asked_does_not_depend_on_the_payload(house: House) -> None:
    told = [refused(house.ask(text)) for text in ("0.1", "0.5", "1.0", "1.5", "2.0", "3.0", "?", "!", "*", "x")]
    assert {each.challenge.puzzle.expected_hashes for each in told if each.challenge is not None} == {FLOOR}
    assert len({each.detail for each in told}) == 1
    assert len({each.challenge.puzzle.resource for each in told if each.challenge is not None}) == len(told)


def test_what_is_asked_does_not_depend_on_the_payload_of_an_account_with_a_past_either(house: House) -> None:
    for index in range(8):
        house.ask(f"2.0{'0' * index}", house.pay("1.0"))
    asked = {house.challenge(text).puzzle.expected_hashes for text in ("0.1", "1.0", "3.0", "?", "!")}
    assert len(asked) == 1
    assert asked.pop() > FLOOR


def test_every_sample_that_can_be_counted_is_asked_for_and_an_explanation_ten_times(house: House) -> None:
    for samples in (1, 2, 3, 4, 5, 64, 255, 256):
        for explains, factor in ((False, 1), (True, 10)):
            asked = house.challenge(many(samples), explains=explains).puzzle.expected_hashes
            assert samples * factor * FLOOR <= asked <= 1.25 * samples * factor * FLOOR


def test_a_model_that_gives_no_explanations_says_so_and_looks_at_no_payload(tmp_path: Path) -> None:
    house = House(tmp_path / "ledger.db", allowance=Allowance(256, 0.0))
    paid = house.pay("1.0")
    problem = refused(house.ask("1.0", paid, explains=True))
    assert (problem.status, problem.type, house.passes) == (403, "explanation-refused", 0)
    released(house.ask("1.0", paid))


def test_more_samples_than_are_allowed_are_refused_before_anything_else_is_looked_at(house: House) -> None:
    request = Request(house.key, "prepaid x", 257, False, "1.0", must_not_be_read)
    problem = refused(house.batch(request)[0])
    assert (problem.status, problem.type, problem.challenge) == (413, "too-large", None)
    assert "256" in problem.detail
    assert house.challenge(many(256)).puzzle.expected_hashes >= 256 * FLOOR


def test_the_owner_sets_how_many_samples_are_allowed(tmp_path: Path) -> None:
    house = House(tmp_path / "ledger.db", allowance=Allowance(3, 10.0))
    challenge_of(house.ask(many(3)))
    assert "3 samples" in refused(house.ask(many(4))).detail


def test_too_many_samples_that_only_the_pass_shows_are_refused_and_the_work_stays_good(house: House) -> None:
    paid = house.pay("1.0")
    problem = refused(house.ask(many(257), paid, counted=False))
    assert (problem.status, problem.type) == (413, "too-large")
    assert house.account().totals.queries == 0
    released(house.ask("1.0", paid))


@pytest.mark.parametrize(("key", "said"), [("", "identity-missing"), (STRANGE_KEY, "identity-unknown")])
def test_without_a_known_key_neither_payload_nor_account_is_looked_at(house: House, key: str, said: str) -> None:
    looked: list[str] = []
    gate = house.meddled(looked.append)
    paid = house.pay("1.0")
    for sent in (None, paid, "x", "prepaid " + paid):
        request = Request(key, sent, 1000, True, "1.0", must_not_be_read)
        problem = refused(gate.answer([request], house.runner.run)[0])
        assert (problem.status, problem.type, problem.challenge) == (401, said, None)
    assert set(looked) <= {"account_of"}
    assert house.passes == 0


def test_a_payload_is_digested_only_where_work_comes_with_it(house: House) -> None:
    request = Request(house.key, None, 1, False, "1.0", must_not_be_read)
    challenge_of(house.batch(request)[0])


def test_a_payload_is_digested_only_for_work_that_is_enough(house: House) -> None:
    for header in spoiled_in_every_way(house):
        challenge_of(house.batch(Request(house.key, header, 1, False, "1.0", must_not_be_read))[0])


@pytest.mark.parametrize("error", [RecursionError, ValueError])
def test_a_payload_too_deep_for_a_digest_is_a_bad_payload(house: House, error: type[Exception]) -> None:
    def deep() -> str:
        raise error

    paid = house.pay("1.0")
    request = Request(house.key, paid, 1, False, "1.0", deep)
    assert refused(house.batch(request)[0]).type == "bad-payload"
    released(house.ask("1.0", paid))


def test_a_revoked_key_is_unknown_at_once(house: House) -> None:
    paid = house.pay("1.0")
    house.ledger.revoke_key(house.ledger.keys()[0].id)
    assert kind_of(house.ask("1.0", paid)) == "identity-unknown"


def test_work_buys_the_answer_and_says_what_the_next_one_takes(house: House) -> None:
    answer = released(house.ask("1.0", house.pay("1.0")))
    assert answer.answer == "answer to 1.0"
    assert answer.next_hashes == FLOOR
    assert (house.account().totals.queries, house.account().owed) == (1, 0)


def test_work_pays_for_whatever_request_it_comes_with(house: House) -> None:
    assert released(house.ask("1.3", house.pay("0.9"))).answer == "answer to 1.3"


def test_every_402_holds_a_solvable_challenge_and_nothing_of_costs(house: House) -> None:
    problem = refused(house.ask("1.234567"))
    document = json.loads(problem.body())
    assert (document["type"], document["status"]) == ("urn:calpow:problem:pow-required", 402)
    challenge = Challenge.from_problem(problem.body())
    assert challenge.token in problem.headers["WWW-Authenticate"]
    assert Challenge.from_token(challenge.token) == challenge
    assert "about 0.99 ms" in document["detail"]
    assert "1.2345" not in problem.body()
    released(house.ask("1.234567", solution(challenge)))


def test_a_problem_without_a_challenge_is_never_a_402() -> None:
    fixed = [each for each in vars(problems).values() if isinstance(each, problems.Problem)]
    assert len(fixed) >= 9
    for each in fixed:
        assert each.challenge is None
        assert replace(each).document()["title"]


def test_another_accounts_or_another_models_challenge_is_a_mismatch_and_stays_good(house: House) -> None:
    paid = house.pay("1.0")
    bob = house.ledger.add_key("bob")
    for decision in (house.ask("1.0", paid, bob), house.ask("1.0", paid, gate=house.worker("other"))):
        assert kind_of(decision) == "challenge-mismatch"
        challenge_of(decision)
    released(house.ask("1.0", paid))


def test_every_key_of_an_account_may_spend_its_challenges(house: House) -> None:
    released(house.ask("1.0", house.pay("1.0"), house.ledger.add_key("ada")))


def test_an_expired_solution_is_refused_with_a_new_challenge(house: House) -> None:
    challenge = house.challenge("1.0")
    house.now = challenge.expires.timestamp()
    decision = house.ask("1.0", solution(challenge))
    assert kind_of(decision) == "challenge-expired"
    assert challenge_of(decision).expires > datetime.fromtimestamp(house.now, timezone.utc)


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
def test_wrong_work_is_refused_and_spends_nothing(house: House, spoil: Callable[[list[str]], list[str]]) -> None:
    challenge = house.challenge("1.0")
    stamps = solve(challenge.puzzle)
    assert kind_of(house.ask("1.0", format_solution(challenge.token, spoil(stamps)))) == "invalid-solution"
    released(house.ask("1.0", format_solution(challenge.token, stamps)))


def test_cheap_checks_come_before_the_first_digest(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose it is, its fields, what one challenge may ask for, and whether its ids are spent."""
    spent, bob = prepaid_stamps(house, 1000), house.ledger.add_key("bob")
    released(house.ask("1.0", format_prepaid(spent)))
    challenge = house.challenge("1.0")
    bad = Puzzle("hashcash-sha1", prepaid_resource(house.gate.realm, house.key), 30, 3)
    (fresh, *_), (stale, *_) = (claimed_stamps(bad, date) for date in ("270115080000", "270115074959"))
    taken = count_digests(monkeypatch)
    for text, sent, key, said in (
        ("1.0", claimed(challenge), bob, "challenge-mismatch"),
        ("1.0", format_solution(challenge.token, [fresh] * challenge.puzzle.count), None, "invalid-solution"),
        ("1.0", format_prepaid([fresh, stale]), None, "challenge-expired"),
        ("1.0", format_prepaid([fresh, fresh]), None, "invalid-solution"),
        ("1.1", format_prepaid([*spent, fresh]), None, "challenge-spent"),
        (many(257), claimed(challenge), None, "too-large"),
    ):
        assert kind_of(house.ask(text, sent, key)) == said
    house.now = challenge.expires.timestamp()
    assert kind_of(house.ask("1.0", claimed(challenge))) == "challenge-expired"
    assert taken == []


@pytest.mark.parametrize("profile", list(PROFILES))
def test_a_failed_solution_is_not_hashed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, profile: str) -> None:
    house = House(tmp_path / "ledger.db", PROFILES[profile].kind, 7e-5)
    wrong = claimed(house.challenge(many(8)))
    taken = count_digests(monkeypatch)
    for _ in range(10):
        assert kind_of(house.ask(many(8), wrong)) == "invalid-solution"
    assert len(taken) == len(set(taken)) <= house.kind.most_stamps


@pytest.mark.parametrize("profile", list(PROFILES))
def test_good_stamps_and_a_bad_last_one_that_varies_cost_one_new_digest_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, profile: str
) -> None:
    house = House(tmp_path / "ledger.db", PROFILES[profile].kind, 7e-5)
    resource = prepaid_resource(house.gate.realm, house.key)
    puzzle = Puzzle(house.kind.algorithm, resource, 1, 6, house.kind.cost)
    good = solve(puzzle, date=datetime.fromtimestamp(house.now, timezone.utc))
    taken = count_digests(monkeypatch)
    bad = good[-1].rsplit(":", 1)[0].replace("1:1:", "1:99:", 1)
    before = 0
    for number in range(6):
        assert kind_of(house.ask("1.0", format_prepaid([*good, f"{bad}:{number}"]))) == "invalid-solution"
        assert len(taken) - before == (1 if number else len(good) + 1)
        before = len(taken)


@pytest.mark.parametrize("profile", list(PROFILES))
def test_too_little_work_costs_its_digests_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, profile: str) -> None:
    """The server vouches for it in the token of the rest, and so it has to look."""
    house = House(tmp_path / "ledger.db", PROFILES[profile].kind, 7e-5)
    little = prepay(house, 10)
    taken = count_digests(monkeypatch)
    for _ in range(5):
        assert kind_of(house.ask("1.0", little)) == "more-required"
    assert len(taken) == len(little.split()) - 1


def test_what_an_answer_announces_is_enough_for_the_next_however_dear_it_gets(house: House) -> None:
    hashes = FLOOR
    for index in range(30):
        hashes = announced(house.ask(f"1.4{'0' * index}", prepay(house, hashes)))
    assert hashes > 2 * FLOOR
