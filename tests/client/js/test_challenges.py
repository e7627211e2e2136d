"""Challenges in a page: the valid ones are read, the hostile ones are refused, and the expired ones are not solved."""

import pytest

from tests.support.devtools import Page
from tests.support.page_scripts import PowFetch, needs_chromium
from tests.support.scripted_server import TOKEN, ScriptedServer, challenge, in_seconds
from tests.support.shared_cases import CHALLENGES, Case, document_of, parameters

pytestmark = [pytest.mark.browser, needs_chromium]


def test_a_valid_challenge_is_read(page: Page) -> None:
    cases: list[Case] = CHALLENGES["accepted"]
    documents = [document_of(case) for case in cases]
    challenges = page.run(
        'const { readChallenge } = await import("/calpow.js"); return documents.map(readChallenge);',
        documents=documents,
    )

    for case, document, read in zip(cases, documents, challenges, strict=True):
        assert read["expectedHashes"] == case["expected_hashes"], case["name"]
        names = ("token", "id", "algorithm", "bits", "count")
        assert [read[name] for name in names] == [document[name] for name in names], case["name"]
        cost = {name: document[name] for name in "nrp"} if document["algorithm"] == "scrypt" else None
        assert read["cost"] == cost, case["name"]


HOSTILE = [
    *parameters(CHALLENGES["refused"], document_of, lambda case: case["error"]),
    pytest.param(challenge(bits=29, count=20), "WorkLimitExceeded", id="beyond 2^32"),
]


@pytest.mark.parametrize(("document", "error"), HOSTILE)
def test_a_challenge_that_cannot_be_solved_is_a_named_error_and_nothing_is_solved(
    pow_fetch: PowFetch, model_server: ScriptedServer, document: object, error: str
) -> None:
    model_server.answer = lambda headers: (402, {"challenge": document}, {})

    outcome = pow_fetch()

    assert (outcome["error"], outcome["status"], outcome["progress"]) == (error, 402, [])
    assert len(model_server.requests) == 1


def test_a_token_may_have_5120_characters(pow_fetch: PowFetch, model_server: ScriptedServer) -> None:
    model_server.challenge_once(token=f"{TOKEN:x<5120}")

    assert pow_fetch()["text"] == "paid"


def test_a_challenge_that_has_expired_by_the_servers_clock_is_not_solved(
    pow_fetch: PowFetch, model_server: ScriptedServer
) -> None:
    document = challenge(expires=in_seconds(-30))
    model_server.answer = lambda headers: (402, {"challenge": document}, {"Access-Control-Expose-Headers": "Date"})

    outcome = pow_fetch()

    assert (outcome["error"], outcome["progress"], len(model_server.requests)) == ("ChallengeExpired", [], 1)


def test_a_challenge_that_has_expired_by_the_pages_clock_alone_is_tried_once(
    pow_fetch: PowFetch, model_server: ScriptedServer
) -> None:
    model_server.challenge_once(expires=in_seconds(-3600))
    assert pow_fetch()["text"] == "paid"

    model_server.challenge_always(expires=in_seconds(-3600))
    assert (pow_fetch()["error"], model_server.solutions) == ("ChallengeExpired", 2)


def test_a_challenge_that_will_expire_before_it_is_solved_is_given_up(
    pow_fetch: PowFetch, model_server: ScriptedServer
) -> None:
    document = challenge(bits=36, count=16, expires=in_seconds(60))
    model_server.answer = lambda headers: (402, {"challenge": document}, {"Access-Control-Expose-Headers": "Date"})

    outcome = pow_fetch(maxHashes=2**50)

    assert (outcome["error"], model_server.solutions) == ("ChallengeExpired", 0)
    assert 0.5 < outcome["progress"][-1][2] < 4
