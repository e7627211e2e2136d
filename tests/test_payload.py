"""The payload digest: what changes the query changes it, what does not, does not."""

import json

from hypothesis import given
from hypothesis import strategies as st

from calpow.handler.payload import payload_digest

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
PARTS = st.dictionaries(st.text(), st.binary() | st.text() | JSON, max_size=4)


@given(PARTS)
def test_the_order_in_which_parts_arrive_does_not_matter(parts: dict[str, object]) -> None:
    turned = dict(reversed(list(parts.items())))
    assert payload_digest(turned, "predict") == payload_digest(parts, "predict")


@given(JSON)
def test_json_counts_by_its_value_not_by_its_spelling(value: object) -> None:
    spelled = json.loads(json.dumps(value, indent=3))
    assert payload_digest({"body": spelled}, "predict") == payload_digest({"body": value}, "predict")


@given(st.binary(), st.binary())
def test_other_bytes_have_another_digest(one: bytes, other: bytes) -> None:
    same = payload_digest({"body": one}, "predict") == payload_digest({"body": bytearray(other)}, "predict")
    assert same == (one == other)


def test_bytes_cannot_wander_between_name_and_value_or_between_parts() -> None:
    forms: list[dict[str, object]] = [
        {"ab": b"c"},
        {"a": b"bc"},
        {"a": b"b", "c": b""},
        {"a": b"", "b": b"c"},
        {"a": "bc"},
        {"a": ["b", "c"]},
        {"a": '["b","c"]'},
        {},
    ]
    assert len({payload_digest(form, "predict") for form in forms}) == len(forms)


def test_a_prediction_is_not_an_explanation() -> None:
    assert payload_digest({"body": b"x"}, "predict") != payload_digest({"body": b"x"}, "explain")
