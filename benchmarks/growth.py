"""Time of the gate for a prepaid answer as a ledger, an account or the number of classes grows: some minutes.

python -m benchmarks.growth                  up to 1,000,000 accounts and 10,000,000 expired records: 5 GB of disk
python -m benchmarks.growth --quick          a hundredth of that, in some seconds

The smaller and the larger case take turns in one process, on ledger files of their own. The victim's pass and the
scores are left out of all rows but the last two, which time nothing but the scores. Exits with 1 when a ratio of
medians is above 1.2.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.added_time import ScoreSpecs, every_score, make_timed_meter, scores_without_votes, times
from benchmarks.growth_answers import Site, Size, times_in_turns
from calpow.archiver.teachers.networks import MNISTNET_SHAPE, mnistnet

MOST_RATIO = 1.2
ANSWERS, QUICK_ANSWERS = 4_000, 300
QUICK_PART = 100
# What grows, from where to where, and what it is called.
CASES = (
    ("accounts", 1_000, 1_000_000, "accounts"),
    ("queries", 100, 1_000_000, "queries of each account"),
    ("classes", 10, 1_000, "classes"),
    ("expired", 0, 10_000_000, "expired records"),
)
# Of the ledger's rows, whose number `--quick` divides.
DIVIDED = ("accounts", "expired")
CLASSES = (10, 1_000)
# Of three layers: 4,000 in all, for any number of classes.
PROTOTYPES = 1_333


@dataclass(frozen=True)
class Row:
    """Microseconds of answers in the smaller and in the larger case, in their order."""

    name: str
    smaller: Sequence[float]
    larger: Sequence[float]

    @property
    def ratio(self) -> float:
        """Ratio of the medians."""
        return statistics.median(self.larger) / statistics.median(self.smaller)

    @property
    def cells(self) -> list[str]:
        """Cells of the table."""
        pair = (self.smaller, self.larger)
        medians = [statistics.median(values) for values in pair]
        deciles = [statistics.quantiles(values, n=10)[0] for values in pair]
        means = [statistics.fmean(values) for values in pair]
        ratio = f"{self.ratio:.2f}" if self.ratio <= MOST_RATIO else f"**{self.ratio:.2f}**"
        others = [f"{larger / smaller:.2f}" for smaller, larger in (deciles, means)]
        return [self.name, *[f"{median:,.0f}" for median in medians], ratio, *others]


def main() -> int:
    """Print a Markdown table."""
    description, _, rest = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        prog="benchmarks.growth",
        description=description,
        epilog=rest,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="a hundredth of the rows, fewer answers")
    parser.add_argument("--folder", type=Path, help="on the disk to keep ledgers on (default: the temporary folder)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    answers = QUICK_ANSWERS if args.quick else ANSWERS
    rows = [*ledger_rows(args.folder, answers, quick=args.quick), *score_rows(answers // 4)]
    print("\n".join(table(rows)))
    missed = [row.name for row in rows if row.ratio > MOST_RATIO]
    for name in missed:
        print(f"{name}: above {MOST_RATIO}", file=sys.stderr)
    return 1 if missed else 0


def ledger_rows(folder: Path | None, answers: int, *, quick: bool) -> Iterator[Row]:
    """Yield a row of each case. Ledgers are below `folder` meanwhile."""
    for member, smaller, most, label in CASES:
        larger = most // QUICK_PART if quick and member in DIVIDED else most
        name = f"{smaller:,} and {larger:,} {label}"
        sizes = [Size(**{member: number}) for number in (smaller, larger)]
        with tempfile.TemporaryDirectory(prefix="growth-", dir=folder) as home:
            sites = [Site(Path(home) / f"{place}.db", size) for place, size in enumerate(sizes)]
            times_in_turns(sites, answers // 10, "warming up")
            pair = times_in_turns(sites, answers, name)
        yield Row(name, *[[1e6 * seconds for seconds in column] for column in pair])


def score_rows(rounds: int) -> Iterator[Row]:
    """Yield rows of the scores of one sample, without the teachers and with them."""
    selections: Mapping[str, ScoreSpecs] = {
        "10 and 1,000 classes, scores without votes": scores_without_votes,
        "10 and 1,000 classes, all scores": every_score,
    }
    for name, scores in selections.items():
        pair = [_pricing(scores, classes) for classes in CLASSES]
        passes = dict(zip(("smaller", "larger"), pair, strict=True))
        times(passes, rounds // 10)
        yield Row(name, **times(passes, rounds))


def _pricing(scores: ScoreSpecs, classes: int) -> Callable[[], object]:
    torch.manual_seed(0)
    meter = make_timed_meter(mnistnet(classes, MNISTNET_SHAPE).eval(), scores, classes, PROTOTYPES)
    calls = [meter.recorder.ask(torch.rand(1, *MNISTNET_SHAPE))]
    return lambda: meter.price_calls(calls)


def table(rows: Sequence[Row]) -> Iterator[str]:
    """Yield the lines of a Markdown table."""
    yield "| | smaller, us | larger, us | ratio of medians | of 10 % quantiles | of means |"
    yield "|---|---:|---:|---:|---:|---:|"
    for row in rows:
        yield f"| {' | '.join(row.cells)} |"


if __name__ == "__main__":
    raise SystemExit(main())
