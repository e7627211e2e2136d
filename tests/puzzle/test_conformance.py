"""One suite for every algorithm of the registry: digests, stamps, hostile ones, the wire form, Debian's program."""

import base64
import hashlib
import itertools
import json
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calpow.handler.gate.tokens import Claims, Rest, Signer
from calpow.handler.ledger.ledger import Secret
from calpow.puzzle.algorithms import ALGORITHMS, ScryptCost, digest_of
from calpow.puzzle.errors import MalformedChallenge, MalformedStamp, PuzzleError, UnknownAlgorithm, WrongStamp
from calpow.puzzle.profiles import PROFILES, Kind
from calpow.puzzle.puzzle import MAX_BITS, MAX_COUNT, Puzzle
from calpow.puzzle.solving.solver import solve
from calpow.puzzle.stamp import MAX_STAMP_LENGTH, leading_zero_bits
from calpow.puzzle.wire import Challenge, Solution, format_solution, parse_solution, www_authenticate

RESOURCE = "5f0c0123456789abcdef0123456789ab"
BITS = 5
# Who writes any of the texts that are refused must not be able to keep anybody busy with it.
AT_ONCE_SECONDS = 0.5
SIGNER = Signer(lambda: (Secret("1", b"s" * 32),))
SIGNER.refresh()
EXPIRES = datetime(2030, 1, 15, 12, 5, tzinfo=timezone.utc)

KINDS: Mapping[str, Kind] = {name: profile.kind for name, profile in PROFILES.items() if name != "scrypt-hard"}
# Said again by another hand.
REFERENCE: Mapping[str, Callable[[bytes], bytes]] = {
    "hashcash-sha1": lambda stamp: hashlib.new("sha1", stamp).digest(),
    "hashcash-sha256": lambda stamp: hashlib.new("sha256", stamp).digest(),
    "scrypt": lambda stamp: hashlib.scrypt(stamp, salt=b"", n=32, r=8, p=1, dklen=32),
}

every_kind = pytest.mark.parametrize("name", KINDS)
needs_hashcash = pytest.mark.skipif(
    shutil.which("hashcash") is None, reason="the program hashcash is not installed (apt install hashcash)"
)


def puzzle_of(name: str, bits: int = BITS, count: int = 3, resource: str = RESOURCE) -> Puzzle:
    kind = KINDS[name]
    return Puzzle(kind.algorithm, resource, bits, count, kind.cost)


def work_in(name: str, stamp: str) -> int:
    return leading_zero_bits(REFERENCE[name](stamp.encode()))


def mint(name: str, form: str, bits: int) -> str:
    """Find the number that gives the stamp written as `form` its bits; nothing of the solver's."""
    return next(text for text in map(form.format, itertools.count()) if work_in(name, text) >= bits)


def test_every_algorithm_is_tried() -> None:
    assert {kind.algorithm for kind in KINDS.values()} == set(ALGORITHMS) == REFERENCE.keys()


# Digests


@pytest.mark.parametrize(
    ("algorithm", "cost", "message", "digest"),
    [
        # FIPS 180-4's example, of one block.
        ("hashcash-sha1", None, b"abc", "a9993e364706816aba3e25717850c26c9cd0d89d"),
        ("hashcash-sha256", None, b"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        # RFC 7914, section 12, the vector with an empty salt; a shorter output is its beginning (RFC 8018, 5.2).
        ("scrypt", ScryptCost(16, 1, 1), b"", "77d6576238657b203b19ca42c18a0497f16b4844e3074ae8dfdffa3fede21442"),
    ],
)
def test_known_digests(algorithm: str, cost: ScryptCost | None, message: bytes, digest: str) -> None:
    assert digest_of(algorithm, cost)(message).hex() == digest


@pytest.mark.parametrize(
    ("password", "salt", "cost", "digest"),
    [
        (b"password", b"NaCl", ScryptCost(1024, 8, 16), "fdbabe1c9d3472007856e7190d01e9fe"),
        (b"pleaseletmein", b"SodiumChloride", ScryptCost(16384, 8, 1), "7023bdcb3afd7348461c06cd81fd38eb"),
    ],
)
def test_costs_mean_what_rfc_7914_means_by_them(password: bytes, salt: bytes, cost: ScryptCost, digest: str) -> None:
    """Its other vectors have salts: with the cost's numbers and memory, hashlib gives them."""
    made = hashlib.scrypt(password, salt=salt, n=cost.n, r=cost.r, p=cost.p, maxmem=cost.memory + (1 << 20), dklen=16)
    assert made.hex() == digest


@every_kind
@given(stamp=st.binary(max_size=MAX_STAMP_LENGTH))
def test_a_stamps_digest_is_hashlibs(name: str, stamp: bytes) -> None:
    assert puzzle_of(name).digest(stamp) == REFERENCE[name](stamp)


@given(exponent=st.integers(1, 8), r=st.integers(1, 8), p=st.integers(1, 4), stamp=st.binary(max_size=64))
@settings(max_examples=50)
def test_scrypt_of_any_cost_is_hashlibs(exponent: int, r: int, p: int, stamp: bytes) -> None:
    n = 1 << exponent
    expected = hashlib.scrypt(stamp, salt=b"", n=n, r=r, p=p, maxmem=1 << 26, dklen=32)
    assert ScryptCost(n, r, p).digest(stamp) == expected


# Stamps that were asked for


@every_kind
@given(bits=st.integers(1, 4), count=st.integers(1, 31), seed=st.integers(0, 2**64))
@settings(max_examples=15, deadline=None)
def test_what_is_solved_is_accepted_and_is_as_asked(name: str, bits: int, count: int, seed: int) -> None:
    puzzle = puzzle_of(name, bits, count, f"{seed:x}")
    stamps = solve(puzzle)
    puzzle.verify(stamps)
    assert all(work_in(name, stamp) >= bits for stamp in stamps)
    assert [stamp.split(":")[4] for stamp in stamps] == [str(ext) for ext in range(count)]


@every_kind
def test_a_stamp_with_more_work_than_asked_is_accepted(name: str) -> None:
    puzzle_of(name, bits=2, count=1).verify([mint(name, f"1:2:260115:{RESOURCE}:0:r:{{}}", bits=5)])


@every_kind
def test_counter_0_is_a_counter_like_any_other(name: str) -> None:
    puzzle_of(name, bits=2, count=1).verify([mint(name, f"1:2:260115:{RESOURCE}:0:r{{}}:0", bits=2)])


# Hostile stamps


@pytest.fixture(scope="module", params=list(KINDS))
def solved(request: pytest.FixtureRequest) -> tuple[str, list[str]]:
    return request.param, solve(puzzle_of(request.param))


@pytest.mark.parametrize(
    ("fields", "bits"),
    [
        (f"1:5:260115:{RESOURCE[:-1]}:0", BITS),
        (f"1:5:260115:{RESOURCE}0:0", BITS),
        (f"1:5:260115:{RESOURCE.upper()}:0", BITS),
        (f"1:5:260115:{RESOURCE}:1", BITS),
        (f"1:5:260115:{RESOURCE}:", BITS),
        (f"1:5:260115:{RESOURCE}:00", BITS),
        (f"1:4:260115:{RESOURCE}:0", BITS),  # the work is there, but not claimed
        (f"1:6:260115:{RESOURCE}:0", BITS),  # more claimed than asked
    ],
)
def test_a_stamp_with_other_fields_is_refused(solved: tuple[str, list[str]], fields: str, bits: int) -> None:
    name, stamps = solved
    with pytest.raises(WrongStamp):
        puzzle_of(name).verify([mint(name, f"{fields}:r:{{}}", bits), *stamps[1:]])


@every_kind
def test_one_bit_too_few_is_refused(name: str) -> None:
    texts = (f"1:5:260115:{RESOURCE}:0:r:{number}" for number in itertools.count())
    almost = next(text for text in texts if work_in(name, text) == BITS - 1)
    with pytest.raises(WrongStamp, match="stamp 0 has 4 bits of work: this puzzle asks for 5"):
        puzzle_of(name, count=1).verify([almost])


@every_kind
def test_the_work_of_another_algorithm_is_none(name: str) -> None:
    for other in KINDS.keys() - {name}:
        texts = (f"1:5:260115:{RESOURCE}:0:r:{number}" for number in itertools.count())
        foreign = next(text for text in texts if work_in(other, text) >= BITS > work_in(name, text))
        with pytest.raises(WrongStamp, match="bits of work"):
            puzzle_of(name, count=1).verify([foreign])


@pytest.mark.parametrize(
    "hostile",
    [
        "",
        f"1:5:260115:{RESOURCE}:0:r:\u0661",
        f"1:5:260115:{RESOURCE}:\u0660:r:1",
        f"1:5:260115:{RESOURCE}:0:r:{'0' * MAX_STAMP_LENGTH}",
        f"0:260115:{RESOURCE}:r",
        "\udc80" * 20,
    ],
)
def test_what_is_not_a_stamp_is_refused_before_anything_is_hashed(solved: tuple[str, list[str]], hostile: str) -> None:
    name, stamps = solved
    worthless = f"1:5:260115:{RESOURCE}:0:r:0"
    with pytest.raises(MalformedStamp):
        puzzle_of(name).verify([worthless, hostile, stamps[2]])


def test_stamps_repeated_or_in_another_order_are_refused(solved: tuple[str, list[str]]) -> None:
    name, stamps = solved
    for hostile in ([stamps[0]] * 3, stamps[::-1]):
        with pytest.raises(WrongStamp, match="ext"):
            puzzle_of(name).verify(hostile)


@pytest.mark.parametrize("number", [0, 1, 2, 4])
def test_another_number_of_stamps_is_refused(solved: tuple[str, list[str]], number: int) -> None:
    name, stamps = solved
    with pytest.raises(WrongStamp, match=f"{number} stamps: this puzzle asks for 3"):
        puzzle_of(name).verify((stamps * 2)[:number])


@given(data=st.data())
@settings(max_examples=60)
def test_an_altered_stamp_is_refused_unless_it_has_the_work_by_luck(
    solved: tuple[str, list[str]], data: st.DataObject
) -> None:
    name, stamps = solved
    place = data.draw(st.integers(0, len(stamps[1]) - 1))
    letter = data.draw(st.characters(codec="utf-8").filter(lambda c: c != stamps[1][place]))
    altered = stamps[1][:place] + letter + stamps[1][place + 1 :]
    try:
        puzzle_of(name).verify([stamps[0], altered, stamps[2]])
    except (MalformedStamp, WrongStamp):
        return
    fields = altered.split(":")
    assert (fields[0], fields[1], fields[3], fields[4]) == ("1", "5", RESOURCE, "1")
    assert work_in(name, altered) >= BITS


# The wire form


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
    """A challenge as the server makes one."""
    claims = claims_of(puzzle)
    assert SIGNER.verify(SIGNER.sign(claims)) == claims
    assert claims.puzzle == puzzle
    return Challenge(SIGNER.sign(claims), puzzle, EXPIRES)


costs = st.builds(
    lambda exponent, r, p: ScryptCost(1 << exponent, r, p), st.integers(1, 11), st.integers(1, 8), st.integers(1, 16)
)


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
    read = parse_solution(format_solution(challenge.token, solve(challenge.puzzle)))
    assert isinstance(read, Solution)
    SIGNER.verify(read.token).puzzle.verify(read.stamps)


def test_a_token_of_a_hash_has_no_member_of_scrypts() -> None:
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


# Absurd parameters


def refused_at_once(make: Callable[[], object], error: type[PuzzleError], said: str = ".") -> None:
    begun = time.perf_counter()
    with pytest.raises(error, match=said) as caught:
        make()
    assert time.perf_counter() - begun < AT_ONCE_SECONDS
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize(
    "cost",
    [
        *({"n": n} for n in (0, 1, 3, 33, -32, 2**40, 2**40 + 1, 2**62, 10**30, True, "32", 32.0, None)),
        *({"r": r} for r in (0, -1, 2**20, 10**30, True, "8", 8.0, None)),
        *({"p": p} for p in (0, -1, 17, 2**30, 10**30, True, "1", 1.0, None)),
        {"n": 2**16, "r": 2**10},
        {"n": 2**20, "r": 8},
        {"n": 2, "r": 2**19},
        {"n": 2**14000, "r": 10**4000},  # whose product has more digits than Python prints
        {"n": 2**16, "r": 1},  # RFC 7914, section 6: n is less than 2^(128 r / 8)
    ],
)
def test_an_absurd_cost_is_a_named_error_at_once_in_documents_and_tokens(cost: dict[str, object]) -> None:
    challenge = signed(puzzle_of("scrypt", resource="5f0c"))
    document = {**challenge.to_document(), **cost}
    refused_at_once(lambda: Challenge.from_document(document), MalformedChallenge)
    claims = {"jti": "5f0c", "exp": 1_894_709_100, "algorithm": "scrypt", "bits": 5, "count": 3}
    payload = json.dumps({**claims, "n": 32, "r": 8, "p": 1, **cost}).encode()
    token = f"e30.{base64.urlsafe_b64encode(payload).rstrip(b'=').decode()}.c2ln"
    refused_at_once(lambda: Challenge.from_token(token), MalformedChallenge)


@pytest.mark.parametrize(("n", "r", "p"), [(33, 8, 1), (2**40, 8, 1), (2**16, 2**10, 1), (32, 8, 2**30), (-32, 8, 1)])
def test_a_cost_that_nobody_can_pay_does_not_come_to_be(n: int, r: int, p: int) -> None:
    refused_at_once(lambda: ScryptCost(n, r, p), PuzzleError, "scrypt")


@pytest.mark.parametrize(("n", "r", "p"), [(2, 170_000, 1), (2, 15_000, 15), (4, 5000, 1), (32768, 1, 1), (2, 1, 16)])
def test_a_cost_that_is_allowed_is_one_that_can_be_paid(n: int, r: int, p: int) -> None:
    assert len(ScryptCost(n, r, p).digest(b"stamp")) == 32


@pytest.mark.parametrize("missing", ["n", "r", "p"])
def test_scrypt_without_its_cost_is_refused(missing: str) -> None:
    document = signed(puzzle_of("scrypt", resource="5f0c")).to_document()
    del document[missing]
    refused_at_once(lambda: Challenge.from_document(document), MalformedChallenge, f"'{missing}'")
    refused_at_once(lambda: Puzzle("scrypt", RESOURCE, 5, 3), PuzzleError, "n, r and p belong to scrypt")
    refused_at_once(lambda: Kind("scrypt"), PuzzleError, "n, r and p belong to scrypt")


@pytest.mark.parametrize("algorithm", ["hashcash-sha1", "hashcash-sha256"])
def test_a_hash_with_scrypts_cost_is_refused(algorithm: str) -> None:
    cost = ScryptCost(32, 8, 1)
    refused_at_once(lambda: Puzzle(algorithm, RESOURCE, 5, 3, cost), PuzzleError, "n, r and p belong to scrypt")
    refused_at_once(lambda: Kind(algorithm, cost), PuzzleError, "n, r and p belong to scrypt")
    refused_at_once(lambda: digest_of(algorithm, cost), PuzzleError, "n, r and p belong to scrypt")


@every_kind
@pytest.mark.parametrize("member", ["bits", "count"])
@pytest.mark.parametrize("value", [0, -1, 65, 2**60, 10**30, True, "12", 12.0, None])
def test_absurd_sizes_are_refused_at_once(name: str, member: str, value: object) -> None:
    document = {**signed(puzzle_of(name, resource="5f0c")).to_document(), member: value}
    refused_at_once(lambda: Challenge.from_document(document), MalformedChallenge)


@pytest.mark.parametrize("algorithm", ["", "sha1", "HASHCASH-SHA1", "Scrypt", "argon2id", "x" * 10_000])
def test_an_algorithm_unknown_here_is_named(algorithm: str) -> None:
    refused_at_once(lambda: Puzzle(algorithm, RESOURCE, 12, 1), UnknownAlgorithm, f"'{algorithm[:40]}'")
    document = {**signed(puzzle_of("hashcash-sha1", resource="5f0c")).to_document(), "algorithm": algorithm}
    refused_at_once(lambda: Challenge.from_document(document), UnknownAlgorithm, f"'{algorithm[:40]}'")


# Debian's program


def hashcash(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["hashcash", *words], check=False, capture_output=True, text=True)


@needs_hashcash
@pytest.mark.parametrize("bits", [5, 12])
def test_stamps_of_the_program_hashcash_are_accepted(bits: int) -> None:
    minted = [hashcash("-mqC", "-b", str(bits), "-r", RESOURCE, "-x", str(ext)).stdout.strip() for ext in range(3)]
    puzzle_of("hashcash-sha1", bits).verify(minted)


@needs_hashcash
def test_the_longest_stamps_of_the_program_hashcash_are_accepted() -> None:
    resource = "0123456789abcdef" * 8
    minted = hashcash("-mqC", "-z", "12", "-b", "10", "-r", resource, "-x", "0").stdout.strip()
    puzzle_of("hashcash-sha1", 10, 1, resource).verify([minted])


@needs_hashcash
def test_the_program_hashcash_accepts_our_stamps_and_each_only_once(tmp_path: Path) -> None:
    stamps = solve(puzzle_of("hashcash-sha1", 12))
    options = ["-cdqCS", "-b", "12", "-r", RESOURCE, "-f", str(tmp_path / "spent.sdb")]
    assert [hashcash(*options, stamp).returncode for stamp in stamps] == [0, 0, 0]
    assert [hashcash(*options, stamp).returncode for stamp in stamps] == [1, 1, 1]


def test_a_stamp_known_since_2006_lacks_nothing_but_our_ext() -> None:
    """From the documentation of HashCash."""
    stamp = "1:20:060408:adam@cypherspace.org::1QTjaYd7niiQA/sc:ePa"
    assert work_in("hashcash-sha1", stamp) >= 20
    with pytest.raises(WrongStamp, match="ext ''"):
        puzzle_of("hashcash-sha1", 20, 1, "adam@cypherspace.org").verify([stamp])
