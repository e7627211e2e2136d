"""Every kind of puzzle at the gate: challenges, solutions, and the few digests that a refusal takes."""

import base64
import json
import re
import time
from dataclasses import replace
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest

from calpow.puzzle.algorithms import ScryptCost
from calpow.puzzle.errors import WrongStamp
from calpow.puzzle.prepaid import prepaid_resource, read_prepaid
from calpow.puzzle.profiles import PROFILES
from calpow.puzzle.puzzle import Puzzle
from calpow.puzzle.solving.solver import solve
from calpow.puzzle.wire import Challenge, format_prepaid, format_solution
from tests.support.gate_harness import (
    GateHarness,
    challenge_of,
    decision_type,
    next_hashes_of,
    prepay,
    problem_of,
    released,
    rest_challenge,
    solution,
    work_of,
)

SCRYPT = PROFILES["scrypt"].kind
# 70 digests for an ordinary query: a moment also for scrypt.
FLOOR = 7e-5


@pytest.fixture(params=list(PROFILES))
def harness(request: pytest.FixtureRequest, tmp_path: Path) -> GateHarness:
    return GateHarness(tmp_path / "ledger.db", PROFILES[request.param].kind, FLOOR)


@pytest.fixture
def scrypt_harness(tmp_path: Path) -> GateHarness:
    return GateHarness(tmp_path / "ledger.db", SCRYPT, FLOOR)


class Digests:
    """Counter of the scrypt digests that are computed."""

    taken = 0


@pytest.fixture
def digests(monkeypatch: pytest.MonkeyPatch) -> Digests:
    counted, take = Digests(), ScryptCost.digest

    def count(cost: ScryptCost, stamp: bytes) -> bytes:
        counted.taken += 1
        return take(cost, stamp)

    monkeypatch.setattr(ScryptCost, "digest", count)
    return counted


def claims_of(challenge: Challenge) -> dict[str, object]:
    claims: dict[str, object] = json.loads(base64.urlsafe_b64decode(challenge.token.split(".")[1] + "=="))
    return claims


def test_the_challenge_is_of_the_calibrations_kind_and_its_solution_buys_an_answer(harness: GateHarness) -> None:
    challenge = harness.challenge("1.0")
    assert (challenge.puzzle.algorithm, challenge.puzzle.cost) == (harness.kind.algorithm, harness.kind.cost)
    assert harness.kind.least_stamps <= challenge.puzzle.count <= harness.kind.most_stamps
    assert Challenge.from_token(challenge.token) == challenge
    released(harness.ask("1.0", solution(challenge)))


def test_a_challenge_of_four_stamps_is_read_solved_and_buys_an_answer(tmp_path: Path) -> None:
    kind = replace(PROFILES["hashcash-sha1"].kind, least_bits=6)
    harness = GateHarness(tmp_path / "ledger.db", kind, floor=6.6e-5)
    challenge = harness.challenge("1.0")
    assert (challenge.puzzle.bits, challenge.puzzle.count) == (4, 4)
    assert Challenge.from_token(challenge.token) == challenge
    released(harness.ask("1.0", solution(challenge)))


def test_prepaid_stamps_of_the_kind_buy_an_answer_and_of_another_none(harness: GateHarness) -> None:
    hashes = next_hashes_of(harness.ask("1.0", prepay(harness, 80)))
    released(harness.ask("1.1", prepay(harness, hashes)))
    others = [profile.kind for profile in PROFILES.values() if profile.kind.algorithm != harness.kind.algorithm]
    for kind in others:
        # Once in a million times, these stamps have the work by the other digest, too.
        puzzle = Puzzle(kind.algorithm, prepaid_resource(harness.gate.realm, harness.key), 5, 4, kind.cost)
        stamps = solve(puzzle, date=datetime.fromtimestamp(harness.now, timezone.utc))
        assert problem_of(harness.ask("1.2", format_prepaid(stamps))).type == "invalid-solution"


def test_only_scrypts_tokens_and_documents_say_its_cost(harness: GateHarness) -> None:
    challenge = harness.challenge("1.0")
    cost = harness.kind.cost
    members = {} if cost is None else {"n": cost.n, "r": cost.r, "p": cost.p}
    assert list(claims_of(challenge)) == ["jti", "sub", "aud", "exp", "algorithm", "bits", "count", *members]
    for document in (claims_of(challenge), challenge.to_document()):
        assert {name: document[name] for name in document.keys() & {"n", "r", "p"}} == members


def test_the_detail_names_scrypts_memory(harness: GateHarness) -> None:
    detail = problem_of(harness.ask("1.0")).detail
    memory = {"scrypt": " by scrypt, 33 KiB a digest", "scrypt-hard": " by scrypt, 1,025 KiB a digest"}
    (name,) = (name for name, profile in PROFILES.items() if profile.kind == harness.kind)
    assert re.search(rf" bits?{re.escape(memory.get(name, ''))}; about ", detail)


@pytest.mark.parametrize(("after", "date"), [(0, "Fri, 15 Jan 2027 08:00:00 GMT"), (59.9, None)])
def test_every_402_says_what_time_it_is_so_that_any_clock_knows_how_long_is_left(
    scrypt_harness: GateHarness, after: float, date: str | None
) -> None:
    harness = scrypt_harness
    harness.now += after
    problem = problem_of(harness.ask("1.0"))
    assert problem.challenge is not None
    stated = parsedate_to_datetime(problem.headers["Date"])
    assert stated.timestamp() == int(harness.now)
    left = (problem.challenge.expires - stated).total_seconds()
    assert 60 <= left <= 62
    if date is not None:
        assert problem.headers["Date"] == date


def test_more_prepaid_stamps_than_a_puzzle_has_are_refused_before_any_digest(
    scrypt_harness: GateHarness, digests: Digests
) -> None:
    resource = prepaid_resource(scrypt_harness.gate.realm, scrypt_harness.key)
    date = time.strftime("%y%m%d%H%M%S", time.gmtime(scrypt_harness.now))
    many = [f"1:1:{date}:{resource}:{number}:r:0" for number in range(SCRYPT.most_stamps + 1)]
    assert problem_of(scrypt_harness.ask("1.0", format_prepaid(many))).type == "invalid-solution"
    assert digests.taken == 0
    with pytest.raises(WrongStamp, match="32 prepaid stamps of scrypt: mint at most 31"):
        read_prepaid(many, SCRYPT, resource)
    sha1 = PROFILES["hashcash-sha1"].kind
    many = solve(replace(sha1.puzzle(64, resource), bits=1, count=64))
    assert read_prepaid(many, sha1, resource).hashes == 128


def test_whatever_can_be_seen_without_a_digest_is_looked_at_first(
    scrypt_harness: GateHarness, digests: Digests
) -> None:
    challenge = scrypt_harness.challenge("1.0")
    puzzle = challenge.puzzle
    worthless = [f"1:{puzzle.bits}:260115:{puzzle.resource}:{number}:r:0" for number in range(puzzle.count)]
    for stamps in (
        worthless[:-1],
        [*worthless[:-1], worthless[0]],
        [*worthless[:-1], worthless[-1].replace(puzzle.resource, "0" * 16)],
        [*worthless[:-1], worthless[-1].replace(f"1:{puzzle.bits}:", "1:30:")],
        [*worthless[:-1], "no stamp"],
    ):
        assert problem_of(scrypt_harness.ask("1.0", format_solution(challenge.token, stamps))).status == 402
    assert digests.taken == 0


@pytest.mark.parametrize("good", [0, 1, 7])
def test_the_first_stamp_without_work_ends_the_verifying(
    scrypt_harness: GateHarness, digests: Digests, good: int
) -> None:
    challenge = scrypt_harness.challenge("1.0")
    puzzle = replace(challenge.puzzle, bits=8)
    stamps = solve(replace(puzzle, count=good)) if good else []
    worthless = [_without_work(puzzle.resource, number) for number in range(good, puzzle.count)]
    digests.taken = 0
    with pytest.raises(WrongStamp, match=f"stamp {good} has"):
        puzzle.verify([*stamps, *worthless])
    assert digests.taken == good + 1


def _without_work(resource: str, number: int) -> str:
    """A stamp that claims eight bits and begins with a one."""
    texts = (f"1:8:260115:{resource}:{number}:r{attempt}:0" for attempt in range(100))
    assert SCRYPT.cost is not None
    return next(text for text in texts if SCRYPT.cost.digest(text.encode())[0] & 0x80)


def test_prepaid_work_is_not_verified_beyond_the_first_worthless_stamp(
    scrypt_harness: GateHarness, digests: Digests
) -> None:
    date = time.strftime("%y%m%d%H%M%S", time.gmtime(scrypt_harness.now))
    resource = prepaid_resource(scrypt_harness.gate.realm, scrypt_harness.key)
    boasts = [f"1:40:{date}:{resource}:{number}:r:0" for number in range(31)]
    assert problem_of(scrypt_harness.ask("1.0", format_prepaid(boasts))).type == "invalid-solution"
    assert digests.taken == 1


def test_a_challenge_asked_for_before_a_new_calibration_is_solved_as_it_was_asked(tmp_path: Path) -> None:
    before = GateHarness(tmp_path / "ledger.db", PROFILES["hashcash-sha1"].kind, FLOOR)
    paid = solution(before.challenge("1.0"))
    now = GateHarness(tmp_path / "ledger.db", SCRYPT, FLOOR)
    assert now.challenge("1.0").puzzle.algorithm == "scrypt"
    released(now.ask("1.0", paid, before.key))


@pytest.mark.parametrize(("old", "new"), [("hashcash-sha1", "scrypt"), ("scrypt", "hashcash-sha1")])
def test_the_rest_of_work_of_the_old_kind_is_asked_for_in_the_new_one(tmp_path: Path, old: str, new: str) -> None:
    before = GateHarness(tmp_path / "ledger.db", PROFILES[old].kind, FLOOR)
    paid = solution(before.challenge("1.0"))
    now = GateHarness(tmp_path / "ledger.db", PROFILES[new].kind, FLOOR)
    rest = rest_challenge(now.ask("1.0 1.0", paid, before.key))
    assert rest.puzzle.algorithm == now.kind.algorithm
    released(now.ask("1.0 1.0", solution(rest), before.key))


def test_too_little_is_topped_up_by_the_rest_alone(harness: GateHarness) -> None:
    little = prepay(harness, 40)
    asked = challenge_of(harness.ask("1.0")).puzzle.expected_hashes
    rest = rest_challenge(harness.ask("1.0", little))
    assert rest.puzzle.expected_hashes < asked <= work_of(little) + rest.puzzle.expected_hashes
    released(harness.ask("1.0", solution(rest)))
    assert decision_type(harness.ask("1.1", little)) == "challenge-spent"
    assert harness.pass_count == 1
