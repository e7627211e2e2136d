"""What an archive holds besides the victim, and whether its parts are the ones that were put together."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import Enum
from hashlib import sha256
from pathlib import Path

from calpow.handler.decoding import DecodingError, decode
from calpow.handler.errors import GateMisconfigured

SCHEMA = 3
FILE = "calpow.json"
VICTIM_FILE = "victim.mar"
MOST_SAMPLES = 256
EXPLANATION_FACTOR = 10.0
ENSEMBLE_FILE = "teachers.pt2"
NEIGHBOURS_FILE = "neighbours.pt"
CALIBRATION_FILE = "calibration.json"


class Mode(Enum):
    """What a worker does about queries: ask for work before it answers, or only account and record them."""

    enforce = "enforce"
    observe = "observe"


@dataclass(frozen=True, slots=True)
class GateConfig:
    """Settings of one protected archive, written by `calpow archive`, read by the worker.

    The hashes are hexadecimal SHA-256 of files in the archive; `parts` are those that the metrics need, by name.
    `ledger` is a URI, or None for CALPOW_LEDGER and the default; `max_samples` is how many samples a request may hold;
    `explanation_factor` is what an explanation costs in predictions, 0 where explanations are refused. `records` is
    where queries are recorded in mode observe, or None for CALPOW_RECORDS and the default.
    """

    schema: int
    victim_sha256: str
    parts: Mapping[str, str]
    calibration_sha256: str
    ledger: str | None
    max_samples: int
    explanation_factor: float
    mode: Mode
    records: str | None

    def to_json(self) -> str:
        """The file's text."""
        return json.dumps(asdict(self) | {"mode": self.mode.value}, indent=2) + "\n"

    @classmethod
    def read(cls, directory: Path) -> "GateConfig":
        """Read and check an archive's settings. Raises GateMisconfigured."""
        try:
            members = json.loads((directory / FILE).read_text())
        except (OSError, ValueError) as problem:
            raise GateMisconfigured(
                f"{FILE} cannot be read ({problem}): build the archive with calpow archive"
            ) from problem
        schema = members.get("schema") if isinstance(members, dict) else None
        if type(schema) is int and schema != SCHEMA:
            raise GateMisconfigured(f"{FILE} has schema {schema}, this version reads {SCHEMA}: archive it again")
        try:
            return decode(cls, members)
        except DecodingError as problem:
            raise GateMisconfigured(f"{FILE}: {problem}: build the archive with calpow archive") from problem

    def check_files(self, directory: Path) -> None:
        """Compare every part with the hash recorded for it. Raises GateMisconfigured."""
        recorded: Mapping[str, str] = {
            VICTIM_FILE: self.victim_sha256,
            **self.parts,
            CALIBRATION_FILE: self.calibration_sha256,
        }
        for name, expected in recorded.items():
            found = file_sha256(directory / name)
            if found != expected:
                raise GateMisconfigured(
                    f"{name} was altered: its SHA-256 is {found[:12]}..., the archive recorded {expected[:12]}...;"
                    " build the archive again with calpow archive"
                )


def file_sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes. Raises GateMisconfigured when it cannot be read."""
    digest = sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as problem:
        raise GateMisconfigured(f"{path} cannot be read: {problem.strerror}") from problem
    return digest.hexdigest()
