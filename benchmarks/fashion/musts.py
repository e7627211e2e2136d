"""What must be reached, and what was."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.fashion.policies import CHEAP, DEFAULT, FIFTH, HALF, LENGTHS, dearest
from benchmarks.fashion.strangers import NEAR
from benchmarks.fashion.tables import Results, number
from benchmarks.fashion.timing import VOTES, Timings

BUDGET, PRICING = 2.0, 0.5
# What attackers must pay, by what they do with strangers; in times of the unprotected latency.
STRANGERS, NEAR_DUPLICATES = 1_000.0, 10.0
WAYS = {HALF: 100.0, CHEAP: 100.0, FIFTH: 10.0}
SLOW_BATCH = 64


@dataclass(frozen=True)
class Must:
    """A number that must be at least, or at most, so much: the median over seeds, and the worst seed's beside it."""

    what: str
    limit: float
    at_most: bool
    values: tuple[float, ...]

    @property
    def holds(self) -> bool:
        """Whether it is so in the median over seeds."""
        return self._is_reached(median(self.values))

    @property
    def verdict(self) -> str:
        """In a word or two; a must that some seed misses is never a plain pass."""
        if not self.holds:
            return "**FAIL**"
        missed = sum(not self._is_reached(value) for value in self.values)
        return f"pass, but for {missed} of {len(self.values)} seeds" if missed else "pass"

    def _is_reached(self, value: float) -> bool:
        return value <= self.limit if self.at_most else value >= self.limit


def of_policy(results: Results) -> Iterator[Must]:
    """What the default policy must make users and attackers pay at the longest of LENGTHS."""
    found = [each[DEFAULT.name] for each in results]
    for index, length in enumerate(LENGTHS):
        paid = tuple(dearest(each.honest)[index] for each in found)
        yield Must(f"honest users of the dearest profile, 99th percentile, {length:,} queries", BUDGET, True, paid)
    for key in found[0].attackers:
        kind, way = key
        least = WAYS.get(way) if way else NEAR_DUPLICATES if kind in NEAR else STRANGERS
        if least:
            what = f"{kind}, {way}" if way else kind
            yield Must(what, least, False, tuple(each.attackers[key][-1] for each in found))


def of_timing(timings: Timings) -> Iterator[Must]:
    """What pricing a batch may take of the victim's forward pass."""
    for name, took in ((VOTES, timings.votes[VOTES]), (f"{DEFAULT.name}, added", timings.added[DEFAULT.name])):
        yield Must(f"pricing {SLOW_BATCH}, {name}", PRICING, True, (took.times_victim[SLOW_BATCH],))


def must_table(musts: Sequence[Must]) -> Iterator[str]:
    """All of them, line by line."""
    yield "### Does it reach what it must?"
    yield ""
    yield "| what | must | measured | worst seed | |"
    yield "| --- | ---: | ---: | ---: | --- |"
    for must in musts:
        sign, worst = ("<=", max(must.values)) if must.at_most else (">=", min(must.values))
        limit = f"{sign} {must.limit:,g}x"
        yield f"| {must.what} | {limit} | {number(median(must.values))}x | {number(worst)}x | {must.verdict} |"
    yield ""
