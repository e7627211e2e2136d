"""Solving time of the reference client as a function of the work, and its inverse."""

from dataclasses import dataclass


@dataclass(frozen=True)
class SolverFit:
    """Solving time of the reference client: `start_seconds` for a puzzle of any size, plus a time for each hash.

    Where the start is short, leading zero bits are linear in log seconds, as in section 3.3. The start dominates a fast
    client's small puzzles: a line through them and large ones would ask several times too little in between.
    Decision 0027.
    """

    start_seconds: float
    hashes_per_second: float

    def work(self, seconds: float) -> float:
        """Return the expected hashes of a puzzle that takes the reference client a mean of `seconds`; at least one."""
        return max(1.0, (seconds - self.start_seconds) * self.hashes_per_second)

    def seconds(self, work: float) -> float:
        """Return the mean seconds that the reference client takes for a puzzle of `work` expected hashes."""
        return self.start_seconds + work / self.hashes_per_second

    def digest_seconds(self, seconds: float) -> float:
        """Return the part of a puzzle's mean `seconds` that its digests take: all that a solver without starts pays."""
        return self.work(seconds) / self.hashes_per_second
