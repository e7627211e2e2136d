"""Picture of a demo: cumulative work against queries, one line a user."""

from collections.abc import Sequence
from pathlib import Path

from benchmarks.demo.users import UserHistory

HONEST = "#1b7f5c"
THIEVES = ("#c1272d", "#e07b00", "#8e44ad", "#4b4b4b")


def draw(records: Sequence[UserHistory], path: Path) -> None:
    """Save the picture as a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(11, 5.5), layout="constrained")
    thieves = iter(THIEVES * len(records))
    styles = iter(("-", "--", ":") * len(records))
    for record in records:
        work = record.cumulative_hashes()
        colour, style = (HONEST, next(styles)) if record.honest else (next(thieves), "-")
        name = f"{record.name}: {record.multiple:,.1f}x the time"
        axes.plot(range(1, len(work) + 1), work, color=colour, linestyle=style, linewidth=2, label=name)
        axes.plot(len(work), work[-1], "o", color=colour)
    axes.set(xscale="log", yscale="log", xlabel="queries answered", ylabel="cumulative work (hashes)")
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    axes.set_title("What answers cost: honest users in green, thieves in other colours", loc="left")
    axes.grid(True, which="major", alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130)
    pyplot.close(figure)
