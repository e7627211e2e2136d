"""The parts of the gate beside others that do the same: ALTCHA, Debian's hashcash, autodp and dp_accounting.

python -m benchmarks.peers          a minute; wants pip install '.[bench]', and hashcash from Debian
"""

import shutil
import sys
from collections.abc import Iterator

import torch

from benchmarks.peers.accounting_peers import DELTA, SIGMA, TEACHERS, accounting
from benchmarks.peers.epsilon_peers import epsilons
from benchmarks.peers.puzzle_peers import ALGORITHM, WORK, altchas, hashcashs, ours
from calpow.puzzle.solving.engines import engines_for


def tables() -> Iterator[str]:
    """Yield the lines of all tables."""
    yield f"| puzzles of {WORK:,} expected digests, one core, medians | issue | solve | verify |"
    yield "|---|---:|---:|---:|"
    program = shutil.which("hashcash")
    if program is None:
        print("hashcash is left out: apt install hashcash", file=sys.stderr)
    found = [altchas(), *map(ours, engines_for(ALGORITHM)), *([hashcashs(program)] if program else [])]
    for times in found:
        issue = "" if times.issue is None else _shown(times.issue)
        yield f"| {times.name} | {issue} | {_shown(times.solve)} | {_shown(times.verify)} |"
    yield ""
    yield f"| {TEACHERS} votes, sigma {SIGMA:g} | Calpow, us an answer | autodp | ratio | largest difference |"
    yield "|---|---:|---:|---:|---:|"
    for way in accounting():
        ratio = way.autodp / way.ours
        yield f"| {way.quantity} | {way.ours:.1f} | {way.autodp:,.1f} | {ratio:,.0f} | {way.difference:.0e} |"
    yield ""
    yield f"| {TEACHERS} votes, sigma {SIGMA:g}, delta {DELTA:g} | Calpow | dp_accounting | ratio |"
    yield "|---|---:|---:|---:|"
    for value in epsilons():
        yield f"| {value.quantity} | {value.ours:.3f} | {value.theirs:.3f} | {value.ours / value.theirs:.3f} |"


def _shown(seconds: float) -> str:
    return f"{1e3 * seconds:,.1f} ms" if seconds >= 1e-3 else f"{1e6 * seconds:,.0f} us"


def main() -> None:
    """Print the tables."""
    torch.set_num_threads(1)
    print("\n".join(tables()))


if __name__ == "__main__":
    main()
