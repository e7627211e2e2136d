"""The wire form: documents, tokens and headers are read back as written, and nothing else is read."""

import base64
import json
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calpow.puzzle.errors import MalformedChallenge, MalformedSolution, PuzzleError, UnknownAlgorithm
from calpow.puzzle.puzzle import MAX_COUNT, Puzzle
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


def complaint(read: Callable[[str], object], text: str) -> str:
    """Return what the reader has against the text; only a PuzzleError may end it."""
    try:
        read(text)
    except PuzzleError as error:
        return str(error)
    return ""


def test_the_document_is_the_one_of_the_design() -> None:
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


def test_the_work_is_computed_whatever_the_document_says_of_it() -> None:
    challenge = Challenge.from_document({**DOCUMENT, "expected_hashes": 1})
    assert challenge.puzzle.expected_hashes == 73_728


@pytest.mark.parametrize(
    "change",
    [
        {"token": None},
        {"token": ""},
        {"token": "one.two"},
        {"token": "one.two.three.four"},
        {"token": "one.two.three\r\nX-Api-Key: k"},
        {"token": f"{'a' * MAX_TOKEN_LENGTH}.b.c"},
        {"id": 5},
        {"id": "5f 0c"},
        {"id": ""},
        {"bits": "12"},
        {"bits": 12.0},
        {"bits": True},
        {"bits": 0},
        {"bits": -3},
        {"bits": 4096},
        {"count": None},
        {"count": 0},
        {"count": MAX_COUNT + 1},
        {"expires": "tomorrow"},
        {"expires": 1_768_478_700},
        {"expires": "2026-01-15T12:05:00"},
        {"expires": "2026-01-15T12:05:00+01:00"},
        {"expires": "2026-02-30T12:05:00Z"},
    ],
)
def test_a_document_that_is_not_a_challenge_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(MalformedChallenge):
        Challenge.from_document({**DOCUMENT, **change})


@pytest.mark.parametrize("name", ["token", "id", "algorithm", "bits", "count", "expires"])
def test_a_missing_member_is_named(name: str) -> None:
    with pytest.raises(MalformedChallenge, match=f"'{name}'"):
        Challenge.from_document({key: value for key, value in DOCUMENT.items() if key != name})


def test_an_algorithm_unknown_here_is_told_from_a_broken_challenge() -> None:
    with pytest.raises(UnknownAlgorithm, match="upgrade calpow"):
        Challenge.from_document({**DOCUMENT, "algorithm": "argon2id"})


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
            assert complaint(read, argument).isprintable()


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
    began = time.perf_counter()
    assert find_token('PoW challenge="' + '\\"' * 200_000) is None
    assert time.perf_counter() - began < 2


@pytest.mark.parametrize("text", ['"', '"\\', "\\", "a ", "a=", ",", 'PoW a="', '\\"'])
def test_a_header_of_the_longest_is_read_at_once(text: str) -> None:
    begun = time.perf_counter()
    find_token(text * (65536 // len(text)))
    assert time.perf_counter() - begun < 2.0


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


def test_spaces_around_stamps_do_no_harm() -> None:
    assert parse_solution("  a.b.c   s  t ") == Solution("a.b.c", ("s", "t"))


def test_the_word_prepaid_is_not_a_token() -> None:
    assert parse_solution("prepaid s t") == Prepaid(("s", "t"))


@pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        "a.b.c",
        "prepaid",
        "PREPAID s",
        "1:12:260115:5f0c:0:r:1",
        "token s",
        "a.b s",
        "a..c s",
        "a.b.c s\u00e9",
        "a.b.c s\n",
        "a.b.c\ts",
        "a.b.c s\x00",
        f"{'a' * MAX_TOKEN_LENGTH}.b.c s",
        "a.b.c " + "s " * (MAX_COUNT + 1),
        "a.b.c " + "s" * MAX_SOLUTION_LENGTH,
        "~" * 7168,
    ],
)
def test_what_is_not_a_solution_is_refused(value: str) -> None:
    with pytest.raises(MalformedSolution):
        parse_solution(value)


@given(st.text())
def test_any_header_is_read_or_refused(text: str) -> None:
    assert complaint(find_token, text) == ""
    assert complaint(parse_solution, text).isprintable()
