"""Server and client agree: challenges are read as they were signed, solutions are verified as they were sent."""

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calpow.handler.gate.tokens import Claims, Rest, Signer
from calpow.handler.ledger.holders import Secret
from calpow.puzzle.algorithms import ALGORITHMS, ScryptCost
from calpow.puzzle.errors import PuzzleError
from calpow.puzzle.profiles import PROFILES, PuzzleKind
from calpow.puzzle.puzzle import MAX_BITS, MAX_COUNT, Puzzle
from calpow.puzzle.solving.solver import solve
from calpow.puzzle.wire import Challenge, Solution, format_solution, parse_solution, www_authenticate
from tests.support.refusals import refused_at_once

RESOURCE = "5f0c0123456789abcdef0123456789ab"
SIGNER = Signer(lambda: (Secret("1", b"s" * 32),))
EXPIRES = datetime(2030, 1, 15, 12, 5, tzinfo=timezone.utc)

KINDS: Mapping[str, PuzzleKind] = {name: profile.kind for name, profile in PROFILES.items() if name != "scrypt-hard"}

every_kind = pytest.mark.parametrize("name", KINDS)
costs = st.builds(
    lambda exponent, r, p: ScryptCost(1 << exponent, r, p), st.integers(1, 11), st.integers(1, 8), st.integers(1, 16)
)


def puzzle_of(name: str, bits: int = 5, count: int = 3, resource: str = RESOURCE) -> Puzzle:
    kind = KINDS[name]
    return Puzzle(kind.algorithm, resource, bits, count, kind.cost)


def claims_of(puzzle: Puzzle, rest: Rest | None = None) -> Claims:
    return Claims(
        jti=puzzle.resource,
        sub="ada",
        aud="digits",
        exp=int(EXPIRES.timestamp()),
        algorithm=puzzle.algorithm,
        bits=puzzle.bits,
        count=puzzle.count,
        cost=puzzle.cost,
        rest=rest,
    )


def signed(puzzle: Puzzle) -> Challenge:
    """Return a challenge as the server issues it."""
    claims = claims_of(puzzle)
    assert SIGNER.verify(SIGNER.sign(claims)) == claims
    assert claims.puzzle == puzzle
    return Challenge(SIGNER.sign(claims), puzzle, EXPIRES)


def test_every_algorithm_is_tried() -> None:
    assert {kind.algorithm for kind in KINDS.values()} == set(ALGORITHMS)


@every_kind
@given(bits=st.integers(1, MAX_BITS), count=st.integers(1, MAX_COUNT), cost=costs)
def test_a_challenge_is_read_back_from_document_token_and_header(
    name: str, bits: int, count: int, cost: ScryptCost
) -> None:
    puzzle = puzzle_of(name, bits, count, "5f0c")
    puzzle = replace(puzzle, cost=cost if puzzle.cost else None)
    challenge = signed(puzzle)
    assert Challenge.from_document(challenge.to_document()) == challenge
    assert Challenge.from_problem(json.dumps({"status": 402, "challenge": challenge.to_document()})) == challenge
    assert Challenge.from_token(challenge.token) == challenge
    assert Challenge.from_www_authenticate(www_authenticate("digits@9f2c41", challenge.token)) == challenge


@every_kind
def test_a_solution_is_read_back_from_its_header_and_accepted(name: str) -> None:
    challenge = signed(puzzle_of(name))
    solution = parse_solution(format_solution(challenge.token, solve(challenge.puzzle)))
    assert isinstance(solution, Solution)
    SIGNER.verify(solution.token).puzzle.verify(solution.stamps)


def test_the_token_of_a_hash_has_no_member_of_scrypt() -> None:
    token = signed(puzzle_of("hashcash-sha1", 12, 18, "5f0c")).token
    claims = base64.urlsafe_b64decode(token.split(".")[1] + "==")
    assert claims == (
        b'{"jti":"5f0c","sub":"ada","aud":"digits","exp":1894709100,"algorithm":"hashcash-sha1","bits":12,"count":18}'
    )


def test_a_rest_that_names_64_stamps_can_be_sent_and_solved() -> None:
    """The longest token there is, with the most stamps a challenge asks for, fits a header."""
    puzzle = puzzle_of("hashcash-sha1", count=31)
    token = SIGNER.sign(claims_of(puzzle, Rest(("i" * 43,) * MAX_COUNT, 2**53, int(EXPIRES.timestamp()))))
    challenge = Challenge.from_token(token)
    assert challenge.puzzle == puzzle
    stamps = solve(puzzle)
    assert parse_solution(format_solution(token, stamps)) == Solution(token, tuple(stamps))


@pytest.mark.parametrize("excess", [0, 1])
def test_a_token_is_read_up_to_5120_characters(excess: int) -> None:
    challenge = signed(puzzle_of("hashcash-sha1", resource="5f0c"))
    token = f"{challenge.token:x<{5120 + excess}}"
    readers: list[Callable[[], object]] = [
        lambda: Challenge.from_token(token),
        lambda: Challenge.from_document({**challenge.to_document(), "token": token}),
        lambda: Challenge.from_www_authenticate(www_authenticate("digits@9f2c41", token)),
        lambda: parse_solution(format_solution(token, ["stamp"])),
    ]
    for read in readers:
        if excess:
            refused_at_once(read, PuzzleError, "token")
        else:
            read()
