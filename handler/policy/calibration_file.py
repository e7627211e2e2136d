"""What legitimate use of one model costs and takes, as `calpow calibrate` measured it: one JSON file."""

import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path

from torch import Tensor

from calpow.handler.decoding import DecodingError, decode
from calpow.handler.leakage.input_range import Limits
from calpow.handler.leakage.output import OutputKind
from calpow.handler.leakage.registry import MetricName
from calpow.handler.leakage.score import Priced
from calpow.handler.ledger.ledger import Charge, Totals
from calpow.handler.policy.policies import MICRO, Bounds, Conditional, Paper, SolverFit
from calpow.handler.policy.rehearsal_evidence import Evidence
from calpow.puzzle.errors import CalpowError, PuzzleError
from calpow.puzzle.profiles import Kind

SCHEMA = 5
_SHA256 = re.compile(r"[0-9a-f]{64}")
_AGAIN = "make it again with calpow calibrate"


class CalibrationError(CalpowError):
    """A calibration cannot be read, written or used."""


class PolicyName(Enum):
    """The policies an owner can choose from."""

    conditional = "conditional"
    paper = "paper"
    bounds = "bounds"


@dataclass(frozen=True)
class Shape:
    """What the victim takes and answers: number of classes, input shape without the batch axis."""

    classes: int
    input_shape: tuple[int, ...]


@dataclass(frozen=True)
class Rows:
    """How the samples that the victim's model is asked map to the requests of a batch, as far as payloads showed.

    in_order: a batch of requests becomes one call of the model with one row a request, in the order of the requests.
    counted: a JSON list, or the list `instances` of a JSON object, holds one sample an entry.
    """

    in_order: bool
    counted: bool


@dataclass(frozen=True)
class Chosen:
    """One metric by its name, and the settings its costs were measured with."""

    name: MetricName
    settings: Mapping[str, float]


@dataclass(frozen=True)
class Calibration:
    """The whole file. Raises CalibrationError when its members contradict each other.

    parts: SHA-256 of the files the metrics need (`teachers.pt2`), by the name they have in an archive.
    output: what the raw output of the victim's model is, from which its classes and probabilities are read.
    rows: how the model's samples map to requests.
    metrics: what is measured of each query; the paper's rule sums the first one's costs.
    limits: the range of legitimate inputs, beyond which a query costs the most.
    puzzle: the kind of puzzle that clients solve, and whose solver was timed.
    floor_seconds: what one sample takes a legitimate user, in seconds of the reference client.
    cap: the largest multiple of the floor that a sample can take.
    latency_seconds: what one sample took, end to end, before the model was protected.
    evidence: how simulated users fare under the policy.
    """

    schema: int
    shape: Shape
    victim_sha256: str
    parts: Mapping[str, str]
    output: OutputKind
    rows: Rows
    metrics: tuple[Chosen, ...]
    limits: Limits
    policy: PolicyName
    conditional: Conditional
    paper: Paper
    bounds: Bounds
    puzzle: Kind
    floor_seconds: float
    cap: float
    latency_seconds: float
    solver: SolverFit
    evidence: Evidence
    provenance: Mapping[str, str | int | float]

    def __post_init__(self) -> None:
        for fault in self._faults():
            raise CalibrationError(f"calibration: {fault}: {_AGAIN}")

    @classmethod
    def load(cls, path: Path) -> "Calibration":
        """Read and check a file. Raises CalibrationError, one line that says what is wrong with it."""
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise CalibrationError(f"{path} does not exist: make it with calpow calibrate") from None
        except (OSError, ValueError, RecursionError) as problem:
            raise CalibrationError(f"{path} is not a calibration ({problem}): {_AGAIN}") from problem
        schema = document.get("schema") if isinstance(document, dict) else None
        if type(schema) is int and schema != SCHEMA:
            raise CalibrationError(f"{path} has schema {schema}, this version reads {SCHEMA}: {_AGAIN}")
        try:
            return decode(cls, document)
        except (DecodingError, PuzzleError) as problem:
            raise CalibrationError(f"{path}: {problem}: {_AGAIN}") from problem

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all. Raises CalibrationError."""
        scratch = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            document = json.dumps(asdict(self), indent=2, allow_nan=False, default=_member_value)
            scratch.write_text(document + "\n", encoding="utf-8")
            scratch.replace(path)
        except (OSError, ValueError) as problem:
            scratch.unlink(missing_ok=True)
            raise CalibrationError(f"{path} cannot be written ({problem}): give another --output") from problem

    def excess(self, costs: Tensor, labels: Tensor) -> Tensor:
        """Each sample's score above legitimate ones with the same answer, from its costs `[n, metrics]`: `[n]`."""
        return self.conditional.excess(costs, labels)

    def evidence_of(self, priced: Priced) -> list[Charge]:
        """What each of a batch of priced samples adds to its account, in order."""
        excess = (self.excess(priced.costs, priced.labels) * MICRO).round().tolist()
        costs = (priced.costs[:, 0] * MICRO).round().tolist()
        return [Charge(int(cost), int(above), 1) for cost, above in zip(costs, excess, strict=True)]

    def seconds(self, totals: Totals) -> float:
        """Mean solving time of a sample whose evidence is already in its account's `totals`."""
        log_multiple = min(self._chosen_policy.log_multiple(totals), math.log(self.cap))
        return self.floor_seconds * math.exp(log_multiple)

    @property
    def _chosen_policy(self) -> Conditional | Paper | Bounds:
        if self.policy is PolicyName.conditional:
            return self.conditional
        return self.paper if self.policy is PolicyName.paper else self.bounds

    def work(self, totals: Totals) -> float:
        """Expected hashes of the sample, in the same case."""
        return self.solver.work(self.seconds(totals))

    def next_work(self, totals: Totals) -> float:
        """Expected hashes of one more sample, if it costs what a legitimate one does."""
        return self.work(totals + Charge(round(self.paper.slope * MICRO), 0, 1))

    def solving_seconds(self, work: float) -> float:
        """Mean time of the reference client for a puzzle of so many expected hashes."""
        return self.solver.seconds(work)

    def _faults(self) -> Iterator[str]:
        for name, sha256 in {"victim_sha256": self.victim_sha256, **_dotted("parts", self.parts)}.items():
            if not _SHA256.fullmatch(sha256):
                yield f"{name} must be 64 hexadecimal digits"
        for name, value in self._positive().items():
            if not value > 0:
                yield f"{name} must be more than 0, not {value}"
        for name, value, least in (
            ("cap", self.cap, 1),
            ("paper.base", self.paper.base, 1),
            ("bounds.base", self.bounds.base, 1),
            ("solver.start_seconds", self.solver.start_seconds, 0),
        ):
            if value < least:
                yield f"{name} must be at least {least}, not {value}"
        if not len(self.limits.low) == len(self.limits.high) >= 1:
            yield "limits.low and limits.high must have as many numbers"
        yield from self._class_faults()

    def _class_faults(self) -> Iterator[str]:
        rule = self.conditional
        if self.shape.classes < 2:
            yield f"shape.classes must be at least 2, not {self.shape.classes}"
        if not 1 <= len(self.metrics) == len(rule.standards):
            yield f"conditional.standards has {len(rule.standards)} entries for {len(self.metrics)} metrics"
        lists = {"class_floors": rule.class_floors, "class_means": rule.class_means}
        for index, standard in enumerate(rule.standards):
            lists |= {
                f"standards[{index}].means": standard.means,
                f"standards[{index}].deviations": standard.deviations,
            }
            if min(standard.deviations, default=1.0) <= 0:
                yield f"conditional.standards[{index}].deviations must be more than 0"
        for name, values in lists.items():
            if len(values) != self.shape.classes:
                yield f"conditional.{name} has {len(values)} of {self.shape.classes} classes"

    def _positive(self) -> dict[str, float]:
        rule = self.conditional
        return {
            "conditional.deviation": rule.deviation,
            "conditional.spread": rule.spread,
            "conditional.burst": rule.burst,
            "conditional.threshold": rule.threshold,
            "conditional.growth": rule.growth,
            "paper.slope": self.paper.slope,
            "floor_seconds": self.floor_seconds,
            "latency_seconds": self.latency_seconds,
            "solver.hashes_per_second": self.solver.hashes_per_second,
        }


def _dotted(prefix: str, members: Mapping[str, str]) -> dict[str, str]:
    return {f"{prefix}.{name}": value for name, value in members.items()}


def _member_value(value: object) -> object:
    """An enumeration's member as JSON has it."""
    if isinstance(value, Enum):
        return value.value
    raise TypeError(f"{type(value).__name__} has no form in JSON")
