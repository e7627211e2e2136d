"""Times of one part of an answer at several sizes, and the exponents with which they grow."""

import math
import random
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from calpow.archiver.progress import track

# Consecutive parts of the measurements, whose exponents differ by chance.
PARTS = 4
# Medians that are larger by less than this are not told from noise.
LEAST_RATIO = 1.5


@dataclass(frozen=True)
class Curve:
    """Times of a `part` of the work as one quantity grows.

    `seconds` has a column for each size, in the order measured: the sizes took turns.
    """

    grows: str
    part: str
    sizes: Sequence[int]
    seconds: Sequence[Sequence[float]]

    @property
    def medians(self) -> list[float]:
        """The median seconds of each size."""
        return [statistics.median(column) for column in self.seconds]

    @property
    def ratio(self) -> float:
        """The median of the largest size, as a multiple of that of the smallest."""
        medians = self.medians
        return medians[-1] / medians[0]

    @property
    def exponent(self) -> float:
        """The exponent over the last decade of sizes: 0 where time stays, 1 where it doubles with the size."""
        return self._exponent(self.medians)

    @property
    def exponents_of_parts(self) -> list[float]:
        """The same of consecutive parts of the measurements."""
        length = max(len(self.seconds[0]) // PARTS, 1)
        begins = range(0, len(self.seconds[0]) - length + 1, length)
        return [
            self._exponent([statistics.median(column[begin : begin + length]) for column in self.seconds])
            for begin in begins
        ]

    @property
    def exponent_of_added(self) -> float | None:
        """The exponent of what is added to the time of the smallest size; None where that is not told from noise."""
        medians = self.medians
        last = self._last_decade[-1]
        if self.ratio < LEAST_RATIO or medians[-1] <= medians[last - 1]:
            return None
        # The smallest size is taken off the sizes, too: of a straight line, the exponent is 1.
        points = [
            (self.sizes[place] - self.sizes[0], medians[place] - medians[0])
            for place in self._last_decade
            if place and medians[place] > medians[0]
        ]
        return slope(points) if len(points) > 1 else None

    @property
    def _last_decade(self) -> list[int]:
        """Places of the sizes from a tenth of the largest on."""
        return [place for place, size in enumerate(self.sizes) if 10 * size >= self.sizes[-1]]

    def _exponent(self, times: Sequence[float]) -> float:
        return slope([(self.sizes[place], times[place]) for place in self._last_decade])


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Return the slope of a straight line through the logarithms of points, by least squares."""
    across, up = zip(*[(math.log(x), math.log(y)) for x, y in points], strict=True)
    return statistics.linear_regression(across, up).slope


def stopwatch(run: Callable[[], object]) -> Callable[[], float]:
    """Return a function that runs `run` and returns the seconds of this thread that it took.

    Waits for a core, which other programs have, are left out: long runs have more of them, and would seem to grow.
    """

    def seconds() -> float:
        begun = time.thread_time()
        run()
        return time.thread_time() - begun

    return seconds


def times_in_turns(timed: Sequence[Callable[[], float]], rounds: Iterable[int], name: str) -> list[list[float]]:
    """Return the seconds that each of the functions returns; they take turns, so that other load affects all alike.

    A turn is two calls, of which the second counts: after a large run of another function, the first finds the caches
    cold, and small ones would seem slow.
    """
    columns: list[list[float]] = [[] for _ in timed]
    order, rng = list(range(len(timed))), random.Random(0)
    for _ in track(rounds, name, "round"):
        rng.shuffle(order)
        for place in order:
            timed[place]()
            columns[place].append(timed[place]())
    return columns
