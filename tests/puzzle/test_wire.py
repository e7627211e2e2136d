"""Documents, tokens and headers are read back as they were written, and nothing else is read."""

import base64
import json
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calpow.puzzle.errors import MalformedChallenge, MalformedSolution, PuzzleError, UnknownAlgorithm
from calpow.puzzle.puzzle import Puzzle
from calpow.puzzle.wire import (
    MAX_SOLUTION_LENGTH,
    MAX_TOKEN_LENGTH,
    Challenge,
    Prepaid,
    Solution,
    find_token,
    format_solution,
    parse_solution,
    www_authenticate,
)
from tests.support.refusals import refused_at_once
from tests.support.shared_cases import CHALLENGES, SOLUTIONS, Case, document_of, parameters, puzzle_of

ERRORS: Mapping[str, type[PuzzleError]] = {
    "MalformedChallenge": MalformedChallenge,
    "UnknownAlgorithm": UnknownAlgorithm,
}

CLAIMS = {"jti": "5f0c", "exp": 1_768_478_700, "algorithm": "hashcash-sha1", "bits": 12, "count": 18}


def token_of(claims: object) -> str:
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    return f"eyJhbGciOiJIUzI1NiJ9.{payload}.c2lnbmF0dXJl"


CHALLENGE = Challenge(
    token_of(CLAIMS),
    Puzzle("hashcash-sha1", "5f0c", bits=12, count=18),
    datetime(2026, 1, 15, 12, 5, tzinfo=timezone.utc),
)
DOCUMENT: dict[str, object] = {
    "token": CHALLENGE.token,
    "id": "5f0c",
    "algorithm": "hashcash-sha1",
    "bits": 12,
    "count": 18,
    "expires": "2026-01-15T12:05:00Z",
    "expected_hashes": 73_728,
}


def message_of(read: Callable[[str], object], text: str) -> str:
    """Return the message of the PuzzleError that reading raises, or "". Other errors are let through."""
    try:
        read(text)
    except PuzzleError as error:
        return str(error)
    return ""


def test_the_document_is_that_of_the_protocol() -> None:
    assert CHALLENGE.to_document() == DOCUMENT
    assert list(CHALLENGE.to_document()) == list(DOCUMENT)


def test_a_challenge_is_read_back_from_each_of_its_forms() -> None:
    problem = json.dumps({"type": "urn:calpow:problem:pow-required", "status": 402, "challenge": DOCUMENT})
    assert Challenge.from_document(DOCUMENT) == CHALLENGE
    assert Challenge.from_problem(problem) == CHALLENGE
    assert Challenge.from_problem(problem.encode()) == CHALLENGE
    assert Challenge.from_problem(json.dumps(DOCUMENT)) == CHALLENGE
    assert Challenge.from_token(CHALLENGE.token) == CHALLENGE
    assert Challenge.from_www_authenticate(www_authenticate("digits@9f2c41", CHALLENGE.token)) == CHALLENGE


def test_fractions_of_a_second_do_not_reach_the_wire() -> None:
    late = Challenge(CHALLENGE.token, CHALLENGE.puzzle, CHALLENGE.expires + timedelta(seconds=0.75))
    assert late.to_document() == DOCUMENT


@pytest.mark.parametrize(
    ("document", "expected_hashes"),
    parameters(CHALLENGES["accepted"], document_of, lambda case: case["expected_hashes"]),
)
def test_a_valid_document_is_read(document: dict[str, Any], expected_hashes: int) -> None:
    challenge = Challenge.from_document(document)
    assert challenge.puzzle == puzzle_of(document)
    assert challenge.puzzle.expected_hashes == expected_hashes
    assert challenge.token == document["token"]
    assert challenge.to_document()["expires"] == document["expires"]


@pytest.mark.parametrize(
    ("document", "error"), parameters(CHALLENGES["refused"], document_of, lambda case: case["error"])
)
def test_a_document_that_is_not_a_challenge_is_refused_at_once(document: object, error: str) -> None:
    body = json.dumps({"challenge": document})
    refused_at_once(lambda: Challenge.from_problem(body), ERRORS[error])


@pytest.mark.parametrize(
    ("document", "error"),
    parameters(
        [
            case
            for case in CHALLENGES["refused"]
            if case.get("changes", {}).keys() & {"algorithm", "bits", "count", "n", "r", "p"}
        ],
        document_of,
        lambda case: case["error"],
    ),
)
def test_the_same_puzzles_are_refused_in_a_token_at_once(document: dict[str, object], error: str) -> None:
    token = token_of({**CLAIMS, **document, "jti": document["id"]})
    refused_at_once(lambda: Challenge.from_token(token), ERRORS[error])


# JavaScript cannot tell integral floats from integers, and the last product has more digits than Python prints.
@pytest.mark.parametrize(
    "change",
    [
        {"bits": 12.0},
        {"count": 12.0},
        {"n": 32.0},
        {"r": 8.0},
        {"p": 1.0},
        {"n": 2**14000, "r": 10**4000},
    ],
)
def test_numbers_that_only_python_knows_are_refused_at_once(change: dict[str, object]) -> None:
    fields = {**DOCUMENT, "algorithm": "scrypt", "n": 32, "r": 8, "p": 1, **change}
    refused_at_once(lambda: Challenge.from_document(fields), MalformedChallenge)
    refused_at_once(lambda: Challenge.from_token(token_of({**CLAIMS, **fields, "jti": "5f0c"})), MalformedChallenge)


@pytest.mark.parametrize("name", ["token", "id", "algorithm", "bits", "count", "expires", "n", "r", "p"])
def test_a_missing_member_is_named(name: str) -> None:
    document = {**DOCUMENT, "algorithm": "scrypt", "n": 32, "r": 8, "p": 1}
    del document[name]
    refused_at_once(lambda: Challenge.from_document(document), MalformedChallenge, f"'{name}'")


@pytest.mark.parametrize("algorithm", ["", "sha1", "HASHCASH-SHA1", "Scrypt", "argon2id", "x" * 10_000])
def test_an_unknown_algorithm_is_named(algorithm: str) -> None:
    document = {**DOCUMENT, "algorithm": algorithm}
    refused_at_once(lambda: Challenge.from_document(document), UnknownAlgorithm, f"'{algorithm[:40]}'.*upgrade calpow")


@pytest.mark.parametrize(
    "body",
    ["", "null", "[]", "402", '"text"', "{", '{"challenge": null}', '{"challenge": []}', "{}", "[" * 100_000],
)
def test_a_body_without_a_challenge_is_refused(body: str) -> None:
    with pytest.raises(MalformedChallenge):
        Challenge.from_problem(body)


@pytest.mark.parametrize(
    "token",
    [
        "",
        "a.b",
        "a.!.c",
        "a.b.c",
        "a.bbbbb.c",
        token_of([]),
        token_of({**CLAIMS, "exp": None}),
        token_of({**CLAIMS, "exp": -1}),
        token_of({**CLAIMS, "exp": 10**18}),
        token_of({**CLAIMS, "bits": 999}),
        token_of({key: CLAIMS[key] for key in CLAIMS if key != "jti"}),
        token_of(CLAIMS) + "." + token_of(CLAIMS),
    ],
)
def test_a_token_that_is_not_a_challenge_is_refused(token: str) -> None:
    with pytest.raises(MalformedChallenge):
        Challenge.from_token(token)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=3))
def test_no_value_of_any_member_escapes_as_another_error(value: object) -> None:
    for name in DOCUMENT:
        for read, argument in (
            (Challenge.from_problem, json.dumps({"challenge": {**DOCUMENT, name: value}})),
            (Challenge.from_token, token_of({**CLAIMS, {"id": "jti", "expires": "exp"}.get(name, name): value})),
        ):
            assert message_of(read, argument).isprintable()


def test_an_expiry_in_another_time_zone_is_refused() -> None:
    for expires in (datetime(2026, 1, 15), datetime(2026, 1, 15, tzinfo=timezone(timedelta(hours=1)))):
        with pytest.raises(MalformedChallenge, match="UTC"):
            Challenge(CHALLENGE.token, CHALLENGE.puzzle, expires)


@pytest.mark.parametrize("realm", ["digits@9f2c41", "my model", 'quo"ted', "back\\slash", "a, PoW challenge=x", ""])
def test_the_token_is_found_beside_any_realm(realm: str) -> None:
    header = www_authenticate(realm, "a.b.c")
    assert find_token(header) == "a.b.c"
    assert find_token(f'Basic realm="{"x, y"}", {header}, Negotiate') == "a.b.c"


@pytest.mark.parametrize(
    ("header", "token"),
    [
        ('pow challenge="a.b.c"', "a.b.c"),
        ("POW  challenge = a.b.c", "a.b.c"),
        ("Negotiate, PoW realm=x, challenge=a.b.c", "a.b.c"),
        ("Negotiate YWJj==, PoW challenge=a.b.c", "a.b.c"),
        ("", None),
        ("PoW", None),
        ('PoW realm="x"', None),
        ('Basic challenge="a.b.c"', None),
        ('PoW realm="x", Basic challenge="a.b.c"', None),
        ('Basic realm="PoW challenge=a.b.c"', None),
        ('"', None),
        (",,,=,=", None),
    ],
)
def test_only_the_challenge_of_our_own_scheme_is_found(header: str, token: str | None) -> None:
    assert find_token(header) == token


def test_a_header_with_a_quote_that_is_not_closed_is_read_at_once() -> None:
    start = time.process_time()
    assert find_token('PoW challenge="' + '\\"' * 200_000) is None
    assert time.process_time() - start < 2


@pytest.mark.parametrize("text", ['"', '"\\', "\\", "a ", "a=", ",", 'PoW a="', '\\"'])
def test_the_longest_header_is_read_at_once(text: str) -> None:
    start = time.process_time()
    find_token(text * (65536 // len(text)))
    assert time.process_time() - start < 2.0


def test_a_header_without_our_scheme_holds_no_challenge() -> None:
    with pytest.raises(MalformedChallenge, match="no PoW challenge"):
        Challenge.from_www_authenticate('Basic realm="x"')


@pytest.mark.parametrize("realm", ["a\r\nX: y", "\u00e9", "\x00"])
def test_a_realm_that_would_break_the_header_is_refused(realm: str) -> None:
    with pytest.raises(MalformedChallenge, match="realm"):
        www_authenticate(realm, "a.b.c")


def test_a_solution_is_read_back() -> None:
    stamps = ("1:12:260115:5f0c:0:r:1", "1:12:260115:5f0c:1:r:1")
    assert parse_solution(format_solution("a.b.c", stamps)) == Solution("a.b.c", stamps)


@pytest.mark.parametrize("case", parameters(SOLUTIONS["headers"], lambda case: case))
def test_a_header_is_split_into_token_and_stamps(case: Case) -> None:
    stamps = tuple(case["stamps"])
    expected = Prepaid(stamps) if case["token"] is None else Solution(case["token"], stamps)
    assert parse_solution(case["header"]) == expected


@pytest.mark.parametrize("header", parameters(SOLUTIONS["refused_headers"], lambda case: case["header"]))
def test_a_malformed_solution_is_refused(header: str) -> None:
    with pytest.raises(MalformedSolution):
        parse_solution(header)


@pytest.mark.parametrize(
    "header", [f"{'a' * MAX_TOKEN_LENGTH}.b.c s", "a.b.c " + "s" * MAX_SOLUTION_LENGTH, "~" * 7168]
)
def test_a_solution_that_is_too_long_is_refused(header: str) -> None:
    with pytest.raises(MalformedSolution):
        parse_solution(header)


@given(st.text())
def test_any_header_is_read_or_refused(text: str) -> None:
    assert message_of(find_token, text) == ""
    assert message_of(parse_solution, text).isprintable()
