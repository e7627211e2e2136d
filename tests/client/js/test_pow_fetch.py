"""powFetch: what is sent, what is returned, and where it stops."""

from collections.abc import Mapping
from itertools import count
from typing import Any

import pytest

from tests.support.page_scripts import FETCH, PowFetch, needs_chromium
from tests.support.scripted_server import TOKEN, Answer, ScriptedServer, challenge, scripted_server
from tests.support.shared_cases import puzzle_of

pytestmark = [pytest.mark.browser, needs_chromium]

REST = challenge(token=f"{TOKEN}b", id="0e57", bits=3, count=5)


def test_a_challenge_is_solved_and_the_answer_comes_back(pow_fetch: PowFetch, model_server: ScriptedServer) -> None:
    model_server.challenge_once()

    outcome = pow_fetch()

    assert (outcome["status"], outcome["text"]) == (200, "paid")
    assert [headers["x-api-key"] for headers in model_server.requests] == ["k", "k"]
    assert outcome["progress"][0] == [0, 16, pytest.approx(0, abs=0.1), None]
    assert outcome["progress"][-1][:2] == [16, 16]


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param({"algorithm": "hashcash-sha1", "bits": 12}, id="sha1"),
        pytest.param({"algorithm": "hashcash-sha256", "bits": 12}, id="sha256"),
        pytest.param({"algorithm": "scrypt", "bits": 4, "n": 16, "r": 2, "p": 3}, id="scrypt"),
    ],
)
def test_every_kind_of_puzzle_can_be_solved_across_origins(
    pow_fetch: PowFetch, model_server: ScriptedServer, kind: dict[str, Any]
) -> None:
    model_server.challenge_once(**kind)

    assert pow_fetch()["text"] == "paid"


def test_the_limit_holds_for_all_challenges_of_an_answer_together(
    pow_fetch: PowFetch, model_server: ScriptedServer
) -> None:
    model_server.challenge_always()

    outcome = pow_fetch(maxHashes=2 * (16 << 4))

    assert (outcome["error"], model_server.solutions) == ("WorkLimitExceeded", 2)


@pytest.mark.parametrize(
    ("options", "error"),
    [({"maxHashes": 10 * (16 << 4)}, "WorkLimitExceeded"), ({"maxSeconds": 0.5}, "SolvingTooLong")],
)
def test_a_server_that_never_accepts_is_given_up_by_work_or_time(
    pow_fetch: PowFetch, model_server: ScriptedServer, options: dict[str, object], error: str
) -> None:
    model_server.challenge_always()

    outcome = pow_fetch(**options)

    assert (outcome["error"], outcome["status"], len(model_server.requests)) == (error, 402, model_server.solutions + 1)
    assert model_server.solutions == 10 if error == "WorkLimitExceeded" else model_server.solutions > 3
    assert outcome["text"].endswith(" (the last solution was refused: do the work)")


def test_work_that_does_not_fit_into_the_rest_of_the_time_names_the_refusal(
    pow_fetch: PowFetch, model_server: ScriptedServer
) -> None:
    model_server.challenge_in_turn(challenge(), challenge(token=f"{TOKEN}c", id="0e58", bits=36))

    outcome = pow_fetch(maxHashes=2**50, maxSeconds=0.5)

    assert outcome["error"] == "SolvingTooLong"
    assert outcome["text"] == "the answer takes more than 0.5 s (the last solution was refused: no reason given)"


def test_after_too_little_work_only_the_rest_is_solved_and_sent(
    pow_fetch: PowFetch, model_server: ScriptedServer
) -> None:
    model_server.challenge_in_turn(challenge(), REST, challenge(token=f"{TOKEN}c", id="0e58", count=2))

    outcome = pow_fetch(maxHashes=(16 << 4) + (5 << 3) + (2 << 4))

    assert (outcome["status"], outcome["text"], model_server.solutions) == (200, "paid", 3)
    assert [len(headers.get("pow-solution", "").split()) for headers in model_server.requests] == [0, 17, 6, 3]


def test_the_rest_counts_against_the_limit_of_work(pow_fetch: PowFetch, model_server: ScriptedServer) -> None:
    model_server.challenge_in_turn(challenge(), REST)

    outcome = pow_fetch(maxHashes=(16 << 4) + (5 << 3) - 1)

    assert (outcome["error"], model_server.solutions) == ("WorkLimitExceeded", 1)


def test_a_first_challenge_after_a_solution_means_that_a_header_was_dropped(
    pow_fetch: PowFetch, model_server: ScriptedServer
) -> None:
    problem = {"type": "urn:calpow:problem:pow-required", "challenge": challenge()}
    model_server.answer = lambda headers: (402, problem, {})

    outcome = pow_fetch()

    assert (outcome["error"], outcome["status"], model_server.solutions) == ("HeadersDropped", 402, 1)
    assert "PoW-Solution" in outcome["text"]


def test_identical_requests_side_by_side_are_all_answered(pow_fetch: PowFetch, model_server: ScriptedServer) -> None:
    issued = count()
    spent: set[str] = set()

    def answer(headers: Mapping[str, str]) -> Answer:
        token, *stamps = headers.get("pow-solution", "").split() or [""]
        if token and token not in spent:
            spent.add(token)
            puzzle_of(challenge(id=token.rpartition(".")[2])).verify(stamps)
            return 200, "paid", {}
        number = f"{next(issued):04x}"
        return 402, {"challenge": challenge(id=number, token=f"e30.e30.{number}")}, {}

    model_server.answer = answer
    answers = pow_fetch(
        """
        const { powFetch } = await import(module);
        const answers = Array.from({ length: 40 }, () => powFetch(url, { method: "POST", body: "same", key: "k" }));
        return Promise.all(answers.map(async (answer) => (await answer).text()));
        """
    )

    assert answers == ["paid"] * 40
    assert len(spent) == 40


@pytest.mark.parametrize("options", [{"maxSeconds": 10}, {}])
def test_work_beyond_the_seconds_allowed_is_given_up(
    pow_fetch: PowFetch, model_server: ScriptedServer, options: dict[str, object]
) -> None:
    model_server.challenge_always(bits=36)

    outcome = pow_fetch(maxHashes=2**50, **options)

    assert outcome["error"] == "SolvingTooLong"
    assert outcome["progress"][-1][2] < 5


def test_what_onprogress_throws_ends_the_work_and_reaches_the_caller(
    pow_fetch: PowFetch, model_server: ScriptedServer
) -> None:
    model_server.challenge_always(bits=30)
    body = FETCH.replace("progress.push(", "progress.push(undefinedName, ")

    assert pow_fetch(body, maxHashes=2**50)["error"] == "ReferenceError"
    assert model_server.solutions == 0


@pytest.mark.parametrize(
    "body",
    ["new ReadableStream()", "new Request(url, { method: 'POST', body: 'x' }).body", "({ digit: 7 })", "[1, 2]"],
)
def test_a_body_that_can_be_sent_once_only_is_refused_before_anything_is_sent(
    pow_fetch: PowFetch, model_server: ScriptedServer, body: str
) -> None:
    assert pow_fetch(FETCH.replace('"payload"', body))["error"] == "BodyNotRewindable"
    assert model_server.requests == []


def test_a_request_object_with_a_body_is_refused(pow_fetch: PowFetch, model_server: ScriptedServer) -> None:
    call = 'powFetch(url, { method: "POST", body: "payload", key: "k", onProgress, ...options })'
    request = "powFetch(new Request(url, { method: 'POST', body: 'x' }), { key: 'k' })"
    assert pow_fetch(FETCH.replace(call, request))["error"] == "BodyNotRewindable"
    assert model_server.requests == []


@pytest.mark.parametrize("key", ["", " secret", "secret\r\nX-Evil: 1", "schlüssel"])
def test_a_key_that_cannot_stand_in_a_header_is_refused_without_repeating_it(
    pow_fetch: PowFetch, model_server: ScriptedServer, key: str
) -> None:
    outcome = pow_fetch(key=key)

    assert outcome["error"] == "UnusableKey"
    assert key == "" or key not in outcome["text"]
    assert model_server.requests == []


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (200, "free"),
        (401, "{}"),
        (402, "pay"),
        (402, "[]"),
        (402, "null"),
        (403, "{}"),
        (413, "{}"),
        (429, "{}"),
        (503, "no"),
    ],
)
def test_a_response_without_a_challenge_is_returned_as_it_came(
    pow_fetch: PowFetch, model_server: ScriptedServer, status: int, text: str
) -> None:
    model_server.answer = lambda headers: (status, text, {"Retry-After": "1"})

    outcome = pow_fetch()

    assert (outcome["error"], outcome["status"], outcome["text"], len(model_server.requests)) == (None, status, text, 1)


def test_a_redirect_does_not_carry_the_key_away(pow_fetch: PowFetch, model_server: ScriptedServer) -> None:
    with scripted_server() as elsewhere:
        model_server.answer = lambda headers: (307, "", {"Location": f"{elsewhere.url}/catch"})

        assert pow_fetch()["error"] == "TypeError"
        assert elsewhere.requests == []
