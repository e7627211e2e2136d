"""The command `calpow`: every room adds its subcommands; every failure is one line, never a traceback."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import PackageNotFoundError, entry_points, version

from calpow.client.cli import commands
from calpow.client.cli.exit_codes import FAILED, INTERRUPTED
from calpow.client.cli.failures import describe
from calpow.puzzle.errors import CalpowError

_COMMANDS = "calpow.commands"
_EXAMPLE = """\
Example (what it says about asking a server):
  calpow predict --help
"""

Add = Callable[["argparse._SubParsersAction[argparse.ArgumentParser]"], None]


class PackageMissing(CalpowError):
    """A command of the model owner, without the packages it needs."""

    def __init__(self, name: str) -> None:
        super().__init__(f"this command needs {name}: pip install 'calpow[owner]'")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand and return the exit code: its own, 2 for an error, 130 when interrupted.

    argv: the arguments without the program's name; by default those of the process. Raises SystemExit for
        --help, --version and a command line that cannot be read, as argparse does.
    """
    _open_standard_streams()
    try:
        return _run(sys.argv[1:] if argv is None else argv)
    except KeyboardInterrupt:
        return _fail("interrupted", INTERRUPTED)
    except (CalpowError, OSError) as error:  # requests' errors are OSErrors
        return _fail(describe(error), FAILED)


def _open_standard_streams() -> None:
    """Have all three, as /dev/null where we were started without: no other file may get their numbers."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115


def _run(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="calpow",
        description="Serve a model that is expensive to steal, and ask such a server for predictions.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"calpow {_version()}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    missing = _add_commands(subparsers)
    command = next((word for word in argv if not word.startswith("-")), None)
    if missing and command and command not in subparsers.choices:
        raise PackageMissing(missing)
    args = parser.parse_args(argv)
    run: Callable[[argparse.Namespace], int] = args.run
    try:
        return run(args)
    except ModuleNotFoundError as error:
        raise PackageMissing(_package_of(error)) from error


def _add_commands(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> str | None:
    """Add what is installed; return the package without which some room's commands are not to be had."""
    missing = None
    rooms: Iterable[Callable[[], Add]] = [room.load for room in entry_points(group=_COMMANDS)]
    for load in rooms or [lambda: commands.add]:  # run from the source tree, nothing is installed
        try:
            load()(subparsers)
        except ModuleNotFoundError as error:
            missing = _package_of(error)
    return missing


def _package_of(error: ModuleNotFoundError) -> str:
    name = (error.name or "").partition(".")[0]
    if name in ("", "calpow"):
        raise error  # a fault of ours, not a missing package
    return name


def _version() -> str:
    try:
        return version("calpow")
    except PackageNotFoundError:
        return "(not installed)"


def _fail(text: str, code: int) -> int:
    print(f"calpow: {text}", file=sys.stderr)
    return code
