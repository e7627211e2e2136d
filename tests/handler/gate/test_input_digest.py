"""The request digest differs where the victim may read another request, and is the same for a retry."""

import copy
import json
import sys
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calpow.handler.gate import input_digest
from calpow.handler.gate.input_digest import TRANSPORT_HEADERS, request_digest

LEFT_OUT = TRANSPORT_HEADERS | {"x-api-key", "pow-solution"}
HEADERS = {"Content-Type": "application/json", "url_path": "predict", "X-Vector": "1,2"}

TEXT = st.text() | st.text(st.characters(categories=["Cs"]), max_size=2)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=8,
)
PARTS = st.dictionaries(TEXT, st.binary() | TEXT | JSON, max_size=4)


def digest(
    parts: dict[str, object] | None = None, properties: dict[str, object] | None = None, purpose: str = "predict 1.0"
) -> str:
    """Return the digest of a request, by default of one with a body and the usual headers."""
    return request_digest(
        purpose, {"body": b"x"} if parts is None else parts, HEADERS if properties is None else properties, LEFT_OUT
    )


@settings(max_examples=50)
@given(PARTS)
def test_the_same_request_has_the_same_digest(parts: dict[str, object]) -> None:
    assert digest(copy.deepcopy(parts)) == digest(parts)
    assert len(digest(parts)) == 64


@settings(max_examples=50)
@given(st.dictionaries(TEXT, JSON, min_size=2, max_size=4))
def test_parts_in_another_order_are_another_request(parts: dict[str, object]) -> None:
    assert digest(dict(reversed(list(parts.items())))) != digest(parts)


@settings(max_examples=50)
@given(st.dictionaries(st.text(), JSON, min_size=2, max_size=4))
def test_members_of_json_in_another_order_are_another_request(value: dict[str, object]) -> None:
    assert digest({"body": dict(reversed(list(value.items())))}) != digest({"body": value})


@settings(max_examples=50)
@given(JSON)
def test_json_counts_by_what_the_victim_gets_not_by_its_spelling(value: object) -> None:
    spelled, other = json.loads(json.dumps(value, indent=3)), json.loads(json.dumps(value))
    assert digest({"body": spelled}) == digest({"body": other})


@settings(max_examples=50)
@given(JSON, JSON)
def test_other_json_has_another_digest(one: object, other: object) -> None:
    same = json.dumps(one) == json.dumps(other) and type(one) is type(other)
    assert (digest({"body": one}) == digest({"body": other})) == same


@settings(max_examples=50)
@given(st.binary(), st.binary())
def test_other_bytes_have_another_digest(one: bytes, other: bytes) -> None:
    assert (digest({"body": one}) == digest({"body": bytearray(other)})) == (one == other)


def test_bytes_cannot_wander_between_names_values_parts_and_headers() -> None:
    forms: list[tuple[dict[str, object], dict[str, object]]] = [
        ({"ab": b"c"}, {}),
        ({"a": b"bc"}, {}),
        ({"a": b"b", "c": b""}, {}),
        ({"a": b"", "b": b"c"}, {}),
        ({"a": "bc"}, {}),
        ({"a": ["b", "c"]}, {}),
        ({"a": '["b","c"]'}, {}),
        ({}, {}),
        ({}, {"a": "bc"}),
        ({}, {"ab": "c"}),
        ({}, {"a": "b", "c": ""}),
        ({"a": b"b"}, {"c": ""}),
        ({"a": "bc"}, {"a": "bc"}),
    ]
    assert len({digest(parts, properties) for parts, properties in forms}) == len(forms)


def test_another_purpose_or_version_is_another_request() -> None:
    purposes = ("predict 1.0", "explain 1.0", "predict 1.1", "predict", "")
    assert len({digest(purpose=purpose) for purpose in purposes}) == len(purposes)


@pytest.mark.parametrize(
    "properties",
    [
        {**HEADERS, "X-Vector": "1,3"},
        {**HEADERS, "url_path": "predict/dear"},
        {**HEADERS, "Content-Type": "text/plain"},
        {**HEADERS, "Content-Type": "application/json; charset=latin-1"},
        {**HEADERS, "x-other": ""},
        {**HEADERS, "x-vector": HEADERS["X-Vector"]},
        {name: value for name, value in HEADERS.items() if name != "X-Vector"},
        {**HEADERS, "explain": "True"},
        {**HEADERS, "body": {"Content-Type": "image/png"}},
    ],
)
def test_whatever_a_handler_may_read_of_headers_and_path_counts(properties: dict[str, object]) -> None:
    assert digest(properties=properties) != digest()


@pytest.mark.parametrize(
    "properties",
    [
        dict(reversed(list(HEADERS.items()))),
        {**HEADERS, "X-Api-Key": "cp_1", "PoW-Solution": "prepaid x"},
        {**HEADERS, "x-api-key": "cp_2", "POW-SOLUTION": "TOKEN x"},
        {**HEADERS, "Content-Length": "77", "Connection": "close", "Date": "now"},
        {**HEADERS, "X-Request-Id": "4711", "traceparent": "00-0-0-00", "Via": "proxy", "X-Forwarded-For": "::1"},
    ],
)
def test_ours_and_what_the_transport_adds_count_for_nothing(properties: dict[str, object]) -> None:
    assert digest(properties=properties) == digest()


def test_a_forms_boundary_counts_for_nothing_and_the_rest_of_its_type_does() -> None:
    types = (
        "multipart/form-data",
        "multipart/form-data; boundary=abc",
        'multipart/form-data; boundary="a;b=c"',
        "multipart/form-data;BOUNDARY=----x",
    )
    assert len({digest(properties={"Content-Type": content_type}) for content_type in types}) == 1
    more = (*types, "multipart/form-data; boundary=abc; charset=utf-8", "multipart/mixed; boundary=abc")
    assert len({digest(properties={"Content-Type": content_type}) for content_type in more}) == 3
    assert digest(properties={"Content-Typo": types[1]}) != digest(properties={"Content-Typo": types[0]})


def test_a_digest_depends_on_the_values_alone_not_on_how_often_one_object_is_referenced() -> None:
    name, number = "".join(("in", "terned")), 1e300
    shared = digest({"body": [{name: number}, {name: number}, name, sys.intern(name)]})
    assert digest({"body": json.loads(json.dumps([{name: number}, {name: number}, name, name]))}) == shared


def test_numbers_that_json_tells_apart_are_other_requests() -> None:
    values: list[object] = [1, 1.0, True, -0.0, 0.0, 0, False, None, "1", [1], 10**5000, 10**5000 + 1]
    assert len({digest({"body": [value]}) for value in values}) == len(values)


@pytest.mark.slow
def test_what_is_nested_too_deep_raises_what_the_gate_expects() -> None:
    deep: object = 0
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(RecursionError):
        digest({"body": deep})


@settings(max_examples=50)
@given(PARTS, st.integers(0, 40))
def test_the_digest_is_of_all_pieces_one_after_another_however_large(parts: dict[str, object], large: int) -> None:
    joined = digest(parts)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(input_digest, "LARGE", large)
        assert digest(parts) == joined


def test_the_digest_of_a_request_is_that_of_earlier_versions() -> None:
    # Spent ids in a ledger hold digests, by which a retry is known after an upgrade, too.
    def piece(data: bytes) -> bytes:
        return len(data).to_bytes(8, "big") + data

    file = bytes(range(256)) * 1_000
    pieces = (b"predict 1.0", b"1", b"body", b"bytes", file, b"X-Vector", b"text", b"1,2")
    assert digest({"body": file}, {"X-Vector": "1,2"}) == sha256(b"".join(map(piece, pieces))).hexdigest()
