"""Requirements on the measured figures, and the table of whether they are met."""

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
class Requirement:
    """A limit on a measured figure. The median over seeds decides; the worst seed is shown beside it."""

    what: str
    limit: float
    at_most: bool
    values: tuple[float, ...]

    @property
    def holds(self) -> bool:
        """Whether the median over seeds keeps the limit."""
        return self._is_reached(median(self.values))

    @property
    def verdict(self) -> str:
        """The verdict in a few words; it names the seeds that miss the limit."""
        if not self.holds:
            return "**FAIL**"
        missed = sum(not self._is_reached(value) for value in self.values)
        return f"pass, but for {missed} of {len(self.values)} seeds" if missed else "pass"

    def _is_reached(self, value: float) -> bool:
        return value <= self.limit if self.at_most else value >= self.limit


def of_policy(results: Results) -> Iterator[Requirement]:
    """Yield the requirements on what users and attackers pay under the default policy, at the longest of LENGTHS."""
    found = [each[DEFAULT.name] for each in results]
    for index, length in enumerate(LENGTHS):
        paid = tuple(dearest(each.honest)[index] for each in found)
        yield Requirement(
            f"honest users of the dearest profile, 99th percentile, {length:,} queries", BUDGET, True, paid
        )
    for key in found[0].attackers:
        kind, way = key
        least = WAYS.get(way) if way else NEAR_DUPLICATES if kind in NEAR else STRANGERS
        if least:
            what = f"{kind}, {way}" if way else kind
            yield Requirement(what, least, False, tuple(each.attackers[key][-1] for each in found))


def of_timing(timings: Timings) -> Iterator[Requirement]:
    """Yield the requirements on the time of pricing a batch, in times of the victim's forward pass."""
    for name, took in ((VOTES, timings.votes[VOTES]), (f"{DEFAULT.name}, added", timings.added[DEFAULT.name])):
        yield Requirement(f"pricing {SLOW_BATCH}, {name}", PRICING, True, (took.times_victim[SLOW_BATCH],))


def requirement_table(requirements: Sequence[Requirement]) -> Iterator[str]:
    """Yield the lines of a Markdown table of the requirements."""
    yield "### Does it reach what it must?"
    yield ""
    yield "| what | must | measured | worst seed | |"
    yield "| --- | ---: | ---: | ---: | --- |"
    for requirement in requirements:
        sign, worst = ("<=", max(requirement.values)) if requirement.at_most else (">=", min(requirement.values))
        limit, middle = f"{sign} {requirement.limit:,g}x", number(median(requirement.values))
        yield f"| {requirement.what} | {limit} | {middle}x | {number(worst)}x | {requirement.verdict} |"
    yield ""
