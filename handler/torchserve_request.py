"""A request as TorchServe gives it to a handler, and what the gate reads of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from calpow.handler.gate.input_digest import request_digest
from calpow.handler.gate.interface import Purpose
from calpow.puzzle.wire import KEY_HEADER, SOLUTION_HEADER

# Our headers, in lower case. They are no part of the victim's input.
_KEY, _SOLUTION = OUR_HEADERS = (KEY_HEADER.lower(), SOLUTION_HEADER.lower())

Row = Mapping[str, object]


@dataclass(frozen=True)
class TorchServeRequest:
    """One request of TorchServe's batch; a `calpow.handler.gate.interface.Request`.

    id: TorchServe's own.
    row: the parts of the body, without ours.
    properties: headers, path and the parts' own headers, as TorchServe gives them to a handler.
    headers: the headers by their names in lower case.
    version: the version of the model.
    counted: whether the entries of a list are samples. Decision 0008.
    """

    id: str
    row: Row
    properties: Mapping[str, object]
    headers: Mapping[str, str]
    version: str
    counted: bool

    @classmethod
    def read(
        cls, request_id: str, row: Row, properties: Mapping[str, object], *, version: str, counted: bool
    ) -> "TorchServeRequest":
        """Read one row of TorchServe's batch and its properties.

        Header names keep the client's spelling, and the headers of parts appear among them as dicts.
        """
        headers = {name.lower(): value for name, value in properties.items() if isinstance(value, str)}
        if is_grpc(properties):
            # gRPC metadata does not reach a handler: headers travel as entries of the input map.
            headers = {name.lower(): _text(value) for name, value in row.items() if name.lower() in OUR_HEADERS}
            row = {name: value for name, value in row.items() if name.lower() not in OUR_HEADERS}
        return cls(request_id, row, properties, headers, version, counted)

    @property
    def key(self) -> str | None:
        """The API key."""
        return self.headers.get(_KEY)

    @property
    def solution(self) -> str | None:
        """The text of the PoW-Solution header."""
        return self.headers.get(_SOLUTION)

    @property
    def purpose(self) -> Purpose:
        """The kind of answer that it asks for.

        A description takes no input: with input, it is a prediction whose `describe` header is forged. Decision 0010.
        """
        if self.says_describe and not self.row:
            return Purpose.describe
        return Purpose.explain if self.says_explain else Purpose.predict

    @property
    def says_explain(self) -> bool:
        """Whether the victim takes it for a request for an explanation, by its URL or by a forged header."""
        return self.properties.get("explain") == "True"

    @property
    def says_describe(self) -> bool:
        """Whether the victim takes it for a request for a description of the model, forged or not."""
        return self.properties.get("describe") == "True"

    @property
    def samples(self) -> int:
        """The number of entries of a JSON list, or of the list `instances` of a JSON object, if they are counted."""
        return (count_entries(self.row) or 1) if self.counted else 1

    @property
    def holds_one_file(self) -> bool:
        """Whether its body is a single part of plain bytes, which a handler reads as one sample."""
        return len(self.row) == 1 and isinstance(next(iter(self.row.values())), bytes | bytearray)

    @cached_property
    def digest(self) -> str:
        """Exact digest of everything that the victim may read; empty when the payload is nested too deep."""
        purpose = f"{'explain' if self.says_explain else 'predict'} {self.version}"
        try:
            return request_digest(purpose, self.row, self.properties, OUR_HEADERS)
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


def _text(value: object) -> str:
    if isinstance(value, bytes | bytearray):
        return value.decode("utf-8", "replace")
    return value if isinstance(value, str) else ""
