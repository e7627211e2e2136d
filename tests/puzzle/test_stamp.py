"""Stamps: HashCash version 1 as it is, and nothing else."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calpow.puzzle.errors import MalformedStamp
from calpow.puzzle.stamp import MAX_STAMP_LENGTH, Stamp, leading_zero_bits

# From hashcash(1), "Examining Stamps", and from Adam Back's own pages.
KNOWN = {
    "1:24:040806:foo::511801694b4cd6b0:1e7297a": 24,
    "1:20:060408:adam@cypherspace.org::1QTjaYd7niiQA/sc:ePa": 20,
    "1:20:1303030600:adam@cypherspace.org::McMybZIhxKXu57jd:ckvi": 20,
}


@pytest.mark.parametrize(("text", "bits"), KNOWN.items())
def test_the_published_stamps_have_the_bits_they_are_known_for(text: str, bits: int) -> None:
    assert Stamp.parse(text).bits == bits
    assert leading_zero_bits(hashlib.sha1(text.encode()).digest()) == bits


def test_a_stamp_is_read_into_its_fields() -> None:
    text = "1:12:260115093000:5f0c:17:AbC+/=:1z"
    assert Stamp.parse(text) == Stamp(12, "260115093000", "5f0c", "17", "AbC+/=", "1z", text)


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


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        ":::::::",
        "noise",
        "0:12:260115:5f0c:0:r:1",  # version 0
        "2:12:260115:5f0c:0:r:1",
        "11:12:260115:5f0c:0:r:1",
        "1:12:260115:5f0c:0:r",  # six fields
        "1:12:260115:5f0c:0:r:1:2",  # eight
        "1::260115:5f0c:0:r:1",
        "1:-1:260115:5f0c:0:r:1",
        "1:+12:260115:5f0c:0:r:1",
        "1:012:260115:5f0c:0:r:1",
        "1:1_2:260115:5f0c:0:r:1",
        "1:0x1:260115:5f0c:0:r:1",
        "1:1200:260115:5f0c:0:r:1",
        "1:\u0661\u0662:260115:5f0c:0:r:1",  # digits, but not ASCII
        "1:12::5f0c:0:r:1",
        "1:12:2601:5f0c:0:r:1",
        "1:12:26011509300:5f0c:0:r:1",
        "1:12:26-115:5f0c:0:r:1",
        "1:12:260115::0:r:1",  # no resource
        "1:12:260115:5f 0c:0:r:1",
        "1:12:260115:5f\u00e90c:0:r:1",
        "1:12:260115:5f\x000c:0:r:1",
        "1:12:260115:5f0c:\t:r:1",
        "1:12:260115:5f0c:0::1",  # nothing random
        "1:12:260115:5f0c:0:r:",  # no counter
        "1:12:260115:5f0c:0:r:-1",
        "1:12:260115:5f0c:0:r:1\n",
        "\n1:12:260115:5f0c:0:r:1",
        " 1:12:260115:5f0c:0:r:1",
        "1:12:260115:5f0c:0:r:1\r\nX-Api-Key: k",
    ],
)
def test_what_is_not_a_stamp_is_refused(text: str) -> None:
    with pytest.raises(MalformedStamp):
        Stamp.parse(text)


def test_a_stamp_is_read_up_to_the_limit_and_not_beyond() -> None:
    head = "1:12:260115:5f0c:0:r:"
    longest = head + "0" * (MAX_STAMP_LENGTH - len(head))
    assert Stamp.parse(longest).text == longest
    with pytest.raises(MalformedStamp):
        Stamp.parse(longest + "0")


@given(st.text() | st.from_regex(r"[0-3]:[0-9]{0,4}:[0-9]{0,12}:.{0,9}:.{0,3}:.{0,9}:.{0,9}"))
def test_any_text_is_read_whole_or_refused_in_one_line(text: str) -> None:
    complaint, read = "", text
    try:
        stamp = Stamp.parse(text)
        read = f"1:{stamp.bits}:{stamp.date}:{stamp.resource}:{stamp.ext}:{stamp.rand}:{stamp.counter}"
    except MalformedStamp as error:
        complaint = str(error)
    assert read == text
    assert complaint.isascii()
    assert complaint.isprintable()
