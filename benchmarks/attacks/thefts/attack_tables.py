"""Stolen copies as Markdown tables: of one division, or the means over several with the least and the largest."""

from collections.abc import Callable, Iterator, Sequence

from benchmarks.attacks.thefts.attack_kinds import ATTACK_KINDS, GENUINE
from benchmarks.attacks.thefts.stolen_copies import SHARES, DomainTheft, StolenCopy
from benchmarks.attacks.thefts.theft_files import HONEST_TITLE
from benchmarks.range.trials.must_tables import figure
from benchmarks.range.trials.policies import EVIDENCE, PAPER, POLICIES
from benchmarks.results.exhibit import table

# Seconds of the reference client that a floor takes.
FLOOR_SECONDS = 1e-3
_COPY_COLUMNS = (
    *("attack", "queries", "answers", "copy right", "as the victim", "floors an answer", "under paper", "s"),
    *("privacy", "PRADA"),
)
_REACHED_COLUMNS = (
    *("attack", "of the victim", "answers", "floors", "honest user", "times", "under paper", "honest user", "times"),
)
NOT_REACHED = "not reached"


def theft_tables(thefts: Sequence[DomainTheft], floor_seconds: float) -> Iterator[str]:
    """Yield the lines of the tables of a domain's divisions.

    Of several, every figure is the mean over the divisions, with the least and the largest where these differ.
    `floor_seconds` is what a floor takes the reference client.
    """
    first = thefts[0]
    seeds = ", ".join(str(theft.seed) for theft in thefts)
    yield (
        f"### {first.domain}, division{'s' * (len(thefts) > 1)} {seeds}: the victim is right in"
        f" {spread([theft.victim for theft in thefts], percent)}; the thief owns {first.owned:,} genuine inputs"
    )
    yield ""
    yield from table(_COPY_COLUMNS, [*_honest_rows(thefts, floor_seconds), *_copy_rows(thefts, floor_seconds)], texts=2)
    yield ""
    yield (
        "*PRADA*: the number of queries after which it raises. At legitimate users of one class mix it raises in"
        f" {spread([theft.alarmed for theft in thefts], percent)} at most."
    )
    yield ""
    yield "Floors until a copy first is right in a share of the victim's accuracy, at the numbers of answers above:"
    yield ""
    yield from table(_REACHED_COLUMNS, list(_reached_rows(thefts)), texts=2)
    yield ""


def spread(values: Sequence[float], show: Callable[[float], str]) -> str:
    """Return the mean of values, with the least and the largest where these differ as they are shown."""
    mean, least, largest = (show(value) for value in (sum(values) / len(values), min(values), max(values)))
    return mean if least == largest else f"{mean} ({least} to {largest})"


def percent(share: float) -> str:
    """Return a share in percent."""
    return f"{share:.1%}"


def _honest_rows(thefts: Sequence[DomainTheft], floor_seconds: float) -> Iterator[tuple[str, ...]]:
    for answers in sorted({copy.answers for theft in thefts for copy in theft.copies}):
        priced = [theft for theft in thefts if answers in theft.honest[EVIDENCE]]
        floors = [spread([theft.honest[policy][answers] for theft in priced], figure) for policy in POLICIES]
        seconds = spread([theft.honest_total(EVIDENCE, answers) * floor_seconds for theft in priced], figure)
        yield HONEST_TITLE, GENUINE, f"{answers:,}", "", "", *floors, seconds, "", ""


def _copy_rows(thefts: Sequence[DomainTheft], floor_seconds: float) -> Iterator[tuple[str, ...]]:
    for name, kind in ATTACK_KINDS.items():
        for answers in sorted({copy.answers for theft in thefts for copy in theft.of(name)}):
            tried = {theft.seed: copy for theft in thefts for copy in theft.of(name) if copy.answers == answers}
            copies = list(tried.values())
            quality = [spread([part(copy) for copy in copies], percent) for part in (_accuracy, _fidelity)]
            floors = [spread([copy.floors[policy] for copy in copies], figure) for policy in (EVIDENCE, PAPER)]
            seconds = spread([copy.total(EVIDENCE) * floor_seconds for copy in copies], figure)
            privacy = spread([copy.privacy for copy in copies], figure)
            title = titled(kind.title, list(tried), thefts)
            yield title, kind.data, f"{answers:,}", *quality, *floors, seconds, privacy, raised(copies)


def titled(title: str, seeds: Sequence[int], thefts: Sequence[DomainTheft]) -> str:
    """Return the title of a row of the divisions `seeds`, which says so where the table has others, too."""
    if len(seeds) == len(thefts):
        return title
    return f"{title} (division{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))})"


def raised(copies: Sequence[StolenCopy]) -> str:
    """Return after how many queries PRADA raised, and at how many of the copies if not at all."""
    queries = [copy.prada for copy in copies if copy.prada is not None]
    if not queries:
        return ""
    text = spread(queries, lambda number: f"{number:,.0f}")
    return text if len(queries) == len(copies) else f"{text}, at {len(queries)} of {len(copies)}"


def _reached_rows(thefts: Sequence[DomainTheft]) -> Iterator[tuple[str, ...]]:
    """Yield for every attack the first numbers of answers that reach the shares; those that reach several are one."""
    for name, kind in ATTACK_KINDS.items():
        tried = [theft for theft in thefts if theft.of(name)]
        found = {share: [(theft, theft.reaching(name, share)) for theft in tried] for share in SHARES if tried}
        while found:
            copies = next(iter(found.values()))
            alike = [other for other in found if found[other] == copies]
            shares = f"{', '.join(f'{100 * other:.0f}' for other in alike)} %"
            yield kind.row, shares, *_reached_cells([(theft, copy) for theft, copy in copies if copy], len(tried))
            found = {other: copies for other, copies in found.items() if other not in alike}


def _reached_cells(reached: Sequence[tuple[DomainTheft, StolenCopy]], tried: int) -> tuple[str, ...]:
    """Return the answers, and by policy the floors of the thief, of an honest user, and how many times as many."""
    if not reached:
        return NOT_REACHED, *[""] * (3 * len(POLICIES))
    answers = spread([copy.answers for _, copy in reached], lambda number: f"{number:,.0f}")
    cells = [answers if len(reached) == tried else f"{answers}, in {len(reached)} of {tried}"]
    for policy in POLICIES:
        paid = [copy.total(policy) for _, copy in reached]
        honest = [theft.honest_total(policy, copy.answers) for theft, copy in reached]
        times = [dear / usual for dear, usual in zip(paid, honest, strict=True)]
        cells += [spread(values, figure) for values in (paid, honest, times)]
    return tuple(cells)


def _accuracy(copy: StolenCopy) -> float:
    return copy.accuracy


def _fidelity(copy: StolenCopy) -> float:
    return copy.fidelity
