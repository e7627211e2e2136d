"""`calpow puzzle-cost`: the cost of puzzles for honest clients, for thieves with graphics cards, and for the server."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import click

from calpow.client.cli.gpu_speeds import CARD, SOURCE, gpu_speed
from calpow.client.cli.solver_speed import SolverSpeed, VerificationTime, measure
from calpow.puzzle.installation import install_command
from calpow.puzzle.solving.engines import has_fast_engine

_EPILOG = """\b
Example (half a minute; leave the machine to it):
  calpow puzzle-cost

An owner chooses a kind with calpow calibrate --puzzle.
"""
_WIDTHS = (18, 30, 17, 20)


@click.command(
    help="Measure each kind of puzzle on this machine: the digests a second of every solver, compared with published"
    f" figures of a graphics card ({CARD}), and the time that a server takes to verify a solution.",
    epilog=_EPILOG,
)
def puzzle_cost() -> None:
    """Measure what each kind of puzzle costs here."""
    speeds, verifications = measure()
    print("\n".join([*_solvers(speeds), *_not_installed(speeds), "", *_card(speeds), "", *_server(verifications)]))


def _solvers(speeds: Sequence[SolverSpeed]) -> Iterator[str]:
    yield _row("puzzle", "solver", "digests a second", f"{CARD} has")
    name = ""
    for speed in speeds:
        card, rate = gpu_speed(speed.puzzle), speed.digests_per_second
        ratio = f"{card.digests_per_second / rate:,.0f} times" if card else "nothing published"
        yield _row("" if speed.name == name else speed.name, speed.solver, _count(rate), ratio)
        name = speed.name


def _not_installed(speeds: Sequence[SolverSpeed]) -> Iterator[str]:
    """Yield a line for each solver that could be measured if it were installed."""
    if not has_fast_engine():
        yield f"calpow[fast] is not installed, or does not work here: {install_command('fast')}"
    if not any("hashcash," in speed.solver for speed in speeds):
        yield "the program hashcash is not installed: apt install hashcash"


def _card(speeds: Sequence[SolverSpeed]) -> Iterator[str]:
    published = {speed.name: card for speed in speeds if (card := gpu_speed(speed.puzzle))}
    counts = ", ".join(f"{_count(card.digests_per_second)} of {name}" for name, card in published.items())
    yield f"{CARD}, digests a second: {counts}"
    yield f"({SOURCE})."
    yield "No figures are published for scrypt with less memory a digest: expect a card to do better there, not worse."


def _server(verifications: Sequence[VerificationTime]) -> Iterator[str]:
    yield _row("verifying", "largest count of stamps", "takes a server")
    for verification in verifications:
        milliseconds = 1e3 * verification.seconds
        figure = f"{milliseconds:.2g}" if milliseconds < 9.95 else f"{milliseconds:,.0f}"
        yield _row(verification.name, str(verification.stamps), f"{figure} ms")


def _row(name: str, solver: str, figure: str, last: str = "") -> str:
    cells = f"{name:<{_WIDTHS[0]}}{solver:<{_WIDTHS[1]}}{figure:>{_WIDTHS[2]}}{last:>{_WIDTHS[3]}}"
    return cells.rstrip()


def _count(number: float) -> str:
    if number >= 1e6:
        return f"{number / 1e6:,.{0 if number >= 1e8 else 1}f} million"
    return f"{number:,.{0 if number >= 100 else 1}f}"
