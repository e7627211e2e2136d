"""Requests as TorchServe gives them, as the gate reads them, and as the victim receives them."""

import base64
from collections.abc import Mapping

import pytest

from calpow.handler.gate.interface import Purpose
from calpow.handler.gate.probes import payload_digest
from calpow.handler.torchserve_request import TorchServeRequest, count_entries
from tests.support.pictures import png

FORM = "application/x-www-form-urlencoded"


def read(
    row: Mapping[str, object], properties: Mapping[str, object] | None = None, *, counted: bool = True
) -> TorchServeRequest:
    """Read a request with these properties and one more header."""
    return TorchServeRequest.read("id", row, {"Accept": "*/*", **(properties or {})}, version="1.0", counted=counted)


def test_headers_are_found_in_any_case() -> None:
    request = read({"body": b"x"}, {"x-API-key": "cp_1", "pow-SOLUTION": "prepaid x"})
    assert (request.credentials.key, request.solution) == ("cp_1", "prepaid x")


def test_a_part_named_like_a_header_is_no_header() -> None:
    assert read({"body": b"x"}, {"X-Api-Key": {"content-type": "text/plain"}}).credentials.key is None


def test_grpc_carries_our_headers_as_parts_that_the_victim_never_sees() -> None:
    row = {"data": b"x", "x-api-key": b"cp_1", "PoW-Solution": "prepaid x"}
    request = TorchServeRequest.read("id", row, {}, version="1.0", counted=True)
    assert (request.credentials.key, request.solution) == ("cp_1", "prepaid x")
    assert request.row == {"data": b"x"}


def test_a_client_of_grpc_may_ask_for_whole_replies_which_is_no_part_of_its_request() -> None:
    row = {"data": b"x", "pow-reply": b"http"}
    request = TorchServeRequest.read("id", row, {}, version="1.0", counted=True)
    plain = TorchServeRequest.read("id", {"data": b"x"}, {}, version="1.0", counted=True)
    assert (request.wants_whole_reply, plain.wants_whole_reply) == (True, False)
    assert request.row == plain.row
    assert request.digest == plain.digest
    assert not read({"body": b"x"}, {"PoW-Reply": "http"}).wants_whole_reply, "HTTP has headers of its own"


@pytest.mark.parametrize(
    ("row", "properties", "purpose"),
    [
        ({"body": b"x"}, {}, Purpose.predict),
        ({"body": b"x"}, {"explain": "True"}, Purpose.explain),
        ({}, {"describe": "True"}, Purpose.describe),
        ({}, {"describe": "True", "explain": "True"}, Purpose.describe),
        ({"body": b"x"}, {"describe": "True"}, Purpose.predict),
        ({"body": b"x"}, {"describe": "True", "explain": "True"}, Purpose.explain),
        ({}, {"describe": "True", "X-Api-Key": "cp_1", "User-Agent": "curl", "content-length": "0"}, Purpose.describe),
        ({}, {"describe": "True", "X-Vector": "1,2"}, Purpose.predict),
        ({}, {"describe": "True", "url_path": "1/2"}, Purpose.predict),
        ({}, {"describe": "True", "Cookie": "1,2"}, Purpose.predict),
        ({}, {"describe": "True", "url_path": "", "Content-Type": FORM, "explain": "False"}, Purpose.describe),
        ({}, {"describe": "True", "Content-Type": f"{FORM}; vector=1,2"}, Purpose.predict),
        ({"body": b""}, {"describe": "True"}, Purpose.predict),
    ],
)
def test_a_description_has_no_input_of_any_kind(
    row: Mapping[str, object], properties: Mapping[str, object], purpose: Purpose
) -> None:
    assert read(row, properties).purpose is purpose


@pytest.mark.parametrize("name", ["explain", "Explain", "EXPLAIN"])
@pytest.mark.parametrize("value", ["True", "true", " TRUE "])
def test_an_explanation_is_one_however_a_handler_compares(name: str, value: str) -> None:
    assert read({"body": b"x"}, {name: value}).purpose is Purpose.explain
    assert read({"body": b"x"}, {name.swapcase(): "False", name: value}).purpose is Purpose.explain
    assert read({"body": b"x"}, {name: "False"}).purpose is Purpose.predict


@pytest.mark.parametrize(
    ("row", "properties", "size"),
    [
        ({"body": b"12345"}, {}, 5),
        ({"body": b"12345"}, {"Content-Length": "5"}, 5),
        ({"a": b"12345", "b": bytearray(7), "c": "text"}, {}, 16),
        ({"body": [1, 2]}, {"content-length": "123"}, 123),
        ({"body": b"12345"}, {"Content-Length": "9" * 5000}, 5),
        ({"body": b"12345"}, {"Content-Length": "-3"}, 5),
        ({}, {}, 0),
    ],
)
def test_the_size_is_that_of_the_body(row: Mapping[str, object], properties: Mapping[str, object], size: int) -> None:
    assert read(row, properties).size == size


IMAGE = png(300, 200)
TEXT = base64.b64encode(IMAGE).decode()


@pytest.mark.parametrize(
    ("row", "images"),
    [
        ({"body": IMAGE}, 1),
        ({"body": bytearray(IMAGE)}, 1),
        ({"a": IMAGE, "b": IMAGE, "c": b"x"}, 2),
        ({"body": TEXT}, 1),
        ({"body": "data:image/png;base64," + TEXT}, 1),
        ({"body": {"instances": [{"b64": TEXT}, {"b64": TEXT}, {"image": {"b64": TEXT}}]}}, 3),
        ({"body": [TEXT, 5, None, "text", [[0.0] * 5000] * 5000]}, 1),
        ({"body": TEXT[:30] + "="}, 0),
        ({}, 0),
    ],
)
def test_the_pixels_are_those_of_all_images_in_the_body(row: Mapping[str, object], images: int) -> None:
    assert read(row).pixels == images * 300 * 200


@pytest.mark.parametrize(
    ("row", "entries"),
    [
        ({"body": [1, 2, 3]}, 3),
        ({"body": {"instances": [1, 2]}}, 2),
        ({"body": []}, 0),
        ({"body": b"x"}, None),
        ({"body": {"inputs": [1, 2]}}, None),
        ({}, None),
    ],
)
def test_entries_of_a_list_are_samples_if_they_are_counted(row: Mapping[str, object], entries: int | None) -> None:
    assert count_entries(row) == entries
    assert read(row).samples == max(1, entries or 0)
    assert read(row, counted=False).samples == 1


def test_samples_that_were_counted_stay_where_the_victim_empties_its_input() -> None:
    """Those of a free pass that failed are counted after it."""
    request = read({"body": [1, 2, 3]})
    assert request.samples == 3
    dict.clear(request.row)  # type: ignore[arg-type]  # a handler gets it as a dict
    assert request.samples == 3


def test_a_payload_that_is_nested_too_deep_has_no_digest() -> None:
    deep: object = 0
    for _ in range(100_000):
        deep = [deep]
    assert read({"body": deep}).digest == ""
    assert len(read({"body": [[0]]}).digest) == 64


def test_the_digest_tells_purpose_and_version_apart() -> None:
    row = {"body": b"x"}
    digests = {
        read(row).digest,
        read(row, {"explain": "True"}).digest,
        TorchServeRequest.read("id", row, {"Accept": "*/*"}, version="1.1", counted=True).digest,
    }
    assert len(digests) == 3


def test_the_payload_of_a_prediction_is_known_where_the_victim_sees_nothing_else() -> None:
    ours = {"X-Api-Key": "k", "PoW-Solution": "s"}
    by_torchserve = {"body": {"content-type": "text/csv"}, "explain": "False", "url_path": ""}
    usual = {"User-Agent": "calpow", "Host": "h", "Content-Length": "1", **ours, **by_torchserve}
    assert read({"body": b"x"}, usual).payload_digest == payload_digest(b"x")
    assert read({"data": b"x"}, {"Content-Type": "image/png"}).payload_digest == payload_digest(b"x")
    assert read({"body": {"a": [1]}}, {"Content-Type": "application/json"}).payload_digest == payload_digest({"a": [1]})
    grpc = TorchServeRequest.read("id", {"data": b"x", "X-Api-Key": b"k"}, {}, version="1.0", counted=True)
    assert grpc.payload_digest == payload_digest(b"x")


@pytest.mark.parametrize(
    ("row", "properties"),
    [
        ({"body": b"x"}, {"explain": "True"}),
        ({"body": b"x"}, {"describe": "True"}),
        ({"body": b"x"}, {"X-Vector": "1,2"}),
        ({"body": b"x"}, {"Cookie": "1,2"}),
        ({"body": b"x"}, {"url_path": "1/2"}),
        ({"body": b"x"}, {"more": {"content-type": "text/plain"}}),
        ({"body": b"x", "more": b"y"}, {}),
        ({"picture": b"x"}, {}),
        ({}, {}),
    ],
)
def test_a_request_with_anything_beside_its_payload_has_no_payload_of_a_probe(
    row: Mapping[str, object], properties: Mapping[str, object]
) -> None:
    assert read(row, properties).payload_digest == ""
