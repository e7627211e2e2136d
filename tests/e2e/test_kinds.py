"""Every kind of puzzle at the gate: what is asked, told and accepted, and that verifying stays cheap for the server."""

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
from calpow.puzzle.solving.solver import solve
from calpow.puzzle.wire import Challenge, find_realm, format_prepaid, format_solution
from tests.support.guarded import Site
from tests.support.house import (
    House,
    announced,
    challenge_of,
    kind_of,
    prepay,
    refused,
    released,
    rest_of,
    solution,
    work_of,
)

SCRYPT = PROFILES["scrypt"].kind
# 70 digests for an ordinary query: a moment also for scrypt.
FLOOR = 7e-5
VERIFYING_SECONDS = 0.005


@pytest.fixture(params=list(PROFILES))
def house(request: pytest.FixtureRequest, tmp_path: Path) -> House:
    return House(tmp_path / "ledger.db", PROFILES[request.param].kind, FLOOR)


@pytest.fixture
def scrypt_house(tmp_path: Path) -> House:
    return House(tmp_path / "ledger.db", SCRYPT, FLOOR)


class Digests:
    """Counts the digests of scrypt that are taken while it is looked."""

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


def test_the_challenge_is_of_the_calibrations_kind_and_its_solution_buys_an_answer(house: House) -> None:
    challenge = house.challenge("1.0")
    assert (challenge.puzzle.algorithm, challenge.puzzle.cost) == (house.kind.algorithm, house.kind.cost)
    assert house.kind.least_stamps <= challenge.puzzle.count <= house.kind.most_stamps
    assert Challenge.from_token(challenge.token) == challenge
    released(house.ask("1.0", solution(challenge)))


def test_prepaid_stamps_of_the_kind_buy_an_answer_and_of_another_none(house: House) -> None:
    hashes = announced(house.ask("1.0", prepay(house, 80)))
    released(house.ask("1.1", prepay(house, hashes)))
    others = [each.kind for each in PROFILES.values() if each.kind.algorithm != house.kind.algorithm]
    for other in others:
        puzzle = other.puzzle(80, prepaid_resource(house.gate.realm, house.key))
        stamps = solve(puzzle, date=datetime.fromtimestamp(house.now, timezone.utc))
        assert refused(house.ask("1.2", format_prepaid(stamps[:4]))).type == "invalid-solution"


def test_only_scrypts_tokens_and_documents_say_its_cost(house: House) -> None:
    challenge = house.challenge("1.0")
    cost = house.kind.cost
    members = {} if cost is None else {"n": cost.n, "r": cost.r, "p": cost.p}
    assert list(claims_of(challenge)) == ["jti", "sub", "aud", "exp", "algorithm", "bits", "count", *members]
    for each in (claims_of(challenge), challenge.to_document()):
        assert {name: each[name] for name in each.keys() & {"n", "r", "p"}} == members


def test_the_detail_names_scrypts_memory(house: House) -> None:
    detail = refused(house.ask("1.0")).detail
    memory = {"scrypt": " by scrypt, 33 KiB a digest", "scrypt-hard": " by scrypt, 1,025 KiB a digest"}
    (name,) = (name for name, profile in PROFILES.items() if profile.kind == house.kind)
    assert re.search(rf" bits?{re.escape(memory.get(name, ''))}; about ", detail)


@pytest.mark.parametrize(("after", "date"), [(0, "Fri, 15 Jan 2027 08:00:00 GMT"), (59.9, None)])
def test_every_402_says_what_time_it_is_so_that_any_clock_knows_how_long_is_left(
    scrypt_house: House, after: float, date: str | None
) -> None:
    house = scrypt_house
    house.now += after
    problem = refused(house.ask("1.0"))
    assert problem.challenge is not None
    said = parsedate_to_datetime(problem.headers["Date"])
    assert said.timestamp() == int(house.now)
    left = (problem.challenge.expires - said).total_seconds()
    assert 60 <= left <= 62
    if date is not None:
        assert problem.headers["Date"] == date


def test_more_prepaid_stamps_than_a_puzzle_has_are_refused_before_any_digest(
    scrypt_house: House, digests: Digests
) -> None:
    resource = prepaid_resource(scrypt_house.gate.realm, scrypt_house.key)
    date = time.strftime("%y%m%d%H%M%S", time.gmtime(scrypt_house.now))
    many = [f"1:1:{date}:{resource}:{number}:r:0" for number in range(SCRYPT.most_stamps + 1)]
    assert refused(scrypt_house.ask("1.0", format_prepaid(many))).type == "invalid-solution"
    assert digests.taken == 0
    with pytest.raises(WrongStamp, match="32 prepaid stamps of scrypt: mint at most 31"):
        read_prepaid(many, SCRYPT, resource)
    sha1 = PROFILES["hashcash-sha1"].kind
    many = solve(replace(sha1.puzzle(64, resource), bits=1, count=64))
    assert read_prepaid(many, sha1, resource).hashes == 128


def test_whatever_can_be_seen_without_a_digest_is_looked_at_first(scrypt_house: House, digests: Digests) -> None:
    challenge = scrypt_house.challenge("1.0")
    puzzle = challenge.puzzle
    worthless = [f"1:{puzzle.bits}:260115:{puzzle.resource}:{number}:r:0" for number in range(puzzle.count)]
    for stamps in (
        worthless[:-1],
        [*worthless[:-1], worthless[0]],
        [*worthless[:-1], worthless[-1].replace(puzzle.resource, "0" * 16)],
        [*worthless[:-1], worthless[-1].replace(f"1:{puzzle.bits}:", "1:30:")],
        [*worthless[:-1], "no stamp"],
    ):
        assert refused(scrypt_house.ask("1.0", format_solution(challenge.token, stamps))).status == 402
    assert digests.taken == 0


@pytest.mark.parametrize("good", [0, 1, 7])
def test_the_first_stamp_without_work_ends_the_verifying(scrypt_house: House, digests: Digests, good: int) -> None:
    challenge = scrypt_house.challenge("1.0")
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


def test_prepaid_work_is_not_verified_beyond_the_first_worthless_stamp(scrypt_house: House, digests: Digests) -> None:
    date = time.strftime("%y%m%d%H%M%S", time.gmtime(scrypt_house.now))
    resource = prepaid_resource(scrypt_house.gate.realm, scrypt_house.key)
    boasts = [f"1:40:{date}:{resource}:{number}:r:0" for number in range(31)]
    assert refused(scrypt_house.ask("1.0", format_prepaid(boasts))).type == "invalid-solution"
    assert digests.taken == 1


def test_verifying_the_largest_count_of_the_scrypt_profile_takes_under_5_ms() -> None:
    puzzle = replace(SCRYPT.puzzle(64, "5f0c"), bits=1, count=SCRYPT.most_stamps)
    stamps = solve(puzzle)

    def seconds() -> float:
        start = time.perf_counter()
        puzzle.verify(stamps)
        return time.perf_counter() - start

    # Other load on the machine only ever adds: the least of many is what verifying takes.
    assert min(seconds() for _ in range(60)) < VERIFYING_SECONDS


def test_a_challenge_asked_for_before_a_new_calibration_is_solved_as_it_was_asked(tmp_path: Path) -> None:
    before = House(tmp_path / "ledger.db", PROFILES["hashcash-sha1"].kind, FLOOR)
    paid = solution(before.challenge("1.0"))
    now = House(tmp_path / "ledger.db", SCRYPT, FLOOR)
    assert now.challenge("1.0").puzzle.algorithm == "scrypt"
    released(now.ask("1.0", paid, before.key))


@pytest.mark.parametrize(("old", "new"), [("hashcash-sha1", "scrypt"), ("scrypt", "hashcash-sha1")])
def test_the_rest_of_work_of_the_old_kind_is_asked_for_in_the_new_one(tmp_path: Path, old: str, new: str) -> None:
    before = House(tmp_path / "ledger.db", PROFILES[old].kind, FLOOR)
    paid = solution(before.challenge("1.0"))
    now = House(tmp_path / "ledger.db", PROFILES[new].kind, FLOOR)
    rest = rest_of(now.ask("1.0 1.0", paid, before.key))
    assert rest.puzzle.algorithm == now.kind.algorithm
    released(now.ask("1.0 1.0", solution(rest), before.key))


def test_too_little_is_topped_up_by_the_rest_alone(house: House) -> None:
    little = prepay(house, 40)
    asked = challenge_of(house.ask("1.0")).puzzle.expected_hashes
    rest = rest_of(house.ask("1.0", little))
    assert rest.puzzle.expected_hashes < asked <= work_of(little) + rest.puzzle.expected_hashes
    released(house.ask("1.0", solution(rest)))
    assert kind_of(house.ask("1.1", little)) == "challenge-spent"
    assert house.passes == 1


@pytest.mark.parametrize("model", ["vector", "hard"])
def test_a_real_server_says_once_what_time_it_is_with_every_402(site: Site, model: str) -> None:
    before = int(time.time())
    refused_with = site.raw(model, b"0.1,0.9,0.3,0.2", site.key("dated"))
    assert refused_with.status_code == 402
    (said,) = refused_with.raw.headers.getlist("Date")
    assert before <= parsedate_to_datetime(said).timestamp() <= time.time()
    left = Challenge.from_problem(refused_with.content).expires - parsedate_to_datetime(said)
    assert 59 <= left.total_seconds() <= 61


def test_a_real_server_asks_for_scrypt_and_answers_who_solves_it(site: Site) -> None:
    key, payload = site.key("hard"), b"0.1,0.9,0.3,0.2"
    asked = site.raw("hard", payload, key)
    challenge = Challenge.from_problem(asked.content)
    assert challenge == Challenge.from_www_authenticate(asked.headers["WWW-Authenticate"])
    assert (challenge.puzzle.algorithm, challenge.puzzle.cost) == ("scrypt", SCRYPT.cost)
    answer = site.raw("hard", payload, key, solution(challenge))
    assert (answer.status_code, answer.content) == (200, site.plain("vector", payload).content)


@pytest.mark.parametrize("model", ["vector", "hard"])
def test_a_real_server_lets_a_client_top_up(site: Site, model: str) -> None:
    key, payload = site.key(f"topping-up-{model}"), b"0.1,0.9,0.3,0.2"
    realm = find_realm(site.raw(model, payload, key).headers["WWW-Authenticate"])
    kind = PROFILES["scrypt" if model == "hard" else "hashcash-sha1"].kind
    few = format_prepaid(solve(replace(kind.puzzle(64, prepaid_resource(realm or "", key)), bits=3, count=6)))
    asked = site.raw(model, payload, key, few)
    assert (asked.status_code, asked.json()["type"]) == (402, "urn:calpow:problem:more-required")
    assert site.totals(f"topping-up-{model}", model).queries == 0
    paid = solution(Challenge.from_problem(asked.content))
    answer = site.raw(model, payload, key, paid)
    assert (answer.status_code, answer.content) == (200, site.plain("vector", payload).content)
    for spent in (few, paid):
        again = site.raw(model, b"0.2,0.9,0.3,0.2", key, spent)
        assert again.json()["type"] == "urn:calpow:problem:challenge-spent"
    assert site.totals(f"topping-up-{model}", model).queries == 1
