"""Command lines of the benchmarks."""

import argparse


def command_parser(program: str, documentation: str | None) -> argparse.ArgumentParser:
    """Return a parser for `python -m PROGRAM`, whose help is the documentation of the program's module.

    The first paragraph is the description; the rest follows the options as it is written.
    """
    description, _, rest = (documentation or "").partition("\n\n")
    formatter = argparse.RawDescriptionHelpFormatter
    return argparse.ArgumentParser(program, description=description, epilog=rest, formatter_class=formatter)
