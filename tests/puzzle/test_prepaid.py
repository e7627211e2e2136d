"""Prepaid stamps are worth what they claim, for one account, for ten minutes; hostile ones are worth nothing."""

import base64
import calendar
import hashlib
import time

import pytest

from calpow.puzzle.errors import MalformedStamp, WrongStamp
from calpow.puzzle.prepaid import AHEAD_SECONDS, FRESH_SECONDS, prepaid_resource, read_prepaid, stamp_id
from calpow.puzzle.profiles import PuzzleKind
from calpow.puzzle.puzzle import Puzzle
from calpow.puzzle.solving.solver import solve
from calpow.puzzle.stamp import Stamp

RESOURCE = prepaid_resource("digits@9f2c41", "cp_0_secret")
SHA1 = PuzzleKind("hashcash-sha1")


@pytest.fixture(scope="module")
def stamps() -> list[str]:
    return solve(Puzzle(SHA1.algorithm, RESOURCE, 6, 18))


def minted_at(stamp: str) -> int:
    return calendar.timegm(time.strptime(Stamp.parse(stamp).date, "%y%m%d%H%M%S"))


def test_stamps_count_as_the_work_that_they_claim_and_their_ids_are_digests(stamps: list[str]) -> None:
    paid = read_prepaid(stamps, SHA1, RESOURCE)
    assert paid.hashes == 18 * 2**6
    assert paid.ids == tuple(map(stamp_id, stamps))
    assert len(set(paid.ids)) == 18
    assert (paid.oldest, paid.youngest) == (min(map(minted_at, stamps)), max(map(minted_at, stamps)))
    assert paid.stale_at == paid.oldest + FRESH_SECONDS


def test_an_id_is_the_base64_of_the_sha256_of_a_stamps_text() -> None:
    text = "1:6:260115120000:digits@9f2c41/0123456789abcdef:0:r:0"
    expected = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode()
    assert stamp_id(text) == expected.rstrip("=")
    assert len(stamp_id(text)) == 43


def test_stamps_of_several_sizes_add_up() -> None:
    mixed = [f"1:{bits}:260115120000:{RESOURCE}:0:r:{bits}" for bits in (1, 6, 40, 160)]
    assert read_prepaid(mixed, SHA1, RESOURCE).hashes == 2 + 2**6 + 2**40 + 2**160


def test_reading_prepaid_stamps_takes_no_digest(monkeypatch: pytest.MonkeyPatch, stamps: list[str]) -> None:
    monkeypatch.setattr("calpow.puzzle.algorithms.HASHES", {})
    assert read_prepaid(stamps, SHA1, RESOURCE).hashes == 18 * 2**6


def test_the_resource_names_the_account_without_revealing_the_key() -> None:
    assert RESOURCE.startswith("digits@9f2c41/")
    assert len(RESOURCE.partition("/")[2]) == 16
    assert "secret" not in RESOURCE
    assert prepaid_resource("digits@9f2c41", "another") != RESOURCE


def test_stamps_are_good_for_ten_minutes(stamps: list[str]) -> None:
    paid = read_prepaid(stamps, SHA1, RESOURCE)
    for now in (paid.oldest + FRESH_SECONDS - 1, paid.youngest - AHEAD_SECONDS):
        assert paid.is_fresh(now)
    for now in (paid.oldest + FRESH_SECONDS, paid.youngest - AHEAD_SECONDS - 1):
        assert not paid.is_fresh(now)


def test_one_stale_or_early_stamp_is_enough() -> None:
    dated = [f"1:6:{date}:{RESOURCE}:0:r:{date}" for date in ("260115120000", "260115120959", "260115121100")]
    paid = read_prepaid(dated, SHA1, RESOURCE)
    noon = calendar.timegm((2026, 1, 15, 12, 0, 0))
    assert (paid.oldest, paid.youngest) == (noon, noon + 660)
    assert not any(paid.is_fresh(noon + second) for second in range(0, 800, 10))
    assert read_prepaid(dated[:2], SHA1, RESOURCE).is_fresh(noon + 599)


def test_hostile_stamps_are_refused(stamps: list[str]) -> None:
    stamp = Stamp.parse(stamps[0])
    fields = stamp.text.split(":")
    dateless, to_the_minute = (":".join([*fields[:2], fields[2][:length], *fields[3:]]) for length in (6, 10))
    free = ":".join([fields[0], "0", *fields[2:]])
    for hostile, error in (
        ([stamp.text, stamp.text], WrongStamp),
        ([free], WrongStamp),
        ([dateless], MalformedStamp),
        ([to_the_minute], MalformedStamp),
        ([stamp.text.replace(RESOURCE, RESOURCE[:-1])], WrongStamp),
        ([stamp.text.replace(fields[2], "269923991399")], MalformedStamp),
        (["\N{SNOWMAN}"], MalformedStamp),
    ):
        with pytest.raises(error):
            read_prepaid(hostile, SHA1, RESOURCE)
