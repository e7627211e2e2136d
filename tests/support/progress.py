"""Functions for a test to give as `progress`."""

from calpow.puzzle.solving.solver import Progress


def no_work(progress: Progress) -> None:
    """Fail if anything is solved."""
    raise AssertionError("something was solved")


class PuzzleCount:
    """Counts the puzzles that were begun."""

    def __init__(self) -> None:
        self.begun = 0

    def __call__(self, progress: Progress) -> None:
        self.begun += progress.found == 0
