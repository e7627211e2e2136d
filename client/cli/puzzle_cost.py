"""`calpow puzzle-cost`: what each kind of puzzle costs honest clients, thieves with graphics cards, and the server."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence

from calpow.client.cli.hardware import NAME, SOURCE, figure_of
from calpow.client.cli.paces import Pace, Verifying, measure
from calpow.puzzle.solving.engines import has_fast

_EXAMPLE = """\
Example (half a minute; leave the machine to it):
  calpow puzzle-cost

An owner chooses a kind with calpow calibrate --puzzle.
"""
_NAME, _SOLVER, _FIGURE, _LAST = 18, 30, 17, 20


def add_command(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `calpow puzzle-cost`."""
    parser = subparsers.add_parser(
        "puzzle-cost",
        help="measure what each kind of puzzle costs on this machine",
        description="Measure the digests a second that every solver here makes of each kind of puzzle, all in turns,\n"
        f"and say beside it what a graphics card ({NAME}) makes of it, by published figures; then what\n"
        "verifying costs a server.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    del args
    paces, verifying = measure()
    print("\n".join([*_solving(paces), *_missing(paces), "", *_hardware(paces), "", *_checking(verifying)]))
    return 0


def _solving(paces: Sequence[Pace]) -> Iterator[str]:
    yield _line("puzzle", "solver", "digests a second", f"{NAME} has")
    name = ""
    for pace in paces:
        figure, rate = figure_of(pace.puzzle), pace.digests_per_second
        over = f"{figure.digests_per_second / rate:,.0f} times" if figure else "nothing published"
        yield _line("" if pace.name == name else pace.name, pace.solver, _count(rate), over)
        name = pace.name


def _missing(paces: Sequence[Pace]) -> Iterator[str]:
    """What could have been measured, too."""
    if not has_fast():
        yield "calpow[fast] is not installed: pip install 'calpow[fast]'"
    if not any("hashcash," in pace.solver for pace in paces):
        yield "the program hashcash is not installed: apt install hashcash"


def _hardware(paces: Sequence[Pace]) -> Iterator[str]:
    figures = {pace.name: figure for pace in paces if (figure := figure_of(pace.puzzle))}
    counts = ", ".join(f"{_count(figure.digests_per_second)} of {name}" for name, figure in figures.items())
    yield f"{NAME}, digests a second: {counts}"
    yield f"({SOURCE})."
    yield "Nothing is published of scrypt with less memory a digest: expect a card to do better there, not worse."


def _checking(verifying: Sequence[Verifying]) -> Iterator[str]:
    yield _line("verifying", "largest count of stamps", "takes a server")
    for each in verifying:
        yield _line(each.name, str(each.stamps), f"{1e3 * each.seconds:.2g} ms")


def _line(name: str, solver: str, figure: str, last: str = "") -> str:
    return f"{name:<{_NAME}}{solver:<{_SOLVER}}{figure:>{_FIGURE}}{last:>{_LAST}}".rstrip()


def _count(number: float) -> str:
    if number >= 1e6:
        return f"{number / 1e6:,.{0 if number >= 1e8 else 1}f} million"
    return f"{number:,.{0 if number >= 100 else 1}f}"
