"""The settings of a protected archive, and the check that its files are the ones that were packaged."""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import Enum
from hashlib import sha256
from pathlib import Path

from calpow.handler.errors import DecodingError, GateMisconfigured
from calpow.handler.identity.ways import IdentityWay
from calpow.handler.json_documents import read_document

SCHEMA = 5
# The oldest torch that the handler runs on: hooks of its models see keyword arguments from there.
OLDEST_TORCH = "2.0"
FILE = "calpow.json"
VICTIM_FILE = "victim.mar"
# The handler of every protected archive.
ENTRY_MODULE = "calpow_gate_entry"
MOST_SAMPLES = 256
# Decoded, 150 MB of RGB; beyond what a telephone sends within the default size of TorchServe's requests.
MOST_PIXELS = 50_000_000
# TorchServe's own limit is 6.5 MB, unless the operator raises it.
MOST_BYTES = 16 << 20
EXPLANATION_FACTOR = 10.0
ENSEMBLE_FILE = "teachers.pt"
NEIGHBOURS_FILE = "neighbours.pt"
CALIBRATION_FILE = "calibration.json"


class Mode(Enum):
    """Treatment of queries by a worker: ask for work before answering, only account and record them, or neither."""

    enforce = "enforce"
    observe = "observe"
    off = "off"


@dataclass(frozen=True, slots=True)
class GateConfig:
    """Settings of one protected archive, written by `calpow archive`, read by the worker.

    The hashes are hexadecimal SHA-256 of files in the archive; `parts` are the files that the scores need, by name.
    `victim_fingerprint` is what teachers and a calibration know the victim by (decision 0039).
    `ledger` is a URI, or None for CALPOW_LEDGER and the default; `max_samples` is the largest number of samples in a
    request, `max_bytes` that of bytes, and `max_pixels` that of pixels of images, the latter two 0 where there is no
    limit. `explanation_factor` is the price of an explanation in predictions, 0 where explanations are refused.
    `torch` is the oldest version that the archive runs on, major and minor: that of the handler, or the version that
    exported the teachers.
    `records` is the file that mode observe records queries in, or None for CALPOW_RECORDS and the default.
    `identity` are the ways in which requests may show their identity, at least one.
    """

    schema: int
    victim_sha256: str
    victim_fingerprint: str
    parts: Mapping[str, str]
    calibration_sha256: str
    ledger: str | None
    max_samples: int
    max_bytes: int
    max_pixels: int
    torch: str
    explanation_factor: float
    mode: Mode
    records: str | None
    identity: tuple[IdentityWay, ...]

    def to_json(self) -> str:
        """Return the file's text."""
        named = {"mode": self.mode.value, "identity": [way.value for way in self.identity]}
        return json.dumps(asdict(self) | named, indent=2) + "\n"

    @classmethod
    def read(cls, directory: Path) -> "GateConfig":
        """Read and check the settings in an archive's directory. Raises GateMisconfigured."""
        try:
            config = read_document(cls, (directory / FILE).read_text(), SCHEMA, FILE)
        except DecodingError as error:
            raise GateMisconfigured(f"{error}: build the archive again with calpow archive") from error
        except (OSError, UnicodeDecodeError) as error:
            raise GateMisconfigured(
                f"{FILE} cannot be read ({error}): build the archive with calpow archive"
            ) from error
        if not config.identity:
            raise GateMisconfigured(f"{FILE}: identity names no way: build the archive again with calpow archive")
        return config

    def check_torch(self, installed: str) -> None:
        """Raise GateMisconfigured when the installed version of torch is older than the archive needs."""
        if release(installed) >= release(self.torch):
            return
        way_out = "upgrade torch"
        if release(installed) >= release(OLDEST_TORCH):
            way_out += ", or train the teachers with --trunk victim, scattering or random"
        raise GateMisconfigured(f"this archive needs torch >= {self.torch}; the server has {installed}: {way_out}")

    def check_files(self, directory: Path) -> None:
        """Raise GateMisconfigured unless every file in `directory` has the hash that is recorded for it."""
        recorded: Mapping[str, str] = {
            VICTIM_FILE: self.victim_sha256,
            **self.parts,
            CALIBRATION_FILE: self.calibration_sha256,
        }
        for name, expected in recorded.items():
            actual = file_sha256(directory / name)
            if actual != expected:
                raise GateMisconfigured(
                    f"{name} was altered: its SHA-256 is {actual[:12]}..., the archive recorded {expected[:12]}...;"
                    " build the archive again with calpow archive"
                )


def release(version: str) -> tuple[int, ...]:
    """Return major and minor of a version such as `2.0.1+cu117`."""
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])


def file_sha256(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file's bytes. Raises GateMisconfigured when it cannot be read."""
    digest = sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise GateMisconfigured(f"{path} cannot be read: {error.strerror}") from error
    return digest.hexdigest()
