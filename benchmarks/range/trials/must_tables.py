"""The figures of the range as Markdown tables, and as rows for a CSV file."""

from collections.abc import Iterator, Mapping, Sequence
from statistics import median

from benchmarks.range.trials.judgement import Judgement
from benchmarks.range.trials.musts import MUSTS, Must
from benchmarks.range.trials.oracle import COPIES

Row = tuple[str, int, str, str, str, float]
CSV_HEADER = ("domain", "seed", "policy", "row", "of", "value")
_STRANGERS = (
    *(("pure", "pure"), ("half", "half"), ("fifth", "one in five"), ("twentieth", "one in twenty")),
    *(("cheapest", "cheapest third"), ("theft", "a theft"), ("theft, cheapest", "of the cheapest third")),
    *(("theft, account given up", "given up"), ("copies", "near-copies"), ("copies, all pass", "if all passed")),
    *((f"new {count}", f"new {count}") for count in (1, 5, 20, 50)),
    ("new, rest unpaid", "new, rest unpaid"),
    *((f"new {count}, paid", f"new {count}, debt left") for count in (1, 5)),
    *(("free", "free"), ("free, repeated", "free, repeated")),
)
# Figures of which the largest is the worst for the owner.
_MOST = frozenset({"free", "free, repeated"})


def domain_tables(judgements: Sequence[Judgement]) -> Iterator[str]:
    """Yield the lines of the tables of one domain and policy, all seeds together."""
    first = judgements[0]
    seeds = ", ".join(str(judgement.seed) for judgement in judgements)
    yield f"### {first.domain}, policy {first.policy}, seeds {seeds}"
    yield ""
    for judgement in judgements:
        yield f"- seed {judgement.seed}: {_chosen(judgement)}"
    yield ""
    yield from must_table(judgements)
    yield from _stranger_table(judgements, "Strangers that share nothing with legitimate inputs", derived=False)
    yield from _stranger_table(judgements, "Made of legitimate inputs", derived=True)
    yield from _oracle_table(judgements)
    yield from _shift_table(judgements)


def must_table(judgements: Sequence[Judgement]) -> Iterator[str]:
    """Yield the lines of the table of what must be reached."""
    yield "| row | must | worst | of all seeds | best stranger | met |"
    yield "|---|---|---|---|---|---|"
    for must in MUSTS:
        yield from _must_row(must, judgements)
    shares = [judgement.share for judgement in judgements]
    yield f"| floor in unprotected answers | | {figure(min(shares))} | {_spread(shares)} | | |"
    yield ""


def csv_rows(judgement: Judgement) -> Iterator[Row]:
    """Yield every figure of a judgement."""

    def row(name: str, of: str, value: float) -> Row:
        return judgement.domain, judgement.seed, judgement.policy, name, of, value

    for mix, paid in judgement.honest.items():
        for length, value in paid.items():
            yield row(f"honest after {length}", mix, value)
    for shift, figures in judgement.shifts.items():
        kind = "tolerated" if figures["tolerated"] else "not tolerated"
        yield row(f"{kind}, all classes", shift, figures["uniform"])
        yield row(f"{kind}, one class", f"{shift}, {figures['class']}", figures["one class"])
    yield row("one payload repeated", "", judgement.repeaters)
    for stranger, figures in judgement.strangers.items():
        for name, value in {**figures, **figures["oracle"]}.items():
            if isinstance(value, int | float):
                yield row(name, stranger, value)


def figure(value: float) -> str:
    """Return a number with three digits that count."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.2f}" if value < 10 else f"{value:.1f}"


def _must_row(must: Must, judgements: Sequence[Judgement]) -> Iterator[str]:
    found = [(worst, judgement.seed) for judgement in judgements if (worst := must.worst(judgement)) is not None]
    if not found:
        return
    domain = judgements[0].domain
    pick = max if must.is_most else min
    worst, seed = pick(found, key=lambda pair: pair[0].value)
    sign = "<=" if must.is_most else ">="
    met = "yes" if must.holds(domain, worst.value) else "**no**"
    of = f" ({worst.name}; seed {seed})" if worst.name else f" (seed {seed})"
    best = "" if not worst.best_name or must.is_most else f"{figure(worst.best)} ({worst.best_name})"
    values = [value.value for value, _ in found]
    cells = (must.row, f"{sign} {must.bound(domain):,g}", f"{figure(worst.value)}{of}", _spread(values), best, met)
    yield f"| {' | '.join(cells)} |"


def _spread(values: Sequence[float]) -> str:
    return f"{figure(min(values))} to {figure(max(values))}"


def _chosen(judgement: Judgement) -> str:
    fit = judgement.fit
    tests = "; ".join(
        f"{test['score']}{' (both sides)' if test['sides'] == 2 else ''}, slack {_slack(test['slacks'])}"
        for test in fit["tests"]
    )
    return (
        f"{tests}; exponent {fit['exponent']:.2f}, entry {fit['entry']:g}, near-copies within {fit['likeness']} bits;"
        f" tolerated: {', '.join(judgement.tolerated) or 'nothing'}"
    )


def _slack(slacks: Sequence[float]) -> str:
    return f"{min(slacks):g}" if min(slacks) == max(slacks) else f"{min(slacks):g} to {max(slacks):g}"


def _stranger_table(judgements: Sequence[Judgement], title: str, *, derived: bool) -> Iterator[str]:
    names = [name for name, figures in judgements[0].strangers.items() if bool(figures["derived"]) == derived]
    if not names:
        return
    yield f"{title} (the worst seed):"
    yield ""
    yield f"| | {' | '.join(title for _, title in _STRANGERS)} |"
    yield "|---" * (len(_STRANGERS) + 1) + "|"
    for name in names:
        of_seeds = [judgement.strangers[name] for judgement in judgements if name in judgement.strangers]
        cells = [
            figure((max if key in _MOST else min)(float(figures[key]) for figures in of_seeds)) for key, _ in _STRANGERS
        ]
        yield f"| {name} | {' | '.join(cells)} |"
    yield ""


def _oracle_table(judgements: Sequence[Judgement]) -> Iterator[str]:
    accounts = [f"{account}, {copies}" for account in ("new", "parked") for copies in COPIES]
    yield (
        "Rank correlation of the quoted price with a query's evidence, by account and copies in a request; what the"
        " best reading costs, and what a thief gains by it, and if it were free (the largest of all seeds):"
    )
    yield ""
    yield f"| | {' | '.join(accounts)} | read | gain | if free |"
    yield "|---" * (len(accounts) + 4) + "|"
    keys = [*(f"correlation, {account}" for account in accounts), "read", "gain", "gain, free"]
    for name in judgements[0].strangers:
        of_seeds = [judgement.strangers[name]["oracle"] for judgement in judgements if name in judgement.strangers]
        cells = [figure(max(float(oracle[key]) for oracle in of_seeds)) for key in keys]
        yield f"| {name} | {' | '.join(cells)} |"
    yield ""


def _shift_table(judgements: Sequence[Judgement]) -> Iterator[str]:
    shifts: Mapping[str, object] = judgements[0].shifts
    yield "Honest users under a shift, 99th percentile (median of the seeds, and the worst):"
    yield ""
    yield "| shift | tolerated | all classes | one class |"
    yield "|---|---|---|---|"
    for name in shifts:
        of_seeds = [judgement.shifts[name] for judgement in judgements]
        tolerated = sum(bool(figures["tolerated"]) for figures in of_seeds)
        cells = [
            f"{figure(median(values))}; {figure(max(values))}"
            for key in ("uniform", "one class")
            for values in [[float(figures[key]) for figures in of_seeds]]
        ]
        yield f"| {name} | {tolerated} of {len(of_seeds)} | {' | '.join(cells)} |"
    yield ""
