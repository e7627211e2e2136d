"""Make the pages of the attacks of the CSV files in docs/results/attacks: one a domain, and docs/attacks.md's tables.

python -m benchmarks.attacks.thefts.attack_pages       seconds; steals nothing

`python -m benchmarks.attacks --output docs/results/attacks` writes the CSV files. Exits with 1 when a domain has none.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from textwrap import fill

from benchmarks.attacks.thefts.attack_kinds import ATTACK_KINDS, GENUINE
from benchmarks.attacks.thefts.attack_tables import (
    FLOOR_SECONDS,
    NOT_REACHED,
    percent,
    raised,
    spread,
    theft_tables,
    titled,
)
from benchmarks.attacks.thefts.solved_work import SolvedWork, read_solved, solved_sentence, solved_table
from benchmarks.attacks.thefts.stolen_copies import DomainTheft
from benchmarks.attacks.thefts.theft_files import HONEST_TITLE, read_thefts
from benchmarks.command_line import command_parser
from benchmarks.range.trials.must_tables import figure
from benchmarks.range.trials.policies import EVIDENCE, POLICIES
from benchmarks.results.exhibit import table

ROOT = Path(__file__).resolve().parents[3]
FILES = ROOT / "docs" / "results" / "attacks"
PAGE = ROOT / "docs" / "attacks.md"
DOMAINS = ("digits", "mnist", "fashion", "cifar10")
# Share of the victim's accuracy that the short tables show the price of.
SHARE = 0.9
INCOMPLETE = 1
# Characters of a line of text.
WIDTH = 120
_COLUMNS = (
    *("attack", "queries", "answers", "copy right", "floors an answer", "under paper", "s", "PRADA"),
    *(f"floors to {SHARE:.0%}", "honest user"),
)


def main() -> int:
    """Write the pages of all domains."""
    command_parser("benchmarks.attacks.thefts.attack_pages", __doc__).parse_args()
    thefts = {domain: read_thefts(FILES, domain) for domain in DOMAINS}
    for domain, divisions in thefts.items():
        if divisions:
            (FILES / f"{domain}.md").write_text(domain_page(divisions, read_solved(FILES, domain)), "utf-8")
        else:
            print(f"{domain}: no figures in {FILES}", file=sys.stderr)
    PAGE.write_text(with_tables(PAGE.read_text("utf-8"), thefts), "utf-8")
    return 0 if all(thefts.values()) else INCOMPLETE


def domain_page(thefts: Sequence[DomainTheft], solved: Mapping[int, Sequence[SolvedWork]]) -> str:
    """Return the page of a domain: all of its copies, the puzzles that were solved, and where all that comes from."""
    domain = thefts[0].domain
    lines = [f"# The paper's attacks on {domain}", "", *theft_tables(thefts, FLOOR_SECONDS)]
    for seed, works in solved.items():
        lines += solved_table(domain, seed, works)
    return "\n".join([*lines, _origin(thefts, "", "")])


def with_tables(page: str, thefts: Mapping[str, Sequence[DomainTheft]]) -> str:
    """Return docs/attacks.md with the tables of these domains in their sections, between two marks.

    Raises ValueError where a section is missing.
    """
    for domain, divisions in thefts.items():
        begin, end = f"<!-- tables of {domain} -->\n", f"<!-- end of {domain} -->"
        before, begun, rest = page.partition(begin)
        _, ended, after = rest.partition(end)
        if not (begun and ended):
            raise ValueError(f"the page has no section of {domain}")
        text = "\n".join(_short_tables(divisions)) if divisions else "No figures yet.\n"
        page = "".join([before, begin, text, end, after])
    return page


def _short_tables(thefts: Sequence[DomainTheft]) -> Iterator[str]:
    """Yield the lines of a table of every attack at its largest number of answers, the means over the divisions."""
    first = thefts[0]
    seeds = ", ".join(str(theft.seed) for theft in thefts)
    yield (
        f"The victim is right in {spread([theft.victim for theft in thefts], percent)}; the thief owns"
        f" {first.owned:,} genuine inputs. Division{'s' * (len(thefts) > 1)} {seeds}."
    )
    yield ""
    yield from table(_COLUMNS, [_honest_row(thefts), *_short_rows(thefts)], texts=2)
    yield ""
    for works in read_solved(FILES, first.domain).values():
        yield f"{_filled(solved_sentence(works))}\n"
    yield _origin(thefts, "results/attacks/", f" All copies: [{first.domain}](results/attacks/{first.domain}.md).")


def _honest_row(thefts: Sequence[DomainTheft]) -> tuple[str, ...]:
    answers = max(copy.answers for theft in thefts for copy in theft.copies)
    priced = [theft for theft in thefts if answers in theft.honest[EVIDENCE]]
    floors = [spread([theft.honest[policy][answers] for theft in priced], figure) for policy in POLICIES]
    seconds = spread([theft.honest_total(EVIDENCE, answers) * FLOOR_SECONDS for theft in priced], figure)
    return HONEST_TITLE, GENUINE, f"{answers:,}", "", *floors, seconds, "", "", ""


def _short_rows(thefts: Sequence[DomainTheft]) -> Iterator[tuple[str, ...]]:
    for name, kind in ATTACK_KINDS.items():
        tried = {theft.seed: theft.of(name)[-1] for theft in thefts if theft.of(name)}
        if not tried:
            continue
        last = list(tried.values())
        answers = spread([copy.answers for copy in last], lambda number: f"{number:,.0f}")
        accuracy = spread([copy.accuracy for copy in last], percent)
        floors = [spread([copy.floors[policy] for copy in last], figure) for policy in POLICIES]
        seconds = spread([copy.total(EVIDENCE) * FLOOR_SECONDS for copy in last], figure)
        title = titled(kind.title, list(tried), thefts)
        yield title, kind.data, answers, accuracy, *floors, seconds, raised(last), *_reached(thefts, name)


def _reached(thefts: Sequence[DomainTheft], name: str) -> tuple[str, str]:
    """Return the floors to a copy as good as SHARE of the victim, and those of an honest user with as many answers."""
    reached = [(theft, copy) for theft in thefts if (copy := theft.reaching(name, SHARE))]
    if not reached:
        return NOT_REACHED, ""
    paid = spread([copy.total(EVIDENCE) for _, copy in reached], figure)
    tried = sum(bool(theft.of(name)) for theft in thefts)
    honest = spread([theft.honest_total(EVIDENCE, copy.answers) for theft, copy in reached], figure)
    return paid if len(reached) == tried else f"{paid}, in {len(reached)} of {tried}", honest


def _origin(thefts: Sequence[DomainTheft], folder: str, more: str) -> str:
    """Return a sentence on the files of divisions, their commits, and the time that the attacks took."""
    files = ", ".join(f"[{theft.domain}-{theft.seed}.csv]({folder}{theft.domain}-{theft.seed}.csv)" for theft in thefts)
    commits = ", ".join(dict.fromkeys(theft.commit for theft in thefts))
    minutes = sum(copy.seconds for theft in thefts for copy in theft.copies) / 60
    text = f"{files}, written at commit {commits}; the attacks took {minutes:,.0f} minutes.{more}"
    return f"{_filled(text)}\n"


def _filled(text: str) -> str:
    return fill(text, WIDTH, break_long_words=False, break_on_hyphens=False)


if __name__ == "__main__":
    raise SystemExit(main())
