"""The copies of a domain's victim as a Markdown table, and as rows for a CSV file."""

from collections.abc import Iterator

from benchmarks.range.copies.copy_figures import DomainCopies
from benchmarks.range.trials.must_tables import figure

Row = tuple[str, int, str, int, float, float, float, float, int]
COPIES_HEADER = ("domain", "seed", "attack", "answers", "accuracy", "fidelity", "alone", "theft", "fillers")


def copies_table(copies: DomainCopies) -> Iterator[str]:
    """Yield the lines of a table: each attack with few answers, then with many."""
    yield (
        f"### {copies.domain}, division {copies.seed}: the victim is right in {copies.victim:.1%} of"
        f" {copies.held_out:,} inputs; the thief owns {copies.owned:,} others"
    )
    yield ""
    yield "| queries | answers | copy right | as the victim | floors, alone | floors, best cycle | fillers |"
    yield "|---|---|---|---|---|---|---|"
    attacks = [found.attack for found in copies.copies]
    for found in sorted(copies.copies, key=lambda found: attacks.index(found.attack)):
        cells = (found.attack, f"{found.answers:,}", f"{found.accuracy:.1%}", f"{found.fidelity:.1%}")
        prices = (figure(found.alone), figure(found.theft), f"{found.fillers}")
        yield f"| {' | '.join((*cells, *prices))} |"
    yield ""


def copies_rows(copies: DomainCopies) -> Iterator[Row]:
    """Yield the figures of every copy."""
    for found in copies.copies:
        quality = found.attack, found.answers, found.accuracy, found.fidelity
        yield copies.domain, copies.seed, *quality, found.alone, found.theft, found.fillers
