"""The charts of docs/evidence.md, drawn from the tables of docs/attacks.md and docs/measured.md.

python -m benchmarks.pictures.evidence_charts        writes docs/pictures/attacks.png and users.png; seconds

Each picture holds the numbers that it shows, so that a test can tell when the tables have changed since.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.pictures.markdown_tables import number, sections, tables
from benchmarks.results.origin import ROOT

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DOCS = ROOT / "docs"
PICTURES = DOCS / "pictures"
# Key of a picture's numbers among its texts.
SHOWN = "Description"
ATTACKS, USERS = "attacks.png", "users.png"
OURS, PAPER = "floors an answer", "under paper"
# Beginning of the name of the row that is no attack.
HONEST = "honest"
PANELS_A_ROW = 2
# Rows of the table of users and thieves, and what the chart calls them.
USER_ROWS = {
    "honest, every class mix": "honest user, dearest of all mixes",
    "new accounts of five queries": "thief, new accounts of five queries",
    "a theft, honest fillers": "thief among honest queries, for a stolen answer",
    "strangers, pure": "thief alone",
}
GREEN, RED, ORANGE, PURPLE, GREY = "#1b7f5c", "#c1272d", "#e07b00", "#8e44ad", "#4b4b4b"
MARKERS = ((GREEN, "o"), (PURPLE, "s"), (ORANGE, "^"), (RED, "D"))
AXIS = "floors (least puzzles) an answer"

# Floors by column, by row, by chart: everything that a picture shows.
Floors = Mapping[str, Mapping[str, float]]


def attack_floors(page: str) -> Mapping[str, Floors]:
    """Return what each attack pays at its largest number of answers under both policies, by domain and attack."""
    found: dict[str, Floors] = {}
    for domain, text in sections(page).items():
        for rows in tables(text):
            if rows and {OURS, PAPER} <= rows[0].keys():
                # Rows are in the order of their answers.
                found[domain] = {row["attack"]: {name: number(row[name]) for name in (OURS, PAPER)} for row in rows}
    # A section holds those below it: the innermost is a domain.
    return {domain: floors for domain, floors in found.items() if "attack" not in domain}


def user_floors(page: str) -> Floors:
    """Return what users and thieves pay, by kind of data and row of the chart."""
    text = sections(page)["users-and-thieves-on-data-of-several-kinds"]
    (rows,) = [rows for rows in tables(text) if any(row.get("") in USER_ROWS for row in rows)]
    cells = {row[""]: row for row in rows}
    kinds = [name for name in rows[0] if name]
    return {kind: {label: number(cells[row][kind]) for row, label in USER_ROWS.items()} for kind in kinds}


def main() -> None:
    """Draw both charts."""
    PICTURES.mkdir(exist_ok=True)
    floors = attack_floors((DOCS / "attacks.md").read_text("utf-8"))
    save(PICTURES / ATTACKS, floors, lambda figure: draw_attacks(figure, floors))
    users = user_floors((DOCS / "measured.md").read_text("utf-8"))
    save(PICTURES / USERS, users, lambda figure: draw_users(figure, users))


def save(path: Path, shown: object, draw: "Callable[[Figure], None]") -> None:
    """Save a chart as PNG, with the numbers that it shows."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure = pyplot.figure(layout="constrained")
    draw(figure)
    figure.savefig(path, dpi=110, metadata={"Software": None, SHOWN: json.dumps(shown)})
    pyplot.close(figure)
    print(f"{path}: {path.stat().st_size:,} bytes")


def draw_attacks(figure: "Figure", floors: Mapping[str, Floors]) -> None:
    """Draw a line for each attack, from its price under the paper's policy to that under ours; a panel a domain."""
    names = dearest_last(floors)
    columns = min(len(floors), PANELS_A_ROW)
    rows = -(-len(floors) // columns)
    figure.set_size_inches(4.6 + 3.8 * columns, 0.9 + rows * (0.6 + 0.25 * len(names)))
    panels = list(figure.subplots(rows, columns, sharey=True, squeeze=False).flat)
    for axes, (domain, attacks) in zip(panels, floors.items(), strict=False):
        for place, name in enumerate(names):
            if name in attacks:
                ours, paper = attacks[name][OURS], attacks[name][PAPER]
                axes.plot([paper, ours], [place, place], color=GREY, alpha=0.3, linewidth=2, zorder=1)
                colour = GREEN if name.startswith(HONEST) else RED
                axes.scatter(ours, place, color=colour, s=50, zorder=3)
                axes.scatter(paper, place, facecolor="white", edgecolor=GREY, s=40, zorder=2)
        axes.set_yticks(range(len(names)), [name.partition(",")[0] for name in names])
        _log_axis(axes, domain)
    for axes in panels[len(floors) :]:
        axes.axis("off")
    panels[0].invert_yaxis()
    marks = [panels[0].scatter([], [], color=RED, s=50), panels[0].scatter([], [], color=GREEN, s=50)]
    marks.append(panels[0].scatter([], [], facecolor="white", edgecolor=GREY, s=40))
    names_of_marks = ["thief", "honest user", "under the paper's policy"]
    figure.legend(marks, names_of_marks, loc="outside upper right", ncols=3, frameon=False)


def dearest_last(floors: Mapping[str, Floors]) -> list[str]:
    """Return the honest user and all attacks, in the order of what they pay under our policy."""
    names = dict.fromkeys(attack for attacks in floors.values() for attack in attacks)
    return sorted(names, key=lambda name: (not name.startswith(HONEST), _mean(floors, name)))


def _mean(floors: Mapping[str, Floors], attack: str) -> float:
    paid = [attacks[attack][OURS] for attacks in floors.values() if attack in attacks]
    return sum(paid) / len(paid)


def draw_users(figure: "Figure", users: Floors) -> None:
    """Draw what users and thieves pay, a line for each kind of data."""
    figure.set_size_inches(9.4, 1.9 + 0.4 * len(users))
    axes = figure.subplots()
    for place, floors in enumerate(users.values()):
        values = list(floors.values())
        axes.plot([min(values), max(values)], [place, place], color=GREY, alpha=0.3, linewidth=2, zorder=1)
        for (label, value), (colour, marker) in zip(floors.items(), MARKERS, strict=True):
            axes.scatter(value, place, color=colour, marker=marker, s=60, zorder=3, label=label if place == 0 else None)
    axes.set_yticks(range(len(users)), list(users))
    axes.invert_yaxis()
    _log_axis(axes, "")
    figure.legend(loc="outside upper left", ncols=2, frameon=False)


def _log_axis(axes: "Axes", title: str) -> None:
    axes.set(xscale="log", xlim=(0.8, 4_000), xlabel=AXIS)
    axes.set_xticks([1, 10, 100, 1_000], ["1", "10", "100", "1,000"])
    axes.set_title(title, loc="left")
    axes.grid(axis="x", alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    main()
