"""A table or figure of the paper as it is made again: its findings, and the page that shows them."""

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.results.origin import Origin

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Findings:
    """Findings of one exhibit.

    text: paragraphs and tables in Markdown. header, rows: the same numbers for a CSV file. draw: draws the picture
    on an empty figure; None where there is none. absent: what is missing of it, a sentence each.
    """

    text: Sequence[str]
    header: Sequence[str]
    rows: Sequence[Sequence[object]]
    draw: "Callable[[Figure], None] | None" = None
    absent: Sequence[str] = ()


@dataclass(frozen=True)
class Setting:
    """Settings of a run.

    traces: folder of the paper's recorded attacks; None where they are not at hand. quick: fewer repetitions.
    attacks: folder of the CSV files of ours.
    """

    traces: Path | None
    quick: bool
    attacks: Path


class DataAbsent(Exception):
    """An exhibit's data are not on this machine."""


@dataclass(frozen=True)
class Exhibit:
    """A table or figure of the paper by its `name`, such as `table-2`, and the function that makes it.

    `run` raises DataAbsent where its data are missing.
    """

    name: str
    title: str
    run: Callable[[Setting], Findings]


def write(exhibit: Exhibit, findings: Findings, origin: Origin, folder: Path) -> None:
    """Write an exhibit's page, its CSV file and its picture below `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [f"# {exhibit.title}", "", *findings.text]
    if findings.draw is not None:
        _save_picture(findings.draw, folder / f"{exhibit.name}.png")
        lines += ["", f"![{exhibit.title}]({exhibit.name}.png)"]
    lines += ["", f"{origin.line} The numbers: [{exhibit.name}.csv]({exhibit.name}.csv).", ""]
    (folder / f"{exhibit.name}.md").write_text("\n".join(lines), "utf-8")
    (folder / f"{exhibit.name}.csv").write_text(_csv(findings), "utf-8")


def table(header: Sequence[str], rows: Sequence[Sequence[object]], texts: int = 1) -> list[str]:
    """Return the lines of a Markdown table, whose first `texts` columns are not numbers."""
    rule = ["---" if column < texts else "---:" for column in range(len(header))]
    return [f"| {' | '.join(map(str, row))} |" for row in (header, rule, *rows)]


def _csv(findings: Findings) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(findings.header)
    writer.writerows(findings.rows)
    return buffer.getvalue()


def _save_picture(draw: "Callable[[Figure], None]", path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure = pyplot.figure(layout="constrained")
    draw(figure)
    # Without the version of matplotlib, so that the same numbers make the same file.
    figure.savefig(path, dpi=110, metadata={"Software": None})
    pyplot.close(figure)
