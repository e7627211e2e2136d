"""Recorded traces in the format of the paper's authors: CSV files of a standard user's costs and of attacks."""

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from calpow.archiver.errors import TraceError

# Queries per unit of `diff queries`: the paper's traces count a step of 1,000 queries as 16.
QUERIES_PER_UNIT = 1000 / 16

BASELINE_COLUMNS = ("queries", "privacy")
TRACE_COLUMNS = ("mode", "time (sec)", "accuracy", "diff queries", "privacy cost")


@dataclass(frozen=True)
class BaselinePoint:
    """A number of queries of a standard user, and their summed cost."""

    queries: float
    cost: float


@dataclass(frozen=True)
class AttackStep:
    """One step of an attack: its queries, and the seconds, cost and accuracy (in per cent) after it."""

    queries: float
    cost: float
    seconds: float
    accuracy: float


@dataclass(frozen=True)
class _Row:
    where: str
    members: Mapping[str, str | None]

    def number(self, column: str) -> float:
        text = self.members[column]
        try:
            value = float(text or "")
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise TraceError(f"{self.where}: `{column}` must be a number, not {text!r}: correct that line")
        return value


def read_baseline(path: Path) -> tuple[BaselinePoint, ...]:
    """Read the columns BASELINE_COLUMNS, both cumulative. Raises TraceError unless they determine a line."""
    points = tuple(BaselinePoint(row.number("queries"), row.number("privacy")) for row in _rows(path, BASELINE_COLUMNS))
    if len({point.queries for point in points}) < 2:
        raise TraceError(f"{path}: a line needs at least two rows that differ in `queries`: record more of them")
    return points


def read_trace(path: Path) -> dict[str, tuple[AttackStep, ...]]:
    """Read the columns TRACE_COLUMNS: the steps of each attack (`mode`), in the file's order. Raises TraceError."""
    attacks: dict[str, list[AttackStep]] = {}
    for row in _rows(path, TRACE_COLUMNS):
        attacks.setdefault(row.members["mode"] or "", []).append(_step(row))
    return {name: tuple(steps) for name, steps in attacks.items()}


def _step(row: _Row) -> AttackStep:
    units = row.number("diff queries")
    if units < 0:
        raise TraceError(f"{row.where}: `diff queries` must not be less than 0: it counts the queries of one step")
    return AttackStep(
        queries=units * QUERIES_PER_UNIT,
        cost=row.number("privacy cost"),
        seconds=row.number("time (sec)"),
        accuracy=row.number("accuracy"),
    )


def _rows(path: Path, columns: Sequence[str]) -> Iterator[_Row]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            _check_columns(path, columns, reader.fieldnames or ())
            empty = True
            for members in reader:
                empty = False
                yield _Row(f"{path}, line {reader.line_num}", members)
    except OSError as problem:
        raise TraceError(f"{path} cannot be read ({problem.strerror}): give a CSV file") from problem
    except (UnicodeDecodeError, csv.Error) as problem:
        raise TraceError(f"{path} is not a CSV file ({problem}): give one in UTF-8") from problem
    if empty:
        raise TraceError(f"{path} has no rows below its header: record some")


def _check_columns(path: Path, columns: Sequence[str], header: Sequence[str]) -> None:
    if missing := [column for column in columns if column not in header]:
        raise TraceError(
            f"{path} has no column {', '.join(f'`{column}`' for column in missing)}: its header must name it"
        )
