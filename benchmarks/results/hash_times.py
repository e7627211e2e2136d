"""Figure 2: seconds until a stamp with so many leading zero bits is found."""

import statistics
import uuid
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.results.exhibit import Exhibit, Findings, Setting, table
from calpow.archiver.progress import progress
from calpow.puzzle.puzzle import Puzzle
from calpow.puzzle.solving.engines import FAST, PYTHON, Engine
from calpow.puzzle.solving.solver import run_solver

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHA1 = "hashcash-sha1"
# The paper aggregates 8 runs.
RUNS, QUICK_RUNS = 8, 3
# Bits up to which a solver needs some seconds a run.
BITS = {"python": range(8, 24), "fast": range(8, 29)}
QUICK_BITS = {"python": range(8, 19), "fast": range(8, 23)}


class SolvingTime(NamedTuple):
    """Times of some runs of one solver, in seconds; `digests` is their mean number."""

    solver: str
    bits: int
    mean: float
    deviation: float
    digests: float

    def cells(self) -> tuple[object, ...]:
        """Return the numbers, expected digests beside the digests."""
        seconds, deviation = f"{self.mean:.6f}", f"{self.deviation:.6f}"
        return self.solver, self.bits, 1 << self.bits, round(self.digests), seconds, deviation

    def shown(self) -> tuple[object, ...]:
        """Return the numbers as a reader likes them, times in milliseconds."""
        times = (f"{1e3 * seconds:,.3f}" for seconds in (self.mean, self.deviation))
        return self.solver, self.bits, f"{1 << self.bits:,}", f"{self.digests:,.0f}", *times


def figure_2(setting: Setting) -> Findings:
    """Time single stamps of rising difficulty with both solvers, on one core."""
    times = list(_measure(setting))
    rows = [time.cells() for time in times]
    runs = QUICK_RUNS if setting.quick else RUNS
    shown = [time.shown() for time in times if time.bits % 4 == 0]
    text = [
        f"Time until one stamp is found, by the leading zero bits of its SHA-1 digest: means, deviations of {runs}"
        " runs on one core, as in the paper. The expected number of digests is 2 to the number of bits, their spread"
        " as large (geometric distribution). A challenge of Calpow asks for 4 to 31 stamps, whose sum spreads less"
        " ([0028](../decisions/0028-puzzles.md)).",
        "",
        *table(("solver", "bits", "expected digests", "digests", "ms", "deviation"), shown),
        "",
        "The paper says that 20 bits take its Python 3.8 under one second, 24 bits 20 and 28 bits 511 seconds (section"
        " 3.2). Calpow counts work in digests of the fast solver, `calpow[fast]`.",
    ]
    header = ("solver", "bits", "expected_digests", "mean_digests", "mean_seconds", "deviation")
    return Findings(text, header, rows, _picture(times))


def _measure(setting: Setting) -> Iterator[SolvingTime]:
    runs, bits = (QUICK_RUNS, QUICK_BITS) if setting.quick else (RUNS, BITS)
    engines: dict[str, Engine] = {"python": PYTHON, "fast": FAST}
    with progress("figure 2", "puzzle", sum(map(len, bits.values()))) as advance:
        for name, engine in engines.items():
            run_solver(Puzzle(SHA1, "warm-up", 8, 1), engine, workers=1)
            for number in bits[name]:
                yield _timed(name, engine, number, runs)
                advance(1)


def _timed(name: str, engine: Engine, bits: int, runs: int) -> SolvingTime:
    done = [run_solver(Puzzle(SHA1, uuid.uuid4().hex, bits, 1), engine, workers=1) for _ in range(runs)]
    seconds = [run.seconds for run in done]
    digests = statistics.fmean(run.digests for run in done)
    return SolvingTime(name, bits, statistics.fmean(seconds), statistics.stdev(seconds), digests)


def _picture(times: list[SolvingTime]) -> "Callable[[Figure], None]":
    def draw(figure: "Figure") -> None:
        axes = figure.subplots()
        for solver in dict.fromkeys(time.solver for time in times):
            own = [time for time in times if time.solver == solver]
            bits, means = [time.bits for time in own], [time.mean for time in own]
            axes.errorbar(bits, means, [time.deviation for time in own], marker="o", markersize=3, label=solver)
        ticks = range(min(time.bits for time in times), max(time.bits for time in times) + 1, 2)
        axes.set(yscale="log", xlabel="leading zero bits", ylabel="seconds", xticks=ticks)
        axes.legend(frameon=False)
        axes.grid(alpha=0.25)

    return draw


FIGURE_2 = Exhibit("figure-2", "Figure 2: binary HashCash, time by bits", figure_2)
