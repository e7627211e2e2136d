"""One request as TorchServe hands it to a handler: what the victim may see of it, and what is ours."""

from collections.abc import Mapping
from dataclasses import dataclass

from calpow.handler.gate.decision import Request
from calpow.handler.gate.input_digest import request_digest
from calpow.puzzle.wire import KEY_HEADER, SOLUTION_HEADER

OURS = (KEY_HEADER.lower(), SOLUTION_HEADER.lower())

Row = Mapping[str, object]


@dataclass(frozen=True)
class Incoming:
    """One request of TorchServe's batch. `id` is TorchServe's, `headers` are by their names in lower case."""

    id: str
    row: Row
    properties: Mapping[str, object]
    headers: Mapping[str, str]
    grpc: bool

    @property
    def explains(self) -> bool:
        """Whether an explanation is asked for, by URL or by a forged header: read as the victim reads it."""
        return self.properties.get("explain") == "True"

    @property
    def says_describe(self) -> bool:
        """Whether the victim takes it for a request to describe the model, forged or not."""
        return self.properties.get("describe") == "True"

    @property
    def describes(self) -> bool:
        """Whether a description is asked for: it takes no input, and with input it is a forged prediction."""
        return self.says_describe and not self.row

    @property
    def key(self) -> str | None:
        """The API key it comes with."""
        return self.headers.get(OURS[0])

    @property
    def holds_one_file(self) -> bool:
        """Whether its body is a single part of plain bytes, which a handler reads as one sample."""
        return len(self.row) == 1 and isinstance(next(iter(self.row.values())), bytes | bytearray)

    def samples(self) -> int:
        """Entries of a JSON list, or of the list `instances` of a JSON object; 1 for anything else."""
        return count_entries(self.row) or 1

    def request(self, version: str, *, counted: bool) -> Request:
        """The request as the gate sees it; `counted` says that the entries of a list are samples."""
        purpose = f"{'explain' if self.explains else 'predict'} {version}"
        return Request(
            key=self.key,
            solution=self.headers.get(OURS[1]),
            samples=self.samples() if counted else 1,
            explains=self.explains,
            payload=self,
            digester=lambda: request_digest(purpose, self.row, self.properties, OURS),
        )


def count_entries(row: Row) -> int | None:
    """Entries of a row's JSON list, or of the list `instances` of its JSON object; None where it holds neither."""
    for value in row.values():
        entries = value.get("instances") if isinstance(value, Mapping) else value
        if isinstance(entries, list):
            return len(entries)
    return None


def read_request(request_id: str, row: Row, properties: Mapping[str, object]) -> Incoming:
    """Sort out one request, of which TorchServe hands over a row and `properties`.

    Header names keep the client's spelling; parts appear among them as dicts.
    """
    headers = {name.lower(): value for name, value in properties.items() if isinstance(value, str)}
    grpc = not headers
    if grpc:
        # gRPC metadata does not reach a handler: headers travel as entries of the input map.
        headers = {name.lower(): _text(value) for name, value in row.items() if name.lower() in OURS}
        row = {name: value for name, value in row.items() if name.lower() not in OURS}
    return Incoming(request_id, row, properties, headers, grpc)


def _text(value: object) -> str:
    if isinstance(value, bytes | bytearray):
        return value.decode("utf-8", "replace")
    return value if isinstance(value, str) else ""
