"""A whole calibration, as the owner's commands write and read it; a worker reads its policy only."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path

from calpow.archiver.whole_file import whole_file
from calpow.handler.errors import CalibrationError, DecodingError
from calpow.handler.json_documents import decode
from calpow.handler.policy.calibrated_policy import CalibratedPolicy
from calpow.handler.policy.calibration_file import SCHEMA, read_calibration
from calpow.handler.policy.validation import AGAIN, check_policy
from calpow.puzzle.errors import PuzzleError

# Facts for the report, by name.
Provenance = dict[str, str | int | float]


@dataclass(frozen=True)
class Sources:
    """Paths of the files that a calibration was made from, as its owner would type them."""

    victim: str
    data: str
    ensemble: str | None = None
    neighbours: str | None = None


@dataclass(frozen=True)
class Measurement:
    """The measurements that a policy was fitted to.

    latency_seconds: what one sample took, end to end, before the model was protected.
    added_seconds: what the gate adds to a paid sample, solving excluded.
    provenance: facts about the time, the machine and the samples, for the report.
    """

    latency_seconds: float
    added_seconds: float
    sources: Sources
    provenance: Mapping[str, str | int | float]


class Role(Enum):
    """Sender of the queries of a profile."""

    legitimate = "legitimate"
    attacker = "attacker"


@dataclass(frozen=True)
class Band:
    """A quantity at each checkpoint of the rehearsal: 1st percentile, median and 99th over the simulated users."""

    low: tuple[float, ...]
    middle: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True)
class ThiefFigures:
    """Price of what a thief steals, in floors: all that he pays, over the answers that he steals.

    pure, half, fifth, twentieth: the mean price of a query where all queries are strangers, a half, one in five, one in
        twenty.
    cheapest: as `pure`, of the cheapest third of his queries, for a thief who knows what queries cost.
    theft: the price of a stolen answer at his best duty cycle, with `fillers` genuine answers for each stolen one. The
        figure to judge by: genuine fillers are the best, since an answer that is repeated earns nothing.
    five: the price of a stolen answer on accounts that are given up after five queries.
    free: the answers that he steals after an honest past before the first that costs more than two floors.
    """

    pure: float
    half: float
    fifth: float
    twentieth: float
    cheapest: float
    theft: float
    fillers: int
    five: float
    free: float


@dataclass(frozen=True)
class SimulatedProfile:
    """Simulated users who send one kind of queries.

    kind: the tolerated change of all their samples; empty for none, and for attackers.
    own_data: whether an attacker brings queries of his own, and does not change legitimate ones.
    samples: the number of different samples to draw from.
    score: the number on which the policy acts: the log of the mean wealth, or the paper's distance from the baseline.
    work: summed solving time of all queries so far, in multiples of the floor; the floor itself is one a query.
    overhead: percentiles 0, 1, ..., 100 over users of the time a query takes with the gate over the time it takes
        without, mean over the queries up to the horizon.
    dearest: the 99th percentile over users of the mean price of a query, in floors, the largest over stream lengths.
    auroc: of one such query against a legitimate one of its class (0.5 is chance), by the label of the score; empty
        for legitimate users.
    figures: what stolen answers cost; None for legitimate users.
    """

    name: str
    role: Role
    kind: str
    own_data: bool
    samples: int
    score: Band
    work: Band
    overhead: tuple[float, ...]
    dearest: float
    auroc: Mapping[str, float]
    figures: ThiefFigures | None


@dataclass(frozen=True)
class RehearsalEvidence:
    """The profiles of a rehearsal, and warnings to the owner.

    score_name: what `SimulatedProfile.score` is, for the axis of a picture.
    checkpoints: numbers of queries, ascending, at which the bands are given.
    tolerated: the names of the tolerated changes.
    intolerant: by name of a profile, what it would pay under the policy that tolerates nothing, in floors: `dearest` of
        legitimate users, `theft` of attackers. Empty where nothing is tolerated.
    teacher_accuracy, vote_accuracy: of the ensemble, on legitimate samples that no teacher was trained on.
    warnings: sentences.
    """

    score_name: str
    horizon: int
    overhead_budget: float
    checkpoints: tuple[int, ...]
    profiles: tuple[SimulatedProfile, ...]
    tolerated: tuple[str, ...]
    intolerant: Mapping[str, float]
    teacher_accuracy: float
    vote_accuracy: float
    warnings: tuple[str, ...]

    @property
    def honest(self) -> tuple[SimulatedProfile, ...]:
        """The profiles of legitimate users."""
        return tuple(profile for profile in self.profiles if profile.role is Role.legitimate)

    @property
    def attackers(self) -> tuple[SimulatedProfile, ...]:
        """The profiles of attackers."""
        return tuple(profile for profile in self.profiles if profile.role is Role.attacker)


@dataclass(frozen=True)
class Calibration:
    """A calibration in its three parts. Raises CalibrationError when members contradict each other."""

    policy: CalibratedPolicy
    measurement: Measurement
    rehearsal: RehearsalEvidence

    def __post_init__(self) -> None:
        check_policy(self.policy)
        latency = self.measurement.latency_seconds
        if not latency > 0:
            raise CalibrationError(
                f"calibration: measurement.latency_seconds must be more than 0, not {latency}: {AGAIN}"
            )

    @classmethod
    def load(cls, path: Path) -> "Calibration":
        """Read and check a file. Raises CalibrationError, whose text is one line."""
        document = read_calibration(path)
        try:
            return decode(cls, {name: part for name, part in document.items() if name != "schema"})
        except (DecodingError, PuzzleError) as problem:
            raise CalibrationError(f"{path}: {problem}: {AGAIN}") from problem

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all. Raises CalibrationError."""
        try:
            document = json.dumps({"schema": SCHEMA} | asdict(self), indent=2, allow_nan=False, default=_member_value)
            with whole_file(path) as scratch:
                scratch.write_text(document + "\n", encoding="utf-8")
        except (OSError, ValueError) as problem:
            raise CalibrationError(f"{path} cannot be written ({problem}): give another --output") from problem


def _member_value(value: object) -> object:
    """Return the JSON form of an enumeration's member."""
    if isinstance(value, Enum):
        return value.value
    raise TypeError(f"{type(value).__name__} has no form in JSON")
