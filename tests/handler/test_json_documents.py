"""JSON documents are read strictly in every member, and refused in one line."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

import pytest

from calpow.handler.errors import DecodingError
from calpow.handler.json_documents import parse_object, read_document


class Colour(Enum):
    red = "red"
    green = "green"


@dataclass(frozen=True)
class Label:
    text: str
    colour: Colour | None


@dataclass(frozen=True)
class Parcel:
    schema: int
    weight: float
    labels: tuple[Label, ...]
    notes: Mapping[str, str | int]


GOOD = '{"schema": 2, "weight": 1, "labels": [{"text": "a", "colour": "red"}], "notes": {"n": 3, "m": "x"}}'


def refused(text: str) -> str:
    """Return the one line that says what is wrong with a document."""
    with pytest.raises(DecodingError) as refusal:
        read_document(Parcel, text, 2, "the parcel")
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


def test_a_document_becomes_its_dataclass() -> None:
    parcel = read_document(Parcel, GOOD, 2, "the parcel")
    assert parcel == Parcel(2, 1.0, (Label("a", Colour.red),), {"n": 3, "m": "x"})
    assert type(parcel.weight) is float


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the parcel cannot be read: it is not JSON"),
        ("[" * 100_000, "the parcel cannot be read: it is not JSON"),
        ("[]", "the parcel is not a JSON object"),
        ("{}", "the parcel: schema is missing"),
        ('{"schema": true}', "the parcel: schema must be of type int"),
        ('{"schema": 1}', "the parcel has schema 1, this version reads 2"),
        ('{"schema": 3, "whatever": 1}', "the parcel has schema 3, this version reads 2"),
        (GOOD.replace('"weight": 1, ', ""), "the parcel: weight is missing"),
        (GOOD.replace("weight", "height"), "the parcel: height is not known"),
        (GOOD.replace('"weight": 1', '"weight": NaN'), "the parcel: weight must be a finite number"),
        (GOOD.replace('"red"', '"blue"'), "the parcel: labels[0].colour must be one of: red, green"),
        (GOOD.replace('"a"', "null"), "the parcel: labels[0].text must be of type str"),
        (GOOD.replace('"x"', "[]"), "the parcel: notes.m must be one of str, int"),
    ],
)
def test_a_document_of_another_form_is_refused_in_one_line(text: str, message: str) -> None:
    assert message in refused(text)


def test_other_members_are_left_alone_where_only_the_object_is_asked_for() -> None:
    assert parse_object('{"schema": 2, "whatever": [1]}', 2, "the parcel") == {"schema": 2, "whatever": [1]}
