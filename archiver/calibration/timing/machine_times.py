"""Times on this machine: of the victim, of the gate in front of it, and of the reference client."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from calpow.archiver.calibration.calibration_document import (
    Calibration,
    Measurement,
    RehearsalEvidence,
    Sources,
)
from calpow.archiver.calibration.order import CalibrationOrder
from calpow.archiver.calibration.rehearsal import QueryTimes
from calpow.archiver.calibration.timing.latency import PRECISION, Latency, SideBySide, side_by_side
from calpow.archiver.calibration.timing.solver_timing import (
    FloorPuzzle,
    ReferenceClient,
    mean_solving_seconds,
    measure_floor,
    measure_solver,
    reference_client,
)
from calpow.archiver.packaging import ArchiveOrder, write_archive
from calpow.archiver.victim.victim_archive import VictimArchive
from calpow.handler.policy.calibrated_policy import CalibratedPolicy
from calpow.handler.policy.solver_fit import SolverFit
from calpow.puzzle.profiles import PuzzleKind

# The machine is busy if other programs use more than this share of its cores, looked at for some seconds.
BUSY_SHARE = 0.2
BUSY_SECONDS = 0.5


@dataclass(frozen=True)
class MachineTimes:
    """Times on one machine.

    latency: of a payload. puzzle: the kind of all puzzles. floor_in_python: seconds of the floor's puzzle for a client
    without calpow[fast]. busy: the share of the cores that other programs used while nothing was measured.
    """

    latency: Latency
    samples_per_payload: float
    puzzle: PuzzleKind
    solver: SolverFit
    floor: FloorPuzzle
    floor_in_python: float
    busy: float = 0.0

    @property
    def of_query(self) -> QueryTimes:
        """The times of one sample."""
        samples = self.samples_per_payload
        return QueryTimes(self.latency.median / samples, self.latency.added / samples, self.floor.seconds)

    @property
    def floor_share(self) -> float:
        """The floor's seconds as a share of the unprotected latency of a sample."""
        return self.floor.seconds * self.samples_per_payload / self.latency.median

    @property
    def warnings(self) -> list[str]:
        """Reasons for which these times are less certain than they should be, one sentence each."""
        warnings = []
        if self.busy > BUSY_SHARE:
            warnings.append(
                f"Other programs used {self.busy:.0%} of this machine's cores: leave it idle and calibrate again, or"
                " users pay for its load."
            )
        if self.latency.uncertainty > PRECISION:
            warnings.append(
                f"Latency is known to {self.latency.uncertainty:.0%} only, after {self.latency.requests:,} requests:"
                " leave the machine idle and calibrate again."
            )
        return warnings


def busy_share() -> float:
    """Return the share of the cores that programs use at the moment."""
    return psutil.cpu_percent(BUSY_SECONDS) / 100


@contextmanager
def serving(draft: CalibratedPolicy, order: CalibrationOrder, victim: VictimArchive) -> Iterator[SideBySide]:
    """Context manager that starts TorchServe with the victim and with it protected by a draft of its policy."""
    unrehearsed = RehearsalEvidence("", order.horizon, order.budget, (), (), (), {}, 0.0, 0.0, ())
    with tempfile.TemporaryDirectory(prefix="calpow-draft-") as folder:
        measured = Path(folder) / "calibration.json"
        untimed = Measurement(1e-6, 0.0, Sources(str(order.victim), str(order.data)), {})
        Calibration(draft, untimed, unrehearsed).save(measured)
        archive_order = ArchiveOrder(
            victim=order.victim,
            ensemble=order.ensemble,
            neighbours=order.neighbours,
            calibration=measured,
            export_path=Path(folder),
            model_name="protected",
        )
        protected = write_archive(archive_order, victim)
        with side_by_side(victim.path, protected, draft.puzzle) as server:
            yield server


def measure_times(
    latency: Latency, client: ReferenceClient, budget: float, samples_per_payload: float, room: float, busy: float
) -> MachineTimes:
    """Time the reference client on this machine, where answers have this latency.

    `room` is what legitimate users pay in floors at most. With the largest floor, their whole answers stay within the
    budget: the unprotected time, what the gate adds, and `room` floors. Where the gate alone takes more than the budget
    leaves, the floor is the least puzzle. `busy` is the share of the cores that other programs used before.
    """
    busy = max(busy, busy_share())
    solver = measure_solver(client)
    client = client.saving_starts(solver)
    solving = largest_solving_seconds(latency, budget) / samples_per_payload
    floor = measure_floor(client, solving / room, solver)
    slow_client = reference_client(client.kind, fast=False)
    in_python = mean_solving_seconds(slow_client, floor.work)
    return MachineTimes(latency, samples_per_payload, client.kind, floor.on(solver), floor, in_python, busy)


def largest_solving_seconds(latency: Latency, budget: float) -> float:
    """Return what the budget of a payload leaves for solving: nothing where the gate alone takes more."""
    return max(0.0, (budget - 1) * latency.median - latency.added)
