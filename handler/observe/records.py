"""What mode `observe` writes of each query: one JSON line, appended to a file that all workers share.

{"at": 1764000000.1, "meter": "9f2c41ab", "account": "ada", "classes": [3], "costs": [[0.31, 0.02]]}

No key and no payload is in it.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

from calpow.handler.decoding import DecodingError, decode
from calpow.handler.errors import GateMisconfigured
from calpow.handler.leakage.output import OutputKind
from calpow.handler.policy.calibration_file import Chosen
from calpow.puzzle.errors import CalpowError

DEFAULT_PATH = "~/.calpow/records.jsonl"
PATH_VARIABLE = "CALPOW_RECORDS"
# The account of those who show no key, or none that the ledger knows; an account of a key has a name.
ANONYMOUS = ""
# Costs are written to so many significant digits.
DIGITS = 9


class RecordError(CalpowError):
    """A line is no record."""


@dataclass(frozen=True, slots=True)
class Record:
    """One query of n samples.

    at: seconds since the epoch. meter: what it was measured with, see `meter_name`. classes: of the victim's answers,
    `[n]`. costs: `[n, metrics]`.
    """

    at: float
    meter: str
    account: str
    classes: tuple[int, ...]
    costs: tuple[tuple[float, ...], ...]

    def line(self) -> str:
        """As it stands in the file, without the line's end."""
        rounded = [[float(f"{cost:.{DIGITS}g}") for cost in each] for each in self.costs]
        return json.dumps(asdict(self) | {"at": round(self.at, 3), "costs": rounded})

    @classmethod
    def read(cls, line: str) -> "Record | None":
        """The record of a line; None for one that was not written to its end. Raises RecordError for any other."""
        try:
            made = decode(cls, json.loads(line))
        except (ValueError, RecursionError):
            if line.startswith("{") and not line.endswith("}"):
                return None
            raise RecordError("no record of calpow's mode observe") from None
        except DecodingError as problem:
            raise RecordError(str(problem)) from problem
        made._check()
        return made

    def _check(self) -> None:
        if not self.classes or len(self.classes) != len(self.costs):
            raise RecordError(f"{len(self.classes)} classes and {len(self.costs)} costs: one of each a sample")
        if len({len(each) for each in self.costs}) > 1 or not self.costs[0]:
            raise RecordError("each sample must have as many costs as the others")
        if min(self.classes) < 0 or min(min(each) for each in self.costs) < 0:
            raise RecordError("a class or a cost is below 0")


def meter_name(
    victim_sha256: str, parts: Mapping[str, str], output: OutputKind | None, metrics: Sequence[Chosen]
) -> str:
    """8 hexadecimal digits of what costs are measured with: costs of different names cannot be compared.

    The arguments are a calibration's members of those names.
    """
    measured = {
        "victim": victim_sha256,
        "parts": dict(parts),
        "output": output and output.value,
        "metrics": [[each.name.value, dict(each.settings)] for each in metrics],
    }
    return sha256(json.dumps(measured, sort_keys=True).encode()).hexdigest()[:8]


def shared_path(explicit: str | None) -> Path:
    """Where workers record: what was given, else the environment's CALPOW_RECORDS, else DEFAULT_PATH.

    Raises GateMisconfigured for a relative path: each worker runs in a folder of its own, so that it names no common
    file.
    """
    named = explicit or os.environ.get(PATH_VARIABLE) or DEFAULT_PATH
    try:
        path = Path(named).expanduser()
    except RuntimeError as problem:
        raise GateMisconfigured(
            f"records cannot go to {named}, there is no such home: give /absolute/path"
        ) from problem
    if not path.is_absolute():
        raise GateMisconfigured(f"workers run in folders of their own, {named} is relative: give /absolute/path")
    return path


def append(path: Path, records: Sequence[Record]) -> None:
    """Add records to a file, which is made if need be, in one write: whoever else appends does not come between.

    The file may be moved away at any time. Raises OSError.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        text = "".join(f"{each.line()}\n" for each in records).encode()
        # Whoever was killed or ran out of disk in the middle of a line must not spoil the next one.
        torn = (size := os.fstat(file).st_size) > 0 and os.pread(file, 1, size - 1) != b"\n"
        written = os.write(file, b"\n" * torn + text)
    finally:
        os.close(file)
    if written < len(text) + torn:
        raise OSError(None, "no space left for all of it", str(path))
