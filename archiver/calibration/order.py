"""The order of a calibration: everything its owner decides, checked where it is created."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from calpow.archiver.data.media_types import BODY
from calpow.archiver.errors import OrderError
from calpow.puzzle.profiles import DEFAULT_PROFILE, PROFILES

METRICS = ("pate", "entropy", "gap", "pknn", "odin", "odin-moved")
DEFAULT_METRICS = ("pate",)  # decision 0015
POLICIES = ("conditional", "paper", "bounds")


@dataclass(frozen=True)
class CalibrationOrder:
    """An order for a calibration: the victim, the data, the scores, and the file to write.

    metrics: names of scores; the paper's rule sums the first.
    rdp_order: votes are accounted as RDP of this order instead of each query's epsilon.
    budget: the time that a legitimate user's answer may take, in multiples of the unprotected time.
    horizon: the number of queries up to which the budget holds.
    attacks: folders of payloads that are not legitimate, by name.
    records: a file recorded in mode observe, from which legitimate costs are learnt.
    puzzle: the profile of the puzzles that clients will solve.
    part: the part of a request that carries the payload.
    classes: a file that names the classes in the order of the victim's output.
    fast: work is calibrated in the time of calpow[fast]'s solver, not of the solver that every Python has.

    Raises OrderError when members contradict each other or are out of range.
    """

    victim: Path
    data: Path
    output: Path
    ensemble: Path | None = None
    neighbours: Path | None = None
    rdp_order: float | None = None
    metrics: tuple[str, ...] = DEFAULT_METRICS
    policy: str = "conditional"
    budget: float = 2.0
    horizon: int = 10_000
    attacks: Mapping[str, Path] = field(default_factory=dict)
    seed: int = 0
    records: Path | None = None
    puzzle: str = DEFAULT_PROFILE
    fast: bool = True
    part: str = BODY
    classes: Path | None = None

    def __post_init__(self) -> None:
        if self.puzzle not in PROFILES:
            raise OrderError(f"--puzzle {self.puzzle}: give one of {', '.join(PROFILES)}")
        if not 1 < self.budget < 1000:
            raise OrderError(
                f"--overhead-budget {self.budget}: give more than 1, for example 2 for at most twice the time"
            )
        if not 100 <= self.horizon <= 10_000_000:
            raise OrderError(f"--horizon {self.horizon}: give a number of queries from 100 to 10,000,000")
        if len(set(self.metrics)) < len(self.metrics):
            raise OrderError(f"--metric names one twice: {' '.join(self.metrics)}")
        if self.rdp_order is not None and not 1 < self.rdp_order <= 1000:
            raise OrderError(f"--rdp-order {self.rdp_order}: give an order above 1, up to 1000")
        self._check_file("pate", "--ensemble", self.ensemble, "calpow teachers")
        self._check_file("pknn", "--neighbours", self.neighbours, "calpow neighbours")

    def _check_file(self, metric: str, option: str, file: Path | None, maker: str) -> None:
        if metric in self.metrics and file is None:
            raise OrderError(f"metric {metric} needs {option}, from {maker}")
        if metric not in self.metrics and file is not None:
            raise OrderError(f"{option} is for metric {metric}: leave it out, or add --metric {metric}")
