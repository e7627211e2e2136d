"""Checks before the pass: identity, limits and work; a request that is not paid for runs and writes nothing."""

import json
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import pytest

from calpow.handler.gate import problems
from calpow.handler.gate.interface import Allowance, Purpose
from calpow.puzzle.prepaid import prepaid_resource
from calpow.puzzle.profiles import PROFILES
from calpow.puzzle.puzzle import Puzzle
from calpow.puzzle.solving.solver import solve
from calpow.puzzle.wire import Challenge, format_prepaid, format_solution
from tests.support.gate_harness import (
    FLOOR_HASHES,
    GateHarness,
    challenge_of,
    claim_work,
    count_digests,
    decision_type,
    next_hashes_of,
    payload_of,
    prepaid_stamps,
    prepay,
    problem_of,
    released,
    solution,
    stamps_without_work,
)
from tests.support.text_runner import TextRequest

UNKNOWN_KEY = "cp_00000000_" + "0" * 48
# Their digests are remembered; one of the others takes less time than to look it up.
SLOW = [name for name, profile in PROFILES.items() if profile.kind.cost is not None]


def must_not_be_read() -> str:
    raise AssertionError("a payload was read")


def spoiled_in_every_way(harness: GateHarness) -> list[str | None]:
    """Return PoW-Solution headers that do not pay for one sample: none, malformed ones, and worthless work."""
    challenge = harness.challenge("1.0")
    stamps = solve(challenge.puzzle)
    bob = harness.ledger.add_key("bob")
    return [
        *(None, "", "x", "n" * 7000, f"{challenge.token} \N{PILE OF POO}", challenge.token),
        f"{challenge.token[:-4]} {' '.join(stamps)}",
        f"{challenge.token.swapcase()} {' '.join(stamps)}",
        f"prepaid {' '.join(stamps)}",
        *(format_solution(challenge.token, spoil) for spoil in (stamps[:-1], stamps[::-1], [stamps[0]] * len(stamps))),
        claim_work(challenge),
        harness.pay("1.0", bob),
        prepay(harness, 500),
        prepay(harness, 2000, at=harness.now - 601),
        prepay(harness, 2000, key=bob),
        prepay(harness, 2000, realm="digits@000000"),
    ]


def test_whoever_has_not_paid_makes_no_pass_and_writes_nothing(harness: GateHarness) -> None:
    sent = spoiled_in_every_way(harness)
    before = harness.rows()
    with sqlite3.connect(harness.path) as watching:
        version = watching.execute("PRAGMA data_version").fetchone()
        for header in sent:
            challenge_of(harness.ask("1.0", header))
        assert watching.execute("PRAGMA data_version").fetchone() == version
    assert harness.rows() == before
    assert harness.pass_count == 0


def test_what_is_asked_does_not_depend_on_the_payload(harness: GateHarness) -> None:
    refusals = [
        problem_of(harness.ask(text)) for text in ("0.1", "0.5", "1.0", "1.5", "2.0", "3.0", "?", "!", "*", "x")
    ]
    assert {problem.challenge.puzzle.expected_hashes for problem in refusals if problem.challenge is not None} == {
        FLOOR_HASHES
    }
    assert len({problem.detail for problem in refusals}) == 1
    assert len({problem.challenge.puzzle.resource for problem in refusals if problem.challenge is not None}) == len(
        refusals
    )


def test_what_is_asked_does_not_depend_on_the_payload_of_an_account_with_a_past_either(harness: GateHarness) -> None:
    for index in range(8):
        harness.ask(f"2.0{'0' * index}", harness.pay("1.0"))
    asked = {harness.challenge(text).puzzle.expected_hashes for text in ("0.1", "1.0", "3.0", "?", "!")}
    assert len(asked) == 1
    assert asked.pop() > FLOOR_HASHES


def test_every_sample_that_can_be_counted_is_asked_for_and_an_explanation_ten_times(harness: GateHarness) -> None:
    for samples in (1, 2, 3, 4, 5, 64, 255, 256):
        for explains, factor in ((False, 1), (True, 10)):
            asked = harness.challenge(payload_of(samples), explains=explains).puzzle.expected_hashes
            assert samples * factor * FLOOR_HASHES <= asked <= 1.25 * samples * factor * FLOOR_HASHES


def test_a_model_that_gives_no_explanations_says_so_and_looks_at_no_payload(tmp_path: Path) -> None:
    harness = GateHarness(tmp_path / "ledger.db", allowance=Allowance(256, 0.0))
    paid = harness.pay("1.0")
    problem = problem_of(harness.ask("1.0", paid, explains=True))
    assert (problem.status, problem.type, harness.pass_count) == (403, "explanation-refused", 0)
    released(harness.ask("1.0", paid))


def test_more_samples_than_are_allowed_are_refused_before_anything_else_is_looked_at(harness: GateHarness) -> None:
    request = TextRequest(harness.key, "prepaid x", 257, Purpose.predict, "1.0", must_not_be_read)
    problem = problem_of(harness.batch(request)[0])
    assert (problem.status, problem.type, problem.challenge) == (413, "too-large", None)
    assert "256" in problem.detail
    assert harness.challenge(payload_of(256)).puzzle.expected_hashes >= 256 * FLOOR_HASHES


class ImageRequest(TextRequest):
    """A request whose text is an image of 5 million pixels."""

    @property
    def pixels(self) -> int:
        return 5_000_000


@pytest.mark.parametrize(
    ("allowance", "allowed"),
    [
        (Allowance(256, 10.0), True),
        (Allowance(256, 10.0, size=3, pixels=5_000_000), True),
        (Allowance(256, 10.0, size=2), False),
        (Allowance(256, 10.0, pixels=4_999_999), False),
    ],
)
def test_more_bytes_or_pixels_than_the_owner_allows_are_refused_before_anything_decodes_them(
    tmp_path: Path, allowance: Allowance, allowed: bool
) -> None:
    harness = GateHarness(tmp_path / "ledger.db", allowance=allowance)
    request = ImageRequest(harness.key, None, 1, Purpose.predict, "1.0", must_not_be_read)
    problem = problem_of(harness.batch(request)[0])
    assert (problem.status, problem.type) == ((402, "pow-required") if allowed else (413, "too-large"))
    assert harness.pass_count == 0


def test_the_owner_sets_how_many_samples_are_allowed(tmp_path: Path) -> None:
    harness = GateHarness(tmp_path / "ledger.db", allowance=Allowance(3, 10.0))
    challenge_of(harness.ask(payload_of(3)))
    assert "3 samples" in problem_of(harness.ask(payload_of(4))).detail


def test_too_many_samples_that_only_the_pass_shows_are_refused_and_the_work_stays_good(harness: GateHarness) -> None:
    paid = harness.pay("1.0")
    problem = problem_of(harness.ask(payload_of(257), paid, counted=False))
    assert (problem.status, problem.type) == (413, "too-large")
    assert harness.account().history.queries == 0
    released(harness.ask("1.0", paid))


class SecretRequest(TextRequest):
    """A request whose payload must not even be measured."""

    @property
    def size(self) -> int:
        raise AssertionError("a payload was measured")

    @property
    def pixels(self) -> int:
        raise AssertionError("an image was looked at")


@pytest.mark.parametrize(("key", "expected"), [("", "identity-missing"), (UNKNOWN_KEY, "identity-unknown")])
def test_without_a_known_key_neither_payload_nor_account_is_looked_at(
    harness: GateHarness, key: str, expected: str
) -> None:
    calls: list[str] = []
    gate = harness.hooked_worker(calls.append)
    paid = harness.pay("1.0")
    for sent in (None, paid, "x", "prepaid " + paid):
        request = SecretRequest(key, sent, 1000, Purpose.explain, "1.0", must_not_be_read)
        problem = problem_of(gate.answer([request], harness.runner.run)[0])
        assert (problem.status, problem.type, problem.challenge) == (401, expected, None)
    assert set(calls) <= {"holders", "secrets", "deployment"}
    assert harness.pass_count == 0


def test_a_payload_is_digested_only_where_work_comes_with_it(harness: GateHarness) -> None:
    request = TextRequest(harness.key, None, 1, Purpose.predict, "1.0", must_not_be_read)
    challenge_of(harness.batch(request)[0])


def test_a_payload_is_digested_only_for_work_that_is_enough(harness: GateHarness) -> None:
    for header in spoiled_in_every_way(harness):
        challenge_of(harness.batch(TextRequest(harness.key, header, 1, Purpose.predict, "1.0", must_not_be_read))[0])


def test_a_payload_too_deep_for_a_digest_is_a_bad_payload(harness: GateHarness) -> None:
    paid = harness.pay("1.0")
    request = TextRequest(harness.key, paid, 1, Purpose.predict, "1.0", lambda: "")
    assert problem_of(harness.batch(request)[0]).type == "bad-payload"
    released(harness.ask("1.0", paid))


def test_a_revoked_key_is_unknown_at_once(harness: GateHarness) -> None:
    paid = harness.pay("1.0")
    harness.ledger.revoke_key(harness.ledger.keys()[0].id)
    assert decision_type(harness.ask("1.0", paid)) == "identity-unknown"


def test_work_buys_the_answer_and_says_what_the_next_one_takes(harness: GateHarness) -> None:
    answer = released(harness.ask("1.0", harness.pay("1.0")))
    assert answer.answer == "answer to 1.0"
    assert answer.next_hashes == FLOOR_HASHES
    assert (harness.account().history.queries, harness.account().owed) == (1, 0)


def test_work_pays_for_whatever_request_it_comes_with(harness: GateHarness) -> None:
    assert released(harness.ask("1.3", harness.pay("0.9"))).answer == "answer to 1.3"


def test_every_402_holds_a_solvable_challenge_and_nothing_of_costs(harness: GateHarness) -> None:
    problem = problem_of(harness.ask("1.234567"))
    document = json.loads(problem.body())
    assert (document["type"], document["status"]) == ("urn:calpow:problem:pow-required", 402)
    challenge = Challenge.from_problem(problem.body())
    assert challenge.token in problem.headers["WWW-Authenticate"]
    assert Challenge.from_token(challenge.token) == challenge
    assert "about 0.99 ms" in document["detail"]
    assert "1.2345" not in problem.body()
    released(harness.ask("1.234567", solution(challenge)))


def test_a_problem_without_a_challenge_is_never_a_402() -> None:
    fixed = [problem for problem in vars(problems).values() if isinstance(problem, problems.Problem)]
    assert len(fixed) >= 9
    for problem in fixed:
        assert problem.challenge is None
        assert replace(problem).document()["title"]


def test_another_accounts_or_another_models_challenge_is_a_mismatch_and_stays_good(harness: GateHarness) -> None:
    paid = harness.pay("1.0")
    bob = harness.ledger.add_key("bob")
    for decision in (harness.ask("1.0", paid, bob), harness.ask("1.0", paid, gate=harness.worker("other"))):
        assert decision_type(decision) == "challenge-mismatch"
        challenge_of(decision)
    released(harness.ask("1.0", paid))


def test_every_key_of_an_account_may_spend_its_challenges(harness: GateHarness) -> None:
    released(harness.ask("1.0", harness.pay("1.0"), harness.ledger.add_key("ada")))


def test_an_expired_solution_is_refused_with_a_new_challenge(harness: GateHarness) -> None:
    challenge = harness.challenge("1.0")
    harness.now = challenge.expires.timestamp()
    decision = harness.ask("1.0", solution(challenge))
    assert decision_type(decision) == "challenge-expired"
    assert challenge_of(decision).expires > datetime.fromtimestamp(harness.now, timezone.utc)


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
def test_wrong_work_is_refused_and_spends_nothing(
    harness: GateHarness, spoil: Callable[[list[str]], list[str]]
) -> None:
    challenge = harness.challenge("1.0")
    stamps = solve(challenge.puzzle)
    assert decision_type(harness.ask("1.0", format_solution(challenge.token, spoil(stamps)))) == "invalid-solution"
    released(harness.ask("1.0", format_solution(challenge.token, stamps)))


def test_cheap_checks_come_before_the_first_digest(harness: GateHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    """Account, fields of the stamps, limit of a challenge, expiry, and spent ids are checked before."""
    spent, bob = prepaid_stamps(harness, 1000), harness.ledger.add_key("bob")
    released(harness.ask("1.0", format_prepaid(spent)))
    challenge = harness.challenge("1.0")
    bad = Puzzle("hashcash-sha1", prepaid_resource(harness.gate.realm, harness.key), 30, 3)
    (fresh, *_), (stale, *_) = (stamps_without_work(bad, date) for date in ("270115080000", "270115074959"))
    taken = count_digests(monkeypatch)
    for text, sent, key, expected in (
        ("1.0", claim_work(challenge), bob, "challenge-mismatch"),
        ("1.0", format_solution(challenge.token, [fresh] * challenge.puzzle.count), None, "invalid-solution"),
        ("1.0", format_prepaid([fresh, stale]), None, "challenge-expired"),
        ("1.0", format_prepaid([fresh, fresh]), None, "invalid-solution"),
        ("1.1", format_prepaid([*spent, fresh]), None, "challenge-spent"),
        (payload_of(257), claim_work(challenge), None, "too-large"),
    ):
        assert decision_type(harness.ask(text, sent, key)) == expected
    harness.now = challenge.expires.timestamp()
    assert decision_type(harness.ask("1.0", claim_work(challenge))) == "challenge-expired"
    assert taken == []


@pytest.mark.parametrize("profile", SLOW)
def test_a_failed_solution_of_scrypt_is_not_hashed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, profile: str
) -> None:
    harness = GateHarness(tmp_path / "ledger.db", PROFILES[profile].kind, 7e-5)
    wrong = claim_work(harness.challenge(payload_of(8)))
    taken = count_digests(monkeypatch)
    for _ in range(10):
        assert decision_type(harness.ask(payload_of(8), wrong)) == "invalid-solution"
    assert len(taken) == len(set(taken)) <= harness.kind.most_stamps


@pytest.mark.parametrize("profile", SLOW)
def test_good_stamps_and_a_bad_last_one_that_varies_cost_one_new_digest_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, profile: str
) -> None:
    harness = GateHarness(tmp_path / "ledger.db", PROFILES[profile].kind, 7e-5)
    resource = prepaid_resource(harness.gate.realm, harness.key)
    puzzle = Puzzle(harness.kind.algorithm, resource, 1, 6, harness.kind.cost)
    good = solve(puzzle, date=datetime.fromtimestamp(harness.now, timezone.utc))
    taken = count_digests(monkeypatch)
    bad = good[-1].rsplit(":", 1)[0].replace("1:1:", "1:99:", 1)
    before = 0
    for number in range(6):
        assert decision_type(harness.ask("1.0", format_prepaid([*good, f"{bad}:{number}"]))) == "invalid-solution"
        assert len(taken) - before == (1 if number else len(good) + 1)
        before = len(taken)


@pytest.mark.parametrize("profile", SLOW)
def test_too_little_work_costs_its_digests_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, profile: str) -> None:
    """The token of the rest vouches for it, so the server must hash it once."""
    harness = GateHarness(tmp_path / "ledger.db", PROFILES[profile].kind, 7e-5)
    little = prepay(harness, 10)
    taken = count_digests(monkeypatch)
    for _ in range(5):
        assert decision_type(harness.ask("1.0", little)) == "more-required"
    assert len(taken) == len(little.split()) - 1


def test_what_an_answer_announces_is_enough_for_the_next_however_dear_it_gets(harness: GateHarness) -> None:
    hashes = FLOOR_HASHES
    for index in range(30):
        hashes = next_hashes_of(harness.ask(f"1.4{'0' * index}", prepay(harness, hashes)))
    assert hashes > 2 * FLOOR_HASHES
