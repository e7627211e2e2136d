"""Puzzles: the stamps that were asked for pass, and no others; the program `hashcash` agrees."""

import hashlib
import itertools
import shutil
import subprocess
from pathlib import Path

import pytest

from calpow.puzzle.errors import MalformedStamp, PuzzleError, UnknownAlgorithm, WrongStamp
from calpow.puzzle.puzzle import MAX_BITS, MAX_COUNT, Puzzle
from calpow.puzzle.solver import solve
from calpow.puzzle.stamp import MAX_STAMP_LENGTH, leading_zero_bits

RESOURCE = "5f0c0123456789abcdef0123456789ab"
PUZZLE = Puzzle("hashcash-sha1", RESOURCE, bits=12, count=3)

needs_hashcash = pytest.mark.skipif(
    shutil.which("hashcash") is None, reason="the program hashcash is not installed (apt install hashcash)"
)


@pytest.fixture(scope="module")
def stamps() -> list[str]:
    return solve(PUZZLE)


def mint(form: str, bits: int) -> str:
    """Find the counter that gives the stamp written as `form` its bits; slow, and nothing of ours."""
    for counter in itertools.count():
        text = form.format(counter)
        if leading_zero_bits(hashlib.sha1(text.encode()).digest()) >= bits:
            return text
    raise AssertionError


def test_the_stamps_asked_for_are_accepted(stamps: list[str]) -> None:
    PUZZLE.verify(stamps)


def test_a_stamp_known_since_2006_lacks_nothing_but_our_ext() -> None:
    with pytest.raises(WrongStamp, match="ext ''"):
        Puzzle("hashcash-sha1", "adam@cypherspace.org", bits=20, count=1).verify(
            ["1:20:060408:adam@cypherspace.org::1QTjaYd7niiQA/sc:ePa"]
        )


def test_a_stamp_with_more_work_than_asked_is_accepted() -> None:
    lucky = mint(f"1:4:260115:{RESOURCE}:0:r:{{}}", bits=9)
    Puzzle("hashcash-sha1", RESOURCE, bits=4, count=1).verify([lucky])


def test_counter_0_is_a_counter_like_any_other() -> None:
    texts = (f"1:2:260115:{RESOURCE}:0:r{number}:0" for number in itertools.count())
    lucky = next(text for text in texts if leading_zero_bits(hashlib.sha1(text.encode()).digest()) >= 2)
    Puzzle("hashcash-sha1", RESOURCE, bits=2, count=1).verify([lucky])


@pytest.mark.parametrize(
    "hostile",
    [
        f"1:12:260115:{RESOURCE}:0:r:0",  # bits claimed but not there, counter 0
        f"1:12:260115:{RESOURCE}:0:r:{'0' * 40}",
        mint(f"1:12:260115:{RESOURCE}:0:r:{{}}", bits=11).replace(":r:", ":s:"),
        mint(f"1:11:260115:{RESOURCE}:0:r:{{}}", bits=12),  # the work is there, but not claimed
        mint(f"1:13:260115:{RESOURCE}:0:r:{{}}", bits=12),  # more claimed than asked
        mint(f"1:12:260115:{RESOURCE[:-1]}:0:r:{{}}", bits=12),
        mint(f"1:12:260115:{RESOURCE}0:0:r:{{}}", bits=12),
        mint(f"1:12:260115:{RESOURCE.upper()}:0:r:{{}}", bits=12),
        mint(f"1:12:260115:{RESOURCE}:1:r:{{}}", bits=12),
        mint(f"1:12:260115:{RESOURCE}::r:{{}}", bits=12),
        mint(f"1:12:260115:{RESOURCE}:00:r:{{}}", bits=12),
    ],
)
def test_a_stamp_that_is_not_what_was_asked_is_refused(hostile: str, stamps: list[str]) -> None:
    with pytest.raises(WrongStamp):
        PUZZLE.verify([hostile, *stamps[1:]])


def test_one_bit_too_few_is_refused() -> None:
    texts = (f"1:12:260115:{RESOURCE}:0:r:{number}" for number in itertools.count())
    almost = next(text for text in texts if leading_zero_bits(hashlib.sha1(text.encode()).digest()) == 11)
    with pytest.raises(WrongStamp, match="stamp 0 has 11 bits of work: this puzzle asks for 12"):
        Puzzle("hashcash-sha1", RESOURCE, bits=12, count=1).verify([almost])


@pytest.mark.parametrize(
    "hostile",
    [
        "",
        f"1:12:260115:{RESOURCE}:0:r:\u0661",
        f"1:12:260115:{RESOURCE}:\u0660:r:1",
        f"1:12:260115:{RESOURCE}:0:r:{'0' * MAX_STAMP_LENGTH}",
        f"0:260115:{RESOURCE}:r",
        "\udc80" * 20,
    ],
)
def test_what_is_not_a_stamp_is_refused_before_anything_is_hashed(hostile: str, stamps: list[str]) -> None:
    worthless = f"1:12:260115:{RESOURCE}:0:r:0"
    with pytest.raises(MalformedStamp):
        PUZZLE.verify([worthless, hostile, stamps[2]])


def test_a_repeated_stamp_is_refused(stamps: list[str]) -> None:
    with pytest.raises(WrongStamp):
        PUZZLE.verify([stamps[0]] * 3)


def test_stamps_in_another_order_are_refused(stamps: list[str]) -> None:
    with pytest.raises(WrongStamp):
        PUZZLE.verify(stamps[::-1])


@pytest.mark.parametrize("number", [0, 1, 2, 4])
def test_another_number_of_stamps_is_refused(number: int, stamps: list[str]) -> None:
    with pytest.raises(WrongStamp, match=f"{number} stamps: this puzzle asks for 3"):
        PUZZLE.verify((stamps * 2)[:number])


def test_an_altered_stamp_is_refused(stamps: list[str]) -> None:
    *fields, counter = stamps[1].split(":")
    with pytest.raises(WrongStamp):
        PUZZLE.verify([stamps[0], ":".join([*fields, counter + "0"]), stamps[2]])


def test_the_work_is_the_count_times_two_to_the_bits() -> None:
    assert Puzzle("hashcash-sha1", RESOURCE, bits=12, count=18).expected_hashes == 73_728


@pytest.mark.parametrize("bits", [-1, 0, MAX_BITS + 1, 10**30])
def test_bits_out_of_bounds_are_refused(bits: int) -> None:
    with pytest.raises(PuzzleError, match="bits"):
        Puzzle("hashcash-sha1", RESOURCE, bits=bits, count=1)


@pytest.mark.parametrize("count", [-1, 0, MAX_COUNT + 1, 10**30])
def test_a_count_out_of_bounds_is_refused(count: int) -> None:
    with pytest.raises(PuzzleError, match="stamps"):
        Puzzle("hashcash-sha1", RESOURCE, bits=12, count=count)


@pytest.mark.parametrize("resource", ["", "a:b", "a b", "a\n", "\u00e9", "x" * 129])
def test_a_resource_that_no_stamp_can_carry_is_refused(resource: str) -> None:
    with pytest.raises(PuzzleError, match="resource"):
        Puzzle("hashcash-sha1", resource, bits=12, count=1)


@pytest.mark.parametrize("algorithm", ["", "sha1", "HASHCASH-SHA1", "argon2id"])
def test_an_algorithm_unknown_here_is_named(algorithm: str) -> None:
    with pytest.raises(UnknownAlgorithm, match=f"'{algorithm}'"):
        Puzzle(algorithm, RESOURCE, bits=12, count=1)


@needs_hashcash
def test_stamps_of_the_program_hashcash_are_accepted() -> None:
    minted = [
        subprocess.run(
            ["hashcash", "-mqC", "-b", "12", "-r", RESOURCE, "-x", str(ext)],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
        for ext in range(PUZZLE.count)
    ]
    PUZZLE.verify(minted)


@needs_hashcash
def test_the_longest_stamps_of_the_program_hashcash_are_accepted() -> None:
    resource = "0123456789abcdef" * 8
    minted = subprocess.run(
        ["hashcash", "-mqC", "-z", "12", "-b", "10", "-r", resource, "-x", "0"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    Puzzle("hashcash-sha1", resource, bits=10, count=1).verify([minted])


@needs_hashcash
def test_the_program_hashcash_accepts_our_stamps_and_each_only_once(stamps: list[str], tmp_path: Path) -> None:
    def check(stamp: str) -> int:
        options = ["-cdqCS", "-b", "12", "-r", RESOURCE, "-f", str(tmp_path / "spent.sdb")]
        return subprocess.run(["hashcash", *options, stamp], check=False, capture_output=True).returncode

    assert [check(stamp) for stamp in stamps] == [0, 0, 0]
    assert [check(stamp) for stamp in stamps] == [1, 1, 1]
