"""Stamps: HashCash version 1, and nothing else."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calpow.puzzle.errors import MalformedStamp
from calpow.puzzle.stamp import Stamp, leading_zero_bits
from tests.support.shared_cases import STAMPS, parameters


@pytest.mark.parametrize(
    ("text", "fields", "bits"),
    parameters(
        STAMPS["accepted"], lambda case: case["stamp"], lambda case: case["fields"], lambda case: case["sha1_bits"]
    ),
)
def test_a_stamp_is_parsed_into_its_fields_and_has_its_bits(text: str, fields: list[object], bits: int) -> None:
    stamp = Stamp.parse(text)
    assert [stamp.bits, stamp.date, stamp.resource, stamp.ext, stamp.rand, stamp.counter] == fields
    assert stamp.text == text
    assert leading_zero_bits(hashlib.sha1(text.encode()).digest()) == bits


@pytest.mark.parametrize(
    ("digest", "bits"),
    [
        (b"\x80\x00", 0),
        (b"\x7f\xff", 1),
        (b"\x01\xff", 7),
        (b"\x00\xff", 8),
        (b"\x00\x10", 11),
        (b"\x00\x00", 16),
        (b"", 0),
    ],
)
def test_leading_zero_bits_are_counted_in_binary(digest: bytes, bits: int) -> None:
    assert leading_zero_bits(digest) == bits


@pytest.mark.parametrize("text", parameters(STAMPS["refused"], lambda case: case["stamp"]))
def test_a_malformed_stamp_is_refused(text: str) -> None:
    with pytest.raises(MalformedStamp):
        Stamp.parse(text)


@given(st.text() | st.from_regex(r"[0-3]:[0-9]{0,4}:[0-9]{0,12}:.{0,9}:.{0,3}:.{0,9}:.{0,9}"))
def test_any_text_is_parsed_whole_or_refused_in_one_line(text: str) -> None:
    message, parsed = "", text
    try:
        stamp = Stamp.parse(text)
        parsed = f"1:{stamp.bits}:{stamp.date}:{stamp.resource}:{stamp.ext}:{stamp.rand}:{stamp.counter}"
    except MalformedStamp as error:
        message = str(error)
    assert parsed == text
    assert message.isascii()
    assert message.isprintable()
