"""Puzzles of SHA-1 and of scrypt on a real server: they are asked, solved and topped up alike."""

import time
from dataclasses import replace
from email.utils import parsedate_to_datetime

import pytest

from calpow.puzzle.prepaid import prepaid_resource
from calpow.puzzle.profiles import PROFILES
from calpow.puzzle.solving.solver import solve
from calpow.puzzle.wire import Challenge, find_realm, format_prepaid
from tests.support.gate_harness import solution
from tests.support.guarded import Site

SCRYPT = PROFILES["scrypt"].kind


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
    assert site.history(f"topping-up-{model}", model).queries == 0
    paid = solution(Challenge.from_problem(asked.content))
    answer = site.raw(model, payload, key, paid)
    assert (answer.status_code, answer.content) == (200, site.plain("vector", payload).content)
    for spent in (few, paid):
        again = site.raw(model, b"0.2,0.9,0.3,0.2", key, spent)
        assert again.json()["type"] == "urn:calpow:problem:challenge-spent"
    assert site.history(f"topping-up-{model}", model).queries == 1
