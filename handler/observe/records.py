"""Records of queries that mode `observe` writes: JSON lines, appended to a file that all workers share.

{"at": 1764000000.1, "meter": "9f2c41ab", "scores": ["pate", "norm"], "account": "ada", "classes": [3],
 "costs": [[0.31, 8.2]]}

They hold no key and no payload.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

from calpow.handler.errors import DecodingError, RecordError
from calpow.handler.json_documents import decode
from calpow.handler.leakage.specs import OutputKind, ScoreSpec
from calpow.handler.logs.line_file import append_lines, shared_file

DEFAULT_PATH = "~/.calpow/records.jsonl"
PATH_VARIABLE = "CALPOW_RECORDS"
# The account of queries without a key that the ledger knows; the name of an account of a key is not empty.
ANONYMOUS = ""
# Significant digits of the costs.
DIGITS = 9


@dataclass(frozen=True, slots=True)
class Record:
    """One query of n samples.

    at: time of the answer, in seconds since the epoch.
    meter: name of the meter that computed the costs, see `meter_name`.
    scores: labels of the scores, in the order of the costs.
    account: name of the account, or ANONYMOUS.
    classes: classes of the victim's answers, `[n]`.
    costs: costs of the samples, `[n, scores]`, finite numbers of any sign.
    """

    at: float
    meter: str
    scores: tuple[str, ...]
    account: str
    classes: tuple[int, ...]
    costs: tuple[tuple[float, ...], ...]

    def line(self) -> str:
        """Return the record's line, without the line's end."""
        rounded = [[float(f"{cost:.{DIGITS}g}") for cost in sample] for sample in self.costs]
        return json.dumps(asdict(self) | {"at": round(self.at, 3), "costs": rounded})

    @classmethod
    def read(cls, line: str) -> "Record | None":
        """Return the record of a line, or None for a line that was cut short. Raises RecordError for anything else."""
        try:
            record = decode(cls, json.loads(line))
        except (ValueError, RecursionError):
            if line.startswith("{") and not line.endswith("}"):
                return None
            raise RecordError("no record of calpow's mode observe") from None
        except DecodingError as error:
            raise RecordError(str(error)) from error
        record._check()
        return record

    def _check(self) -> None:
        if not self.classes or len(self.classes) != len(self.costs):
            raise RecordError(f"{len(self.classes)} classes and {len(self.costs)} costs: one of each a sample")
        if len({len(sample) for sample in self.costs}) > 1 or not self.costs[0]:
            raise RecordError("each sample must have as many costs as the others")
        if len(self.scores) != len(self.costs[0]):
            raise RecordError(f"{len(self.scores)} scores have {len(self.costs[0])} costs a sample")
        if min(self.classes) < 0:
            raise RecordError("a class is below 0")


def meter_name(
    victim_sha256: str, parts: Mapping[str, str], output: OutputKind | None, scores: Sequence[ScoreSpec]
) -> str:
    """Return 8 hexadecimal digits that name a meter. Costs of meters with different names cannot be compared.

    The arguments are the members of a policy that determine its costs.
    """
    measured = {
        "victim": victim_sha256,
        "parts": dict(parts),
        "output": output and output.value,
        "metrics": [[score.name.value, score.layer, dict(score.settings)] for score in scores],
    }
    return sha256(json.dumps(measured, sort_keys=True).encode()).hexdigest()[:8]


def shared_path(explicit: str | None) -> Path:
    """Return the file to which workers record: `explicit`, else the environment's CALPOW_RECORDS, else DEFAULT_PATH.

    Raises GateMisconfigured for a relative path.
    """
    return shared_file(explicit or os.environ.get(PATH_VARIABLE) or DEFAULT_PATH, "records")


def append(path: Path, records: Sequence[Record]) -> None:
    """Append records to a file. Raises OSError."""
    append_lines(path, [record.line() for record in records])
