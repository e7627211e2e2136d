"""The order of a calibration: everything its owner decides, checked where it is created."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from calpow.archiver.data.media_types import BODY
from calpow.archiver.errors import OrderError
from calpow.handler.leakage.specs import ON_LAYERS, ScoreName
from calpow.handler.policy.joint_oddness import JOINT
from calpow.handler.policy.tariff import LONGEST_SECONDS
from calpow.puzzle.profiles import DEFAULT_PROFILE, PROFILES

SCORES = tuple(name.value for name in ScoreName)
POLICIES = ("evidence", "paper")
# Changes of legitimate samples that can be tolerated.
TOLERABLE = ("noise", "shift", "flip", "jpeg", "brightness", "blur", "words")
# Scores that are bet on: 12 bets each at most, of at most 64 integers in an account.
MOST_TESTS = 5
# Scores that need what `calpow teachers` learnt.
_OF_TEACHERS = frozenset({"pate", "vote-entropy", "prototypes", "mahalanobis", "density", "tokens"})


@dataclass(frozen=True)
class CalibrationOrder:
    """An order for a calibration: the victim, the data, the scores, and the file to write.

    scores: names of the scores to bet on; the best are chosen where there are none.
    rdp_order: votes are accounted as RDP of this order instead of each query's epsilon.
    budget: the time that a legitimate user's answer may take, in multiples of the unprotected time.
    horizon: the number of queries up to which the budget holds.
    tolerate: changes of legitimate samples that honest users may send; None for those that suit the input.
    cap_seconds: the most that one sample costs, in seconds of the reference client.
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
    scores: tuple[str, ...] = ()
    policy: str = "evidence"
    budget: float = 2.0
    horizon: int = 10_000
    tolerate: tuple[str, ...] | None = None
    cap_seconds: float = 60.0
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
        if not 1 <= self.cap_seconds <= LONGEST_SECONDS:
            raise OrderError(f"--cap-seconds {self.cap_seconds:g}: give from 1 to {LONGEST_SECONDS:g} seconds")
        if len(set(self.scores)) < len(self.scores):
            raise OrderError(f"--scores names one twice: {' '.join(self.scores)}")
        if len(self.scores) > MOST_TESTS:
            raise OrderError(f"--scores {' '.join(self.scores)}: give at most {MOST_TESTS}")
        if self.rdp_order is not None and not 1 < self.rdp_order <= 1000:
            raise OrderError(f"--rdp-order {self.rdp_order}: give an order above 1, up to 1000")
        self._check_names()

    def _check_names(self) -> None:
        for change in self.tolerate or ():
            if change not in TOLERABLE:
                raise OrderError(f"--tolerate {change}: give none, or of {', '.join(TOLERABLE)}, separated by commas")
        for score in self.scores:
            self._check_score(score)

    def _check_score(self, score: str) -> None:
        name, at, layer = score.partition("@")
        if name == JOINT:
            raise OrderError(f"--scores {JOINT}: leave it out, the scores that are named make it up")
        if name not in SCORES:
            raise OrderError(f"--scores {score}: give names of {', '.join(SCORES)}")
        if at and not (layer and ScoreName(name) in ON_LAYERS):
            layered = ", ".join(sorted(name.value for name in ON_LAYERS))
            raise OrderError(f"--scores {score}: give NAME@LAYER for {layered}, and other names without @")
        if name in _OF_TEACHERS and self.ensemble is None:
            raise OrderError(f"score {name} needs --ensemble, from calpow teachers")
        if name == "pknn" and self.neighbours is None:
            raise OrderError("score pknn needs --neighbours, from calpow neighbours")
