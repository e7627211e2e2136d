"""A thief's solver in a tight loop, which takes the digests of puzzles and spends no time on beginning stamps."""

from dataclasses import dataclass

from calpow.archiver.calibration.calibration_document import ThiefFigures
from calpow.handler.policy.calibrated_policy import CalibratedPolicy
from calpow.handler.policy.solver_fit import SolverFit


@dataclass(frozen=True)
class TightLoop:
    """A solver that takes digests as fast as the reference client and starts stamps in no time.

    floor: seconds of the floor's puzzle. latency: seconds of an unprotected sample.
    """

    solver: SolverFit
    floor: float
    latency: float

    @classmethod
    def of(cls, policy: CalibratedPolicy, latency: float) -> "TightLoop":
        """Return the loop against a policy."""
        return cls(policy.solver, policy.floor_seconds, latency)

    @property
    def seconds(self) -> float:
        """The seconds that the digests of the floor's puzzle take."""
        return self.solver.digest_seconds(self.floor)

    @property
    def share(self) -> float:
        """The share of digests in the floor's seconds."""
        return self.seconds / self.floor

    def theft(self, figures: ThiefFigures) -> float:
        """Return what a stolen answer costs, in unprotected answers, at the best of the thief's duty cycles.

        A tight loop saves the start of every puzzle, those of fillers too, so that another cycle may be the best one.
        """
        cycles = (
            (figures.theft, figures.fillers + 1),
            (figures.pure, 1),
            (2 * figures.half, 2),
            (5 * figures.fifth, 5),
            (20 * figures.twentieth, 20),
        )
        return min(self._digests(floors, queries) for floors, queries in cycles) / self.latency

    def _digests(self, floors: float, queries: int) -> float:
        """Return the seconds of the digests of `queries` puzzles that take so many floors in all."""
        return queries * self.solver.digest_seconds(floors / queries * self.floor)
