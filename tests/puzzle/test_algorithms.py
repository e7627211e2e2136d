"""Digests and the costs of scrypt, for every algorithm of the registry."""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calpow.puzzle.algorithms import ALGORITHMS, ScryptCost, digest_of
from calpow.puzzle.errors import PuzzleError, UnknownAlgorithm
from calpow.puzzle.profiles import PuzzleKind
from calpow.puzzle.puzzle import Puzzle
from calpow.puzzle.stamp import MAX_STAMP_LENGTH
from tests.support.refusals import refused_at_once
from tests.support.shared_cases import STAMPS, parameters

RESOURCE = "5f0c0123456789abcdef0123456789ab"
# The algorithms once more, written independently.
REFERENCE: Mapping[str, Callable[[bytes], bytes]] = {
    "hashcash-sha1": lambda stamp: hashlib.new("sha1", stamp).digest(),
    "hashcash-sha256": lambda stamp: hashlib.new("sha256", stamp).digest(),
    "scrypt": lambda stamp: hashlib.scrypt(stamp, salt=b"", n=32, r=8, p=1, dklen=32),
}


def cost_of(algorithm: str) -> ScryptCost | None:
    return ScryptCost(32, 8, 1) if algorithm == "scrypt" else None


def test_every_algorithm_has_a_reference() -> None:
    assert set(ALGORITHMS) == REFERENCE.keys()


@pytest.mark.parametrize("case", parameters(STAMPS["digests"], lambda case: case))
def test_known_digests(case: Mapping[str, Any]) -> None:
    cost = ScryptCost(**case["cost"]) if case["cost"] else None
    assert digest_of(case["algorithm"], cost)(case["message"].encode()).hex() == case["digest"]


@pytest.mark.parametrize(
    ("password", "salt", "cost", "digest"),
    [
        (b"password", b"NaCl", ScryptCost(1024, 8, 16), "fdbabe1c9d3472007856e7190d01e9fe"),
        (b"pleaseletmein", b"SodiumChloride", ScryptCost(16384, 8, 1), "7023bdcb3afd7348461c06cd81fd38eb"),
    ],
)
def test_costs_are_those_of_rfc_7914(password: bytes, salt: bytes, cost: ScryptCost, digest: str) -> None:
    """Its other vectors have salts: with the parameters and the memory of the cost, hashlib computes them."""
    computed = hashlib.scrypt(
        password, salt=salt, n=cost.n, r=cost.r, p=cost.p, maxmem=cost.memory + (1 << 20), dklen=16
    )
    assert computed.hex() == digest


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@given(stamp=st.binary(max_size=MAX_STAMP_LENGTH))
def test_a_stamps_digest_is_that_of_hashlib(algorithm: str, stamp: bytes) -> None:
    assert digest_of(algorithm, cost_of(algorithm))(stamp) == REFERENCE[algorithm](stamp)


@given(exponent=st.integers(1, 8), r=st.integers(1, 8), p=st.integers(1, 4), stamp=st.binary(max_size=64))
@settings(max_examples=50)
def test_scrypt_of_any_cost_is_that_of_hashlib(exponent: int, r: int, p: int, stamp: bytes) -> None:
    n = 1 << exponent
    expected = hashlib.scrypt(stamp, salt=b"", n=n, r=r, p=p, maxmem=1 << 26, dklen=32)
    assert ScryptCost(n, r, p).digest(stamp) == expected


@pytest.mark.parametrize(("n", "r", "p"), [(33, 8, 1), (2**40, 8, 1), (2**16, 2**10, 1), (32, 8, 2**30), (-32, 8, 1)])
def test_an_absurd_cost_is_refused(n: int, r: int, p: int) -> None:
    refused_at_once(lambda: ScryptCost(n, r, p), PuzzleError, "scrypt")


@pytest.mark.parametrize(("n", "r", "p"), [(2, 170_000, 1), (2, 15_000, 15), (4, 5000, 1), (32768, 1, 1), (2, 1, 16)])
def test_a_cost_that_is_allowed_can_be_paid(n: int, r: int, p: int) -> None:
    assert len(ScryptCost(n, r, p).digest(b"stamp")) == 32


def test_scrypt_without_a_cost_is_refused() -> None:
    for action in (lambda: Puzzle("scrypt", RESOURCE, 5, 3), lambda: PuzzleKind("scrypt")):
        refused_at_once(action, PuzzleError, "n, r and p belong to scrypt")


@pytest.mark.parametrize("algorithm", ["hashcash-sha1", "hashcash-sha256"])
def test_a_hash_with_the_cost_of_scrypt_is_refused(algorithm: str) -> None:
    cost = ScryptCost(32, 8, 1)
    refused_at_once(lambda: Puzzle(algorithm, RESOURCE, 5, 3, cost), PuzzleError, "n, r and p belong to scrypt")
    refused_at_once(lambda: PuzzleKind(algorithm, cost), PuzzleError, "n, r and p belong to scrypt")
    refused_at_once(lambda: digest_of(algorithm, cost), PuzzleError, "n, r and p belong to scrypt")


@pytest.mark.parametrize("algorithm", ["", "sha1", "HASHCASH-SHA1", "Scrypt", "argon2id", "x" * 10_000])
def test_an_unknown_algorithm_is_named(algorithm: str) -> None:
    refused_at_once(lambda: Puzzle(algorithm, RESOURCE, 12, 1), UnknownAlgorithm, f"'{algorithm[:40]}'")
