"""The paper's attacks as Markdown tables, and as rows for a CSV file."""

from collections.abc import Iterator

from benchmarks.attacks.attack_figures import DomainTheft
from benchmarks.attacks.paper_attacks import paper_attacks
from benchmarks.range.trials.must_tables import figure
from benchmarks.range.trials.policies import EVIDENCE, PAPER, POLICIES

Row = tuple[str, int, str, int, float, float, float, float, float, int | None, float]
CSV_HEADER = (
    *("domain", "seed", "attack", "answers", "accuracy", "fidelity"),
    *("floors evidence", "floors paper", "privacy", "prada", "seconds here"),
)
SHARES = (0.7, 0.8, 0.9)
_COLUMNS = (
    *("attack", "queries", "answers", "copy right", "as the victim", "floors an answer", "under paper", "s"),
    *("privacy", "PRADA"),
)


def theft_tables(theft: DomainTheft, floor_seconds: float) -> Iterator[str]:
    """Yield the lines of the tables of a domain; `floor_seconds` is what a floor takes the reference client."""
    yield (
        f"### {theft.domain}, division {theft.seed}: the victim is right in {theft.victim:.1%}; the thief owns"
        f" {theft.owned:,} genuine inputs"
    )
    yield ""
    yield _line(*_COLUMNS)
    yield "|---" * len(_COLUMNS) + "|"
    for place, count in enumerate(theft.answers):
        evidence, paper = (theft.honest[name][place] for name in POLICIES)
        prices = figure(evidence), figure(paper), figure(evidence * count * floor_seconds)
        yield _line("honest user, 99th percentile", "genuine", f"{count:,}", "", "", *prices, "", "")
    for name, attack in paper_attacks(theft.domain).items():
        for copy in theft.of(name):
            quality = f"{copy.answers:,}", f"{copy.accuracy:.1%}", f"{copy.fidelity:.1%}"
            floors = *map(figure, copy.floors.values()), figure(copy.total(EVIDENCE) * floor_seconds)
            raised = "" if copy.prada is None else f"{copy.prada:,}"
            yield _line(attack.title, attack.data, *quality, *floors, figure(copy.privacy), raised)
    yield ""
    alarms = ", ".join(f"{name} {share:.0%}" for name, share in theft.raised.items() if share)
    yield f"*PRADA*: the number of queries after which it raises. At legitimate users: {alarms or 'at none'}."
    yield ""
    yield from _reached_table(theft)


def theft_rows(theft: DomainTheft) -> Iterator[Row]:
    """Yield the figures of every copy."""
    for copy in theft.copies:
        quality = copy.attack, copy.answers, copy.accuracy, copy.fidelity
        prices = copy.floors[EVIDENCE], copy.floors[PAPER]
        yield theft.domain, theft.seed, *quality, *prices, copy.privacy, copy.prada, copy.seconds


def _reached_table(theft: DomainTheft) -> Iterator[str]:
    """Yield the lines of the table of the floors after which a copy is as good as a share of the victim."""
    yield "Floors until a copy first is right in a share of the victim's accuracy, at the numbers of answers above:"
    yield ""
    columns = [f"{share:.0%}, {policy}" for policy in POLICIES for share in SHARES]
    yield _line("attack", *columns)
    yield "|---" * (1 + len(columns)) + "|"
    for name, attack in paper_attacks(theft.domain).items():
        if theft.of(name):
            paid = [theft.price_of(name, share, policy) for policy in POLICIES for share in SHARES]
            cells = ["not reached" if price is None else figure(price) for price in paid]
            yield _line(f"{attack.title}, {attack.data}", *cells)
    yield ""


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"
