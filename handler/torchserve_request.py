"""A request as TorchServe gives it to a handler, and what the gate reads of it."""

import base64
import binascii
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

from calpow.handler.gate.input_digest import TRANSPORT_HEADERS, request_digest
from calpow.handler.gate.interface import Purpose
from calpow.handler.gate.probes import payload_digest
from calpow.handler.identity.credentials import CREDENTIAL_HEADERS, Credentials
from calpow.handler.image_header import image_pixels
from calpow.puzzle.wire import KEY_HEADER, REPLY_ENTRY, SOLUTION_HEADER, WHOLE_REPLY

# Our headers, in lower case. They are no part of the victim's input.
_SOLUTION = SOLUTION_HEADER.lower()
OUR_HEADERS = (*CREDENTIAL_HEADERS, _SOLUTION)
_REPLY = REPLY_ENTRY.lower()
# Entries of a gRPC request's input map that are ours.
_OUR_ENTRIES = (*OUR_HEADERS, _REPLY)
# Not shown to the victim, which might log them.
_HIDDEN = frozenset(CREDENTIAL_HEADERS) - {KEY_HEADER.lower()}
_UNDIGESTED = TRANSPORT_HEADERS | {*OUR_HEADERS}
# Headers of a request that asks for a description, and its media type, if any; anything else may be an input.
_EXPLAIN, _DESCRIBE = "explain", "describe"
_CLIENT_HEADERS = frozenset(("accept", "accept-encoding", "accept-language", "content-type", "host", "user-agent"))
_EMPTY_FORM = "application/x-www-form-urlencoded"
_INPUTLESS = _UNDIGESTED | _CLIENT_HEADERS | {_EXPLAIN, _DESCRIBE}
# The names that TorchServe gives to a body that is no form.
_BARE_BODIES = ({"body"}, {"data"})
# Beginnings of images in base64: PNG, JPEG, GIF, BMP, WebP, TIFF and big TIFF in both orders; a data URL.
_ENCODED = ("iVBORw0KGgo", "/9j/", "R0lGOD", "Qk", "UklGR", "SUkq", "SUkr", "TU0AK", "data:image/")
# Values of parsed JSON that are looked at for encoded images.
_MOST_VALUES = 1024
_HOLDERS = (str, dict, list)

Row = Mapping[str, object]


@dataclass(frozen=True)
class TorchServeRequest:
    """One request of TorchServe's batch; a `calpow.handler.gate.interface.Request`.

    id: TorchServe's own.
    row: the parts of the body, without ours.
    properties: headers, path and the parts' own headers, as TorchServe gives them to a handler.
    headers: the headers by their names in lower case.
    credentials: what they show of its identity.
    version: the version of the model.
    counted: whether the entries of a list are samples. Decision 0008.
    wants_whole_reply: whether it came by gRPC, from a client that reads replies as HTTP responses. Decision 0060.

    What its headers say, and its number of samples, is read once: the victim's handler may change both in place.
    """

    id: str
    row: Row
    properties: Mapping[str, object]
    headers: Mapping[str, str]
    credentials: Credentials
    version: str
    counted: bool
    wants_whole_reply: bool = False

    @classmethod
    def read(
        cls, request_id: str, row: Row, properties: Mapping[str, object], *, version: str, counted: bool
    ) -> "TorchServeRequest":
        """Read one row of TorchServe's batch and its properties.

        Header names keep the client's spelling, and the headers of parts appear among them as dicts.
        """
        given = [(name, value) for name, value in properties.items() if isinstance(value, str)]
        if is_grpc(properties):
            # gRPC metadata does not reach a handler: headers travel as entries of the input map.
            given = [(name, _text(value)) for name, value in row.items() if name.lower() in _OUR_ENTRIES]
            row = {name: value for name, value in row.items() if name.lower() not in _OUR_ENTRIES}
        headers = {name.lower(): value for name, value in given}
        wants_whole_reply = is_grpc(properties) and headers.pop(_REPLY, "") == WHOLE_REPLY
        if not _HIDDEN.isdisjoint(headers):
            properties = {name: value for name, value in properties.items() if name.lower() not in _HIDDEN}
        return cls(request_id, row, properties, headers, Credentials.read(given), version, counted, wants_whole_reply)

    @property
    def solution(self) -> str | None:
        """The text of the PoW-Solution header."""
        return self.headers.get(_SOLUTION)

    @cached_property
    def purpose(self) -> Purpose:
        """The kind of answer that it asks for.

        A description takes no input of any kind: no part, no path, no header but a client's usual ones. With input, it
        is a prediction whose `describe` header is forged. Decision 0010.
        """
        if self.says_describe and not self._has_input:
            return Purpose.describe
        return Purpose.explain if self.says_explain else Purpose.predict

    @property
    def _has_input(self) -> bool:
        present = {name for name, value in self.headers.items() if value}
        return (
            bool(self.row)
            or not present <= _INPUTLESS
            or self.headers.get("content-type", _EMPTY_FORM).lower() != _EMPTY_FORM
        )

    @cached_property
    def says_explain(self) -> bool:
        """Whether a victim may take it for a request for an explanation, by its URL or by a forged header."""
        return self._says(_EXPLAIN)

    @cached_property
    def says_describe(self) -> bool:
        """Whether a victim may take it for a request for a description of the model, forged or not."""
        return self._says(_DESCRIBE)

    def _says(self, header: str) -> bool:
        # A handler may compare names and values without regard to case, and a header may be there in two spellings.
        return header in self.headers and any(
            name.lower() == header and isinstance(value, str) and value.strip().lower() == "true"
            for name, value in self.properties.items()
        )

    @cached_property
    def samples(self) -> int:
        """The number of entries of a JSON list, or of the list `instances` of a JSON object, if they are counted."""
        return (count_entries(self.row) or 1) if self.counted else 1

    @property
    def size(self) -> int:
        """Bytes of the body: what its length header says, or more where its parts are longer."""
        stated = self.headers.get("content-length", "")
        return max(
            int(stated) if stated.isdecimal() and len(stated) < 20 else 0,
            sum(len(value) for value in self.row.values() if isinstance(value, bytes | bytearray | str)),
        )

    @property
    def pixels(self) -> int:
        """Pixels of all its images: of parts that are images, and of base64 texts among the parts or in JSON."""
        return sum(image_pixels(image) for value in self.row.values() for image in _images(value))

    @property
    def holds_one_file(self) -> bool:
        """Whether its body is a single part of plain bytes, which a handler reads as one sample."""
        return len(self.row) == 1 and isinstance(next(iter(self.row.values())), bytes | bytearray)

    @property
    def payload_digest(self) -> str:
        """Digest of the payload of a prediction whose body is that alone, with a client's usual headers; else empty."""
        # TorchServe says of every request whether it is one for an explanation, and names the body among its headers.
        present = {name for name, value in self.headers.items() if value and (name, value) != (_EXPLAIN, "False")}
        parts = {name for name, value in self.properties.items() if not isinstance(value, str)}
        is_usual = present <= _UNDIGESTED | _CLIENT_HEADERS and parts <= self.row.keys()
        if self.purpose is not Purpose.predict or not is_usual or self.row.keys() not in _BARE_BODIES:
            return ""
        (payload,) = self.row.values()
        return payload_digest(payload)

    @cached_property
    def purpose_and_version(self) -> str:
        """The purpose of the request, and the version of the model that it asks."""
        return f"{'explain' if self.says_explain else 'predict'} {self.version}"

    @cached_property
    def digest(self) -> str:
        """Exact digest of everything that the victim may read; empty when the payload is nested too deep."""
        try:
            return request_digest(self.purpose_and_version, self.row, self.properties, _UNDIGESTED)
        except (RecursionError, ValueError):
            return ""


def is_grpc(properties: Mapping[str, object]) -> bool:
    """Return whether a request came by gRPC: its properties hold no header."""
    return not any(isinstance(value, str) for value in properties.values())


def count_entries(row: Row) -> int | None:
    """Return the number of entries of a row's JSON list, or of the list `instances` of its JSON object.

    Return None when it holds neither.
    """
    for value in row.values():
        entries = value.get("instances") if isinstance(value, Mapping) else value
        if isinstance(entries, list):
            return len(entries)
    return None


def _images(value: object) -> Iterator[bytes | bytearray]:
    """Yield the bytes of a part that may be an image, and of base64 texts in parsed JSON that may be images."""
    if isinstance(value, bytes | bytearray):
        yield value
        return
    waiting, left = deque([value]), _MOST_VALUES
    while waiting:
        current = waiting.popleft()
        if isinstance(current, str):
            if current.startswith(_ENCODED):
                yield _decoded(current)
        elif isinstance(current, dict | list):
            entries = islice(current.values() if isinstance(current, dict) else current, left)
            # Most are numbers, which are dropped here because this takes a tenth of the time.
            waiting.extend(entry for entry in entries if isinstance(entry, _HOLDERS))
            left -= min(left, len(current))


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text.partition(",")[2] if text.startswith("data:") else text)
    except (binascii.Error, ValueError):
        return b""


def _text(value: object) -> str:
    if isinstance(value, bytes | bytearray):
        return value.decode("utf-8", "replace")
    return value if isinstance(value, str) else ""
