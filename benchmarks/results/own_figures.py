"""The paper's figures of attacks, made of ours: accuracy and costs by number of queries, and by time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.attacks.thefts.attack_kinds import ATTACK_KINDS
from benchmarks.range.trials.must_tables import figure as shown
from benchmarks.results.attack_points import HEADER, AttackPoint, MeasuredAttacks, measured_attacks
from benchmarks.results.exhibit import DataAbsent, Exhibit, Findings, Setting, table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Copies are shown on a logarithmic axis where its largest number is more than so many times its least.
WIDE = 10.0
LABELS = {
    "answers": "queries answered",
    "accuracy": "accuracy of the copy (%)",
    "privacy": "privacy cost (PATE)",
    "gap": "gap",
    "entropy": "entropy",
    "seconds": "seconds",
}
Panel = tuple[str, str]
ACCURACY: Panel = ("answers", "accuracy")
BARGAIN: Panel = ("privacy", "accuracy")
TIME: Panel = ("seconds", "accuracy")
PRIVACY: Panel = ("answers", "privacy")
COSTS: tuple[Panel, ...] = (("answers", "entropy"), ("answers", "gap"), PRIVACY)
_COLUMNS = (
    *("domain", "attack", "queries", "answers", "accuracy (%)", "privacy", "of Standard's an answer"),
    *("floors an answer", "under paper"),
)


@dataclass(frozen=True)
class AttackFigure:
    """A figure of the paper as it is made of our attacks.

    panels: what is drawn against what, of every domain. reading: what the paper reads off its own. here: what ours
    show, and why they differ where they do.
    """

    name: str
    title: str
    attacks: Sequence[str]
    panels: Sequence[Panel]
    reading: str
    here: str
    domains: Sequence[str] = ("digits", "mnist", "cifar10")

    @property
    def exhibit(self) -> Exhibit:
        """The figure among all exhibits."""
        return Exhibit(self.name, self.title, self.findings)

    def findings(self, setting: Setting) -> Findings:
        """Draw what was measured. Raises DataAbsent where nothing was."""
        domains = [measured_attacks(setting.attacks, name) for name in self.domains]
        there = [domain for domain in domains if domain.thefts]
        absent = [no_attacks(domain.domain) for domain in domains if not domain.thefts]
        if not there:
            raise DataAbsent(" ".join(absent))
        if any(panel in self.panels for panel in COSTS[:2]):
            absent += [no_costs(domain.domain) for domain in there if not domain.costs]
        rows = [point.cells() for domain in there for name in self.attacks for point in self._points(domain, name)]
        text = [f"The paper: {self.reading}", "", f"Here: {self.here}", ""]
        text += [f"{line}\n" for line in absent]
        ends = [row for domain in there for row in self._ends(domain)]
        text += ["At the largest number of answers, means over the divisions:", "", *table(_COLUMNS, ends, texts=3)]
        return Findings(text, HEADER, rows, lambda canvas: self._draw(canvas, there), absent)

    def _points(self, domain: MeasuredAttacks, attack: str) -> list[AttackPoint]:
        along = domain.along(attack) if domain.costs and any(panel in self.panels for panel in COSTS) else []
        return domain.copies(attack) + along

    def _ends(self, domain: MeasuredAttacks) -> Iterator[tuple[str, ...]]:
        """Yield the rows of the attacks' last copies; privacy an answer is compared with Standard's on the mean."""
        usual = [point.numbers["privacy"] / point.answers for point in domain.copies("standard")[-1:]]
        for name in self.attacks:
            for point in domain.copies(name)[-1:]:
                kind, numbers = ATTACK_KINDS[name], point.numbers
                ratio = f"{numbers['privacy'] / point.answers / usual[0]:.2f}" if usual else ""
                floors = shown(numbers["floors_evidence"]), shown(numbers["floors_paper"])
                accuracy, privacy = f"{numbers['accuracy']:.1f}", f"{numbers['privacy']:,.0f}"
                yield domain.domain, kind.title, kind.data, f"{point.answers:,}", accuracy, privacy, ratio, *floors

    def _draw(self, canvas: "Figure", domains: Sequence[MeasuredAttacks]) -> None:
        canvas.set_size_inches(3.6 * len(domains) + 1.8, 2.8 * len(self.panels))
        grid = canvas.subplots(len(self.panels), len(domains), squeeze=False)
        for row, panel in zip(grid, self.panels, strict=True):
            for axes, domain in zip(row, domains, strict=True):
                self._draw_panel(axes, domain, panel)
        for axes, domain in zip(grid[0], domains, strict=True):
            axes.set_title(domain.domain, loc="left")
        grid[0][-1].legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1), fontsize="small")

    def _draw_panel(self, axes: "Axes", domain: MeasuredAttacks, panel: Panel) -> None:
        x, y = panel
        for number, name in enumerate(self.attacks):
            colour = f"C{number}"
            if panel in COSTS:
                _draw_line(axes, domain.along(name), x, y, color=colour, label=ATTACK_KINDS[name].row)
            elif panel == TIME:
                points = domain.copies(name)
                _draw_line(axes, points, x, y, color=colour, linewidth=0.8)
                _draw_line(axes, points, "seconds_paper", y, color=colour, linestyle="--")
                _draw_line(axes, points, "seconds_evidence", y, color=colour, linewidth=2, label=ATTACK_KINDS[name].row)
            else:
                points = domain.copies(name)
                _draw_line(axes, points, x, y, color=colour, marker=".", label=ATTACK_KINDS[name].row)
                _draw_spread(axes, points, x, colour)
        axes.set(xlabel=LABELS[x], ylabel=LABELS[y])
        if not axes.has_data():
            axes.set(xticks=[], yticks=[])
            axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", color="grey")
            return
        # Thieves with genuine data send hundreds of queries, beside those who send ten thousand.
        wide = panel not in COSTS and axes.dataLim.x1 > WIDE * axes.dataLim.x0
        if panel == TIME or wide:
            axes.set(xscale="log")
        axes.grid(alpha=0.25)


def no_attacks(domain: str) -> str:
    """Return the sentence on a domain without attacks."""
    command = f"python -m benchmarks.attacks --domain {domain} --output docs/results/attacks"
    return f"No attacks on {domain} are measured yet: `{command}`."


def no_costs(domain: str) -> str:
    """Return the sentence on a domain whose queries were not priced by gap and entropy."""
    command = f"python -m benchmarks.attacks --domain {domain} --costs --output docs/results/attacks"
    return f"Gap and entropy are not measured of {domain} yet: `{command}`."


def _draw_line(axes: "Axes", points: Sequence[AttackPoint], x: str, y: str, **style: object) -> None:
    known = [point.numbers for point in points if x in point.numbers and y in point.numbers]
    if known:
        axes.plot([numbers[x] for numbers in known], [numbers[y] for numbers in known], **style)  # type: ignore[arg-type]


def _draw_spread(axes: "Axes", points: Sequence[AttackPoint], x: str, colour: str) -> None:
    """Draw the least and the largest accuracy over several divisions."""
    for point in points:
        if point.divisions > 1:
            numbers = point.numbers
            axes.vlines(numbers[x], numbers["least"], numbers["most"], color=colour, linewidth=0.8)
