"""The page of docs/results about growth: a table of exponents, the picture, and the CSV file's rows."""

import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING

from benchmarks.growth.curve import Curve
from benchmarks.growth.series import ACCOUNTS, BATCH, CLASS_COUNT, EXPIRED, PAYLOAD, QUERIES, SPENT, TEACHERS
from benchmarks.growth.served_payloads import PARTS, PNG, PROTECTED, SERVED_PAYLOAD, TEXT, UNPROTECTED
from benchmarks.results.exhibit import Findings, table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# An answer should take no longer for these: the ratio of medians that is still the same.
SAME_FOR = (ACCOUNTS, QUERIES, EXPIRED, SPENT, CLASS_COUNT)
MOST_RATIO = 1.2
PANELS = (ACCOUNTS, QUERIES, EXPIRED, CLASS_COUNT, TEACHERS, BATCH, PAYLOAD, SERVED_PAYLOAD)
COLUMNS, ROWS = 4, 2
# Of a label, as a share of a panel's height.
LABEL_HEIGHT = 0.07
COLOURS = {
    "gate": "#1f77b4",
    "gate, parsed JSON": "#17becf",
    "scores": "#d95f02",
    "victim's pass": "#888888",
    **dict(zip(PARTS, ("#74c476", "#1b7f5c", "#c994c7", "#8e44ad"), strict=True)),
}
CSV_HEADER = ("grows", "part", "size", "answers", "median_us", "tenth_us", "ninetieth_us")
HEADER = ("grows", "part", "from", "to", "us", "us at the end", "ratio", "exponent", "of its parts", "of what is added")


def misses(curve: Curve) -> bool:
    """Return whether an answer takes longer at the largest size, though it should not."""
    return curve.grows in SAME_FOR and curve.part != "victim's pass" and curve.ratio > MOST_RATIO


def findings(curves: Sequence[Curve]) -> Findings:
    """Return what the page shows."""
    text = [
        "The time of a prepaid answer with two stamps: *gate* is reading the request and all of the gate's decision,"
        " the ledger in SQLite included, without the victim's pass and its pricing; *scores* are the eleven scores of"
        " an image, and *victim's pass* is that of MnistNet beside them. Medians in microseconds of the thread's own"
        " time, waits for a core or the disk left out. The sizes of a curve take turns of two calls, of which the"
        " second counts: other load on the machine affects all of them alike, and caches are as warm for each.",
        "",
        "Most of an answer is a fixed cost, which hides how the rest grows in a line through all sizes. *Exponent* is"
        " therefore the slope of the last decade alone, of the logarithms of time and size: 0 where time stays, 1 where"
        " it grows as the size does. Beside it are the lowest and the highest of four consecutive parts of the"
        " measurements. *Of what is added* is the same slope after the time of the smallest size has been taken off,"
        " where the largest takes at least half as long again: the exponent that still larger sizes would show. Bold:"
        f" more than {MOST_RATIO} times as long at the end, where an answer should take the same time.",
        "",
        *table(HEADER, [_cells(curve) for curve in curves], texts=2),
        "",
        "An account of a thousand queries and one of a million hold the same, their last 1,024 samples. A batch is"
        " shown as a whole: at 64 requests, the time of each is a 64th. *Parsed JSON* is a payload that TorchServe's"
        " frontend has parsed. For more than 100 classes there are fewer teachers by default.",
        *_over_http(curves),
    ]
    return Findings(text, CSV_HEADER, _rows(curves), lambda figure: draw(figure, curves))


def redis_findings(curves: Sequence[Curve]) -> Findings:
    """Return what the page on Redis shows."""
    text = [
        "The time of a prepaid answer with two stamps of a gate on a ledger in Redis, without the victim's pass and its"
        " pricing: medians in microseconds of the clock on the wall, with the share of the server, which runs on this"
        " machine, and with waits for a core. The sizes of a row take turns of two calls, of which the second counts.",
        "",
        "Spent ids are those of prepaid stamps, 31 of one solution, with its outcome. Redis remembers them all in the"
        " first row about them. In *gate, Redis expiring* all of them expire at one moment, and answers are timed from"
        " then on, until Redis has forgotten them some four minutes later. Bold: more than"
        f" {MOST_RATIO} times as long at the end. The exponents are explained in [growth.md](growth.md).",
        "",
        *table(HEADER, [_cells(curve) for curve in curves], texts=2),
    ]
    return Findings(text, CSV_HEADER, _rows(curves))


def _rows(curves: Sequence[Curve]) -> list[Sequence[object]]:
    return [
        (curve.grows, curve.part, size, len(column), *(f"{1e6 * value:.1f}" for value in _quantiles(column)))
        for curve in curves
        for size, column in zip(curve.sizes, curve.seconds, strict=True)
    ]


def _cells(curve: Curve) -> tuple[str, ...]:
    medians, parts = curve.medians, curve.exponents_of_parts
    added = curve.exponent_of_added
    return (
        curve.grows,
        curve.part,
        f"{curve.sizes[0]:,}",
        f"{curve.sizes[-1]:,}",
        f"{1e6 * medians[0]:,.0f}",
        f"{1e6 * medians[-1]:,.0f}",
        f"**{curve.ratio:.2f}**" if misses(curve) else f"{curve.ratio:.2f}",
        _shown(curve.exponent),
        f"{_shown(min(parts))} to {_shown(max(parts))}",
        "" if added is None else _shown(added),
    )


def _over_http(curves: Sequence[Curve]) -> list[str]:
    """Return a table of answers over HTTP, by the size of the payload; nothing where they were not measured."""
    served = {curve.part: curve for curve in curves if curve.grows == SERVED_PAYLOAD}
    if not served:
        return []
    columns: list[Sequence[str]] = [[f"{size:,}" for size in served[PARTS[0]].sizes]]
    for kind in (TEXT, PNG):
        plain, paid = (served[f"{kind}, {twin}"] for twin in (UNPROTECTED, PROTECTED))
        columns += [[f"{1e3 * median:.1f}" for median in curve.medians] for curve in (plain, paid)]
        columns.append([_ratio(*pair) for pair in zip(plain.seconds, paid.seconds, strict=True)])
    header = ("bytes", *(f"{kind}, {name}" for kind in (TEXT, PNG) for name in ("ms", "protected", "ratio")))
    return [
        "",
        "*By HTTP*: the same payload to a protected model on TorchServe, paid beforehand over one connection, and to"
        " the model without protection. Texts go to a model of four numbers, which reads the numbers before them;"
        " pictures of noise go to TorchServe's own `image_classifier`, which decodes and scales them. Milliseconds of a"
        " core, of frontend and worker together; all take turns. The ratio is the median of those of each round, with"
        " its quartiles.",
        "",
        *table(header, list(zip(*columns, strict=True)), texts=0),
    ]


def _ratio(plain: Sequence[float], paid: Sequence[float]) -> str:
    low, middle, high = statistics.quantiles([more / less for less, more in zip(plain, paid, strict=True)], n=4)
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def _quantiles(column: Sequence[float]) -> tuple[float, float, float]:
    """Return the median, the first and the last decile."""
    deciles = statistics.quantiles(column, n=10)
    return statistics.median(column), deciles[0], deciles[-1]


def draw(figure: "Figure", curves: Sequence[Curve]) -> None:
    """Draw a panel for each quantity that grows, all on the same scale of time."""
    figure.set_size_inches(13, 6.9)
    panels = [axes for row in figure.subplots(ROWS, COLUMNS, sharey=True) for axes in row]
    shown = {grows: [curve for curve in curves if curve.grows == grows] for grows in PANELS}
    for axes, (grows, of_panel) in zip(panels, shown.items(), strict=True):
        _draw_panel(axes, of_panel)
        axes.set_title(grows, loc="left", fontsize=11)
    # Labels keep off one another on the scale that all panels have now.
    for axes, of_panel in zip(panels, shown.values(), strict=True):
        _label(axes, of_panel)
    for axes in panels[::COLUMNS]:
        axes.set_ylabel("microseconds")
    lines = {line.get_label(): line for axes in panels for line in axes.get_lines() if line.get_gid() == "median"}
    notes = "line: median; area: first to last decile; number: exponent of the last decade"
    figure.legend(
        lines.values(), lines.keys(), frameon=False, loc="outside lower center", ncols=COLUMNS, fontsize=11, title=notes
    )


def _draw_panel(axes: "Axes", curves: Sequence[Curve]) -> None:
    for curve in curves:
        quantiles = [_quantiles(column) for column in curve.seconds]
        median, low, high = ([1e6 * value for value in values] for values in zip(*quantiles, strict=True))
        colour = COLOURS[curve.part]
        axes.fill_between(curve.sizes, low, high, color=colour, alpha=0.15, linewidth=0)
        axes.plot(curve.sizes, median, "o-", color=colour, markersize=3.5, label=curve.part, gid="median")
    axes.set(xscale="log", yscale="log")
    axes.margins(x=0.2)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def _label(axes: "Axes", curves: Sequence[Curve]) -> None:
    """Write each curve's exponent at its end, above one another where ends are close."""
    bottom, top = axes.get_ylim()
    height = (top / bottom) ** LABEL_HEIGHT
    lowest = 0.0
    for curve in sorted(curves, key=lambda curve: curve.medians[-1]):
        place = max(1e6 * curve.medians[-1], lowest)
        lowest = height * place
        axes.annotate(
            _shown(curve.exponent),
            (curve.sizes[-1], place),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            color=COLOURS[curve.part],
            fontsize=10,
            fontweight="bold",
        )


def _shown(exponent: float) -> str:
    # Without a minus before zero.
    return f"{round(exponent, 2) + 0:.2f}"
