"""The figures of the benchmark as Markdown tables."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import median

from benchmarks.fashion.policies import (
    ALONE,
    CHEAP,
    DEFAULT,
    FIFTH,
    FILLED,
    HALF,
    LENGTHS,
    PAIRS,
    PAPER,
    Choice,
    Paid,
    PolicyFigures,
    dearest,
)
from benchmarks.fashion.shifts import SHIFTS
from benchmarks.fashion.strangers import CHOSEN_ON, NEAR
from benchmarks.fashion.timing import BATCHES, Compared, PricingTime, Timings
from calpow.archiver.calibration.fitting import CAP, ROOM

# By seed, by the name of the policy.
Results = Sequence[Mapping[str, PolicyFigures]]

# What else honest users under a shift might pay by.
BESIDE = ("PATE + entropy", "PATE + ODIN")


def policy_tables(results: Results, choices: Sequence[Choice]) -> Iterator[str]:
    """Yield the lines of the tables of payments under each policy."""
    yield from _preamble(len(results))
    yield from _honest(results, choices)
    yield from _least(results, choices)
    yield from _profiles(results)
    yield from _attackers(results)
    groups = {
        "each metric alone, and the paper's rule": (DEFAULT, *ALONE, PAPER),
        "metrics combined": (DEFAULT, *PAIRS),
    }
    for name, group in groups.items():
        yield from _everybody(results, [each for each in group if each in choices], name)
    yield from _shifts(results)


def _preamble(seeds: int) -> Iterator[str]:
    yield (
        f"All figures are multiples of what an answer takes unprotected: 1 + f / {ROOM:g}, where f is the puzzle in"
        f" multiples of the floor and the floor is 1 / {ROOM:g} of the unprotected latency. The longest puzzle,"
        f" {CAP:,.0f} floors, makes {1 + CAP / ROOM:,.0f}. Each is the mean over a user's queries up to the length"
        f" named; the 99th percentile over honest users, the mean over attackers; the median of {seeds} seeds, in"
        " brackets the least and the most. A seed has its own victim, teachers, strangers and halves of the test"
        " images: one half calibrates, honest users send the other."
    )
    yield ""


def _honest(results: Results, choices: Sequence[Choice]) -> Iterator[str]:
    yield "### Honest users: the dearest profile under each policy"
    yield ""
    yield from _header(["policy", *(f"{length:,} queries" for length in LENGTHS), "whose", "floors at the end"])
    for choice in choices:
        paid = [dearest(found[choice.name].honest) for found in results]
        whose = [_dearest_name(found[choice.name]) for found in results]
        last = [ROOM * (each[-1] - 1) for each in paid]
        yield _row([choice.name, *_spreads(paid), ", ".join(dict.fromkeys(whose)), _spread(last)])
    yield ""


def _least(results: Results, choices: Sequence[Choice]) -> Iterator[str]:
    yield f"### Attackers: the least that any pays under each policy, after {LENGTHS[-1]:,} queries"
    yield ""
    yield "The cheapest kind of stranger of the worst seed, by what the attacker does with them."
    yield ""
    ways = {"nothing but strangers": "", **{way: way for way in (HALF, FIFTH, CHEAP, FILLED)}}
    yield from _header(["policy", *ways, *sorted(NEAR)])
    for choice in choices:
        paid = [found[choice.name].attackers for found in results]
        least = [
            min(each[-1] for seed in paid for (kind, done), each in seed.items() if done == way and kind not in NEAR)
            for way in ways.values()
        ]
        near = [min(seed[kind, ""][-1] for seed in paid) for kind in sorted(NEAR)]
        yield _row([choice.name, *map(number, (*least, *near))])
    yield ""


def _profiles(results: Results) -> Iterator[str]:
    yield f"### Honest users of every profile, {DEFAULT.name}"
    yield ""
    yield from _header(["profile", *(f"{length:,} queries" for length in LENGTHS)])
    for profile in results[0][DEFAULT.name].honest:
        yield _row([profile, *_spreads([found[DEFAULT.name].honest[profile] for found in results])])
    yield ""


def _attackers(results: Results) -> Iterator[str]:
    yield f"### Attackers, {DEFAULT.name}"
    yield ""
    yield f"The policy was chosen on {_and(CHOSEN_ON)}; the others are reported on only."
    yield ""
    yield from _header(["queries", *(f"{length:,} queries" for length in LENGTHS)])
    for key in results[0][DEFAULT.name].attackers:
        yield _row([_attacker(key), *_spreads([found[DEFAULT.name].attackers[key] for found in results])])
    yield ""


def _everybody(results: Results, choices: Sequence[Choice], name: str) -> Iterator[str]:
    yield f"### Everybody: {name}"
    yield ""
    yield f"Medians of seeds after {LENGTHS[0]:,} / {LENGTHS[-1]:,} queries."
    yield ""
    yield from _header(["", *(each.name for each in choices)])
    yield _row(["honest, dearest", *(_medians([dearest(f[c.name].honest) for f in results]) for c in choices)])
    for key in results[0][DEFAULT.name].attackers:
        cells = [_medians([found[choice.name].attackers[key] for found in results]) for choice in choices]
        yield _row([_attacker(key), *cells])
    yield ""


def _shifts(results: Results) -> Iterator[str]:
    yield f"### Honest users under covariate shift, {DEFAULT.name}"
    yield ""
    others = [name for name in BESIDE if name in results[0]]
    headings = [f"{who}, {length:,}" for who in ("uniform", "dearest profile") for length in LENGTHS]
    yield from _header(["shift", *headings, *(f"dearest, {LENGTHS[-1]:,}: {name}" for name in others)])
    for shift in SHIFTS:
        both = [found[DEFAULT.name].shifted[shift] for found in results]
        beside = [_spread([found[name].shifted[shift][1][-1] for found in results]) for name in others]
        yield _row([shift, *_spreads([each[0] for each in both]), *_spreads([each[1] for each in both]), *beside])
    yield ""


def timing_tables(timings: Timings) -> Iterator[str]:
    """Yield the lines of the table of pricing times."""
    yield "### Pricing beside the victim's forward pass"
    yield ""
    yield (
        "One thread, medians of interleaved rounds; milliseconds, then the median of the ratios to the victim's pass of"
        " the same round. The pass that makes an answer is the one that is priced: the rows “added” are what an answer"
        " costs more than unprotected, the rows below them have that pass in them."
    )
    yield ""
    yield from _header(
        ["", *(f"ms, batch {size}" for size in BATCHES), *(f"x victim, {size}" for size in BATCHES)],
    )
    yield _timed("the victim's forward pass", timings.victim)
    for name, took in timings.votes.items():
        yield _timed(name, took)
    for name, took in timings.added.items():
        yield _timed(f"{name}: added", took)
    for name, took in timings.whole.items():
        yield _timed(f"{name}: with the victim's pass", took)
    yield ""
    yield from _ensembles(timings.ensembles)


def _ensembles(ensembles: Mapping[str, Compared]) -> Iterator[str]:
    yield "### The teachers"
    yield ""
    kinds = list(next(iter(ensembles.values())).auroc)
    yield from _header(["teachers", "network", "mean accuracy", "worst", "vote", *(f"AUROC, {kind}" for kind in kinds)])
    for name, each in ensembles.items():
        card = each.card
        accuracies = (card.teacher_accuracy, card.worst_teacher_accuracy, card.vote_accuracy)
        network = card.network if card.trunk == "none" else f"{card.trunk}, {card.network} heads"
        yield _row([name, network, *(f"{a:.1%}" for a in accuracies), *(f"{each.auroc[kind]:.3f}" for kind in kinds)])
    yield ""


def _timed(name: str, took: PricingTime) -> str:
    seconds = [f"{1e3 * took.seconds[size]:,.2f}" for size in BATCHES]
    return _row([name, *seconds, *(f"{took.times_victim[size]:,.2f}" for size in BATCHES)])


def _header(cells: Sequence[str]) -> Iterator[str]:
    yield _row(cells)
    yield _row(["---", *["---:"] * (len(cells) - 1)])


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _spreads(paid: Sequence[Paid]) -> list[str]:
    return [_spread(column) for column in zip(*paid, strict=True)]


def _spread(values: Sequence[float]) -> str:
    least, middle, most = (number(f(values)) for f in (min, median, max))
    return middle if least == most else f"{middle} ({least} to {most})"


def _medians(paid: Sequence[Paid]) -> str:
    return " / ".join(number(median(column)) for column in zip(*paid, strict=True))


def number(value: float) -> str:
    """Three or more digits, with thousands separated."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _dearest_name(found: PolicyFigures) -> str:
    by_end: Callable[[str], float] = lambda profile: found.honest[profile][-1]  # noqa: E731
    return max(found.honest, key=by_end)


def _attacker(key: tuple[str, str]) -> str:
    kind, way = key
    return f"{kind}: {way}" if way else f"**{kind}**{' (near)' if kind in NEAR else ''}"


def _and(names: Sequence[str] | Mapping[str, object]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}"
