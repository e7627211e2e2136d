"""The simulation behind `calpow simulate`: recorded attacks, replayed and laid out as a table or a CSV file."""

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from calpow.archiver.calibration.timing.solver_timing import measure_solver, reference_client
from calpow.archiver.errors import SimulationError
from calpow.archiver.replay.paper_rule import PaperRule, ReplayedStep, fit_bounds, fit_rule, replay
from calpow.archiver.replay.traces import read_baseline, read_trace
from calpow.handler.policy.solver_fit import SolverFit
from calpow.puzzle.profiles import DEFAULT_PROFILE, PROFILES
from calpow.puzzle.solving.engines import has_fast_engine

COLUMNS = ("attack", "queries", "accuracy (%)", "before (s)", "after PoW (s)", "multiple")
BITS_COLUMN = "bits at the end"
CSV_COLUMNS = ("attack", "queries", "cost", "accuracy", "seconds_before", "puzzle_seconds", "seconds_after")


@dataclass(frozen=True)
class SimulationOrder:
    """An order to replay recorded attacks.

    baseline, trace: CSV files of a standard user and of attacks. attack: the only one to replay; all of them by
    default. queries: each attack stops before it exceeds this number. base: the `a` of the paper's rule. min_seconds,
    max_seconds: the shortest and the longest puzzle. bits: whether puzzles are converted to leading zero bits, too.
    upper: a CSV file of the dearest legitimate user, where `baseline` is of the cheapest and the rule is that of the
    bounds.
    Raises SimulationError when a number is out of range.
    """

    baseline: Path
    trace: Path
    attack: str | None
    queries: float
    base: float
    min_seconds: float
    max_seconds: float
    bits: bool
    upper: Path | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.base < math.inf:
            raise SimulationError(f"--base is {self.base:g}: give a finite number of at least 1")
        if not 0 < self.min_seconds <= self.max_seconds < math.inf:
            raise SimulationError(
                f"puzzles from {self.min_seconds:g} to {self.max_seconds:g} seconds cannot be: give --min-seconds above"
                " 0 and --max-seconds no smaller"
            )
        if self.max_seconds < 1:
            raise SimulationError(f"--max-seconds is {self.max_seconds:g}: a standard user's puzzle takes 1 second")
        if not self.queries >= 0:
            raise SimulationError(f"--queries is {self.queries:g}: give a number of at least 0")


@dataclass(frozen=True)
class Simulation:
    """Replayed attacks by name, and the solver whose digest rate converts seconds to bits, if bits were ordered.

    `left_out` names the attacks whose first step already exceeds the ordered number of queries.
    """

    attacks: Mapping[str, Sequence[ReplayedStep]]
    left_out: tuple[str, ...]
    solver: SolverFit | None

    def table(self) -> str:
        """Return the state of every attack after its last step, one line each below a header."""
        rows = [COLUMNS + ((BITS_COLUMN,) if self.solver else ())]
        for name, steps in self.attacks.items():
            last = steps[-1]
            numbers = (f"{last.queries:,.0f}", f"{last.accuracy:.1f}", f"{last.before:,.1f}", f"{last.after:,.1f}")
            rows.append((name, *numbers, f"{last.multiple:,.2f}", *self._bits(last)))
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        return "\n".join(_aligned(row, widths) for row in rows)

    def write_steps(self, path: Path) -> None:
        """Write every step of every attack to a CSV file. Raises SimulationError when it cannot be written."""
        try:
            with path.open("w", encoding="utf-8", newline="") as file:
                writer = csv.writer(file)
                writer.writerow(CSV_COLUMNS + (("bits",) if self.solver else ()))
                for name, steps in self.attacks.items():
                    for step in steps:
                        numbers = (step.queries, step.cost, step.accuracy, step.before, step.puzzle, step.after)
                        writer.writerow([name, *numbers, *self._bits(step)])
        except OSError as problem:
            raise SimulationError(f"{path} cannot be written ({problem.strerror}): give another --output") from problem

    def _bits(self, step: ReplayedStep) -> tuple[str, ...]:
        return (f"{math.log2(self.solver.work(step.puzzle)):.2f}",) if self.solver else ()


def simulate(order: SimulationOrder) -> Simulation:
    """Replay recorded attacks under the paper's rule.

    Raises TraceError when a recording cannot be used, and SimulationError when the ordered attack is not in the trace
    or no attack has a step within the ordered number of queries.
    """
    attacks = read_trace(order.trace)
    if order.attack is not None:
        if order.attack not in attacks:
            raise SimulationError(f"the trace has no attack {order.attack!r}: there are {', '.join(attacks)}")
        attacks = {order.attack: attacks[order.attack]}
    rule = _rule(order)
    replayed = {name: replay(rule, steps, order.queries) for name, steps in attacks.items()}
    left_out = tuple(name for name, steps in replayed.items() if not steps)
    if len(left_out) == len(replayed):
        raise SimulationError(f"{describe_left_out(left_out, order.queries)}: give a larger --queries")
    solver = _fastest_solver() if order.bits else None
    return Simulation({name: steps for name, steps in replayed.items() if steps}, left_out, solver)


def _rule(order: SimulationOrder) -> PaperRule:
    baseline, settings = read_baseline(order.baseline), (order.base, order.min_seconds, order.max_seconds)
    if order.upper is None:
        return fit_rule(baseline, *settings)
    return fit_bounds(baseline, read_baseline(order.upper), *settings)


def describe_left_out(names: Sequence[str], queries: float) -> str:
    """Return why these attacks have no step within `queries`."""
    return f"more than {queries:,g} queries in the first step of {', '.join(names)}"


def _fastest_solver() -> SolverFit:
    return measure_solver(reference_client(PROFILES[DEFAULT_PROFILE].kind, fast=has_fast_engine()))


def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    name, *numbers = row
    cells = [number.rjust(width) for number, width in zip(numbers, widths[1:], strict=True)]
    return "  ".join([name.ljust(widths[0]), *cells])
