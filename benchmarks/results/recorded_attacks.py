"""The paper's attacks on MNIST and SVHN as its authors recorded them, under the paper's rule."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.results.exhibit import DataAbsent, Exhibit, Findings, Setting, table
from calpow.archiver.replay.paper_rule import ReplayedStep, fit_rule, replay
from calpow.archiver.replay.traces import read_baseline, read_trace

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DATASETS = ("mnist", "svhn")
# The paper's a, and its least and longest puzzle in seconds.
RULE = (1.0075, 0.1, 2948.467908)
# Rows of the paper's Table 2 whose traces were recorded: attack, its trace, queries, seconds with proof of work.
# MixMatch sends what Standard sends, and KnockoffRandom what CopyCat sends.
TABLE_2: Mapping[str, Sequence[tuple[str, str, int, float]]] = {
    "mnist": (
        ("MixMatch", "standard", 8_000, 67.1),
        ("Standard", "standard", 10_000, 83.9),
        ("KnockoffRandom", "copycat", 10_000, 21_283),
        ("KnockoffAdaptive", "adaptiveknockoff", 10_000, 21_235),
        ("CopyCat", "copycat", 10_000, 21_283),
        ("Jacobian", "jacobian", 10_000, 91.1),
        ("DataFree", "data free", 2_000_000, 276_904),
    ),
    "svhn": (
        ("MixMatch", "standard", 8_000, 286.3),
        ("Standard", "standard", 24_000, 859.4),
        ("KnockoffRandom", "copycat", 24_000, 33_413),
        ("KnockoffAdaptive", "adaptiveknockoff", 24_000, 33_372),
        ("CopyCat", "copycat", 24_000, 33_413),
        ("Jacobian", "jacobian", 24_000, 6_424),
        ("DataFree", "data free", 2_000_000, 330_769),
    ),
}

Replays = Mapping[str, Sequence[ReplayedStep]]


def replays(setting: Setting, dataset: str) -> Replays:
    """Return all recorded attacks of a dataset under the paper's rule. Raises DataAbsent without the traces."""
    rule = fit_rule(read_baseline(_file(setting, f"legitimate_{dataset}.csv")), *RULE)
    attacks = read_trace(_file(setting, f"attacks_{dataset}.csv"))
    return {name: replay(rule, steps) for name, steps in attacks.items()}


def _file(setting: Setting, name: str) -> Path:
    if setting.traces is None:
        raise DataAbsent("the paper's recorded attacks: give their folder as --traces or CALPOW_TRACES")
    path = setting.traces / name
    if not path.is_file():
        raise DataAbsent(f"{path} does not exist")
    return path


def table_2(setting: Setting) -> Findings:
    """Replay the recorded attacks of Table 2, beside the paper's figures."""
    rows: list[tuple[object, ...]] = []
    for dataset in DATASETS:
        attacks = replays(setting, dataset)
        for name, attack, queries, paper in TABLE_2[dataset]:
            last = [step for step in attacks[attack] if step.queries <= queries][-1]
            difference = 100 * (last.after / paper - 1)
            rows.append((dataset, name, queries, last.cost, last.before, last.after, paper, difference))
    shown = [
        (data, name, f"{n:,}", f"{cost:,.0f}", f"{before:,.1f}", f"{after:,.1f}", f"{paper:,.1f}", f"{apart:+.1f} %")
        for data, name, n, cost, before, after, paper, apart in rows
    ]
    header = ("dataset", "attack", "queries", "PATE", "seconds", "with PoW", "the paper's", "apart")
    text = [
        "Seconds of the paper's attacks before and after proof of work, replayed from the authors' traces with a puzzle"
        f" of {RULE[0]}^x seconds a step ({RULE[1]} to {RULE[2]:,.0f}), x the distance from a standard user's line."
        " There are no traces of CIFAR-10.",
        "",
        *table(header, shown, texts=2),
        "",
        "The paper reports that EntropyRev and WorstCase take what Standard takes; in the traces, they do not"
        " ([0024](../decisions/0024-table-2-of-the-paper.md)).",
    ]
    return Findings(text, ("dataset", "attack", "queries", "pate", "before", "after", "paper", "percent_apart"), rows)


def figure_3(setting: Setting) -> Findings:
    """Draw the privacy cost against the number of queries, as recorded."""
    text = (
        "The summed privacy cost (PATE) of the recorded attacks against the number of their queries. Queries of other"
        " data (CopyCat, KnockoffAdaptive) cost twice as much as a standard user's. DataFree, whose smallest step has"
        " 20,000 queries, is left out."
    )
    return _drawn(setting, text, partial(_draw_steps, x="queries", y="cost"), left_out=("data free",))


def figure_4(setting: Setting) -> Findings:
    """Draw the accuracy of the stolen copy against the privacy cost, as recorded."""
    text = (
        "The accuracy of the stolen copy against the privacy cost of its queries: no attacker has a better bargain than"
        " a user with data of the same kind."
    )
    return _drawn(setting, text, partial(_draw_steps, x="cost", y="accuracy"), left_out=("data free",))


def figure_8(setting: Setting) -> Findings:
    """Draw the accuracy of the stolen copy against the time, without and with proof of work."""
    text = (
        "The accuracy of the stolen copy against the seconds until then, without proof of work (thin) and with it"
        " (thick). A standard user's line hardly moves; those of other data move right by one to three powers of ten."
    )
    return _drawn(setting, text, _draw_times)


Draw = Callable[["Axes", Replays], None]


def _drawn(setting: Setting, text: str, draw: Draw, left_out: Sequence[str] = ()) -> Findings:
    """Return the findings of a figure with an axis for each dataset."""
    # By name, so that an attack has the same colour on every axis.
    recorded = {
        dataset: {name: steps for name, steps in sorted(replays(setting, dataset).items()) if name not in left_out}
        for dataset in DATASETS
    }

    def picture(figure: "Figure") -> None:
        figure.set_size_inches(11, 4.5)
        for axes, dataset in zip(figure.subplots(1, len(DATASETS)), DATASETS, strict=True):
            draw(axes, recorded[dataset])
            axes.set_title(dataset.upper(), loc="left")
            axes.grid(alpha=0.25)
        axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))

    rows = [
        (dataset, name, *_numbers(step))
        for dataset, attacks in recorded.items()
        for name, steps in attacks.items()
        for step in steps
    ]
    header = ("dataset", "attack", "queries", "pate", "accuracy", "seconds", "seconds_with_pow")
    last = [
        (dataset, name, *(f"{number:,.0f}" for number in _numbers(steps[-1])))
        for dataset, attacks in recorded.items()
        for name, steps in attacks.items()
    ]
    shown = table(("dataset", "attack", "queries", "PATE", "accuracy (%)", "seconds", "with PoW"), last, texts=2)
    return Findings([text, "", "At the end of each:", "", *shown], header, rows, picture)


def _numbers(step: ReplayedStep) -> tuple[float, ...]:
    return step.queries, step.cost, step.accuracy, step.before, step.after


def _draw_steps(axes: "Axes", attacks: Replays, *, x: str, y: str) -> None:
    for name, steps in attacks.items():
        axes.plot([getattr(step, x) for step in steps], [getattr(step, y) for step in steps], label=name)
    axes.set(xlabel=_LABELS[x], ylabel=_LABELS[y])


def _draw_times(axes: "Axes", attacks: Replays) -> None:
    for name, steps in attacks.items():
        accuracy = [step.accuracy for step in steps]
        (line,) = axes.plot([step.before for step in steps], accuracy, linewidth=0.8)
        axes.plot([step.after for step in steps], accuracy, linewidth=2, color=line.get_color(), label=name)
    axes.set(xscale="log", xlabel="seconds", ylabel=_LABELS["accuracy"])


_LABELS = {"queries": "queries", "cost": "privacy cost (PATE)", "accuracy": "accuracy of the copy (%)"}

EXHIBITS = (
    Exhibit("table-2", "Table 2: attacks against proof of work", table_2),
    Exhibit("figure-3", "Figure 3: privacy cost against queries", figure_3),
    Exhibit("figure-4", "Figure 4: accuracy against privacy cost", figure_4),
    Exhibit("figure-8", "Figure 8: accuracy against time, with and without proof of work", figure_8),
)
