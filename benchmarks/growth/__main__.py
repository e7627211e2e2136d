"""Time of a prepaid answer as a ledger, an account, a model or a request grows: docs/results/growth.md.

python -m benchmarks.growth                  up to 1,000,000 accounts and 10,000,000 expired records: 3 GB of disk
python -m benchmarks.growth --quick          ledgers of a hundredth of that and fewer answers, in two minutes
python -m benchmarks.growth --redis          the ledger in Redis: docs/results/growth-redis.md. 5 GB of memory, half an
                                             hour, in most of which it waits until 10,000,000 ids expire

Prints the table, and writes it with its picture and its CSV file. Exits with 1 where an answer takes more than 1.2
times as long at the largest size, though it should take the same: of accounts, queries, expired records and classes.
"""

import sys
import time
from datetime import date
from pathlib import Path

import torch

from benchmarks.command_line import command_parser
from benchmarks.growth.growth_page import MOST_RATIO, findings, misses, redis_findings
from benchmarks.growth.series import curves, redis_curves
from benchmarks.growth.served_payloads import served_curves
from benchmarks.results.exhibit import Exhibit, write
from benchmarks.results.origin import ROOT, Origin, checked_out


def main() -> int:
    """Measure all curves and write the page."""
    parser = command_parser("benchmarks.growth", __doc__)
    parser.add_argument("--quick", action="store_true", help="smaller ledgers, fewer answers")
    parser.add_argument("--folder", type=Path, help="on the disk to keep ledgers on (default: the temporary folder)")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "results", help="(default: docs/results)")
    parser.add_argument("--redis", action="store_true", help="measure a ledger in Redis")
    args = parser.parse_args()
    torch.set_num_threads(1)
    begun, commit = time.monotonic(), checked_out()
    if args.redis:
        name, title = "growth-redis", "Growth: the time of a prepaid answer on Redis"
        measured = list(redis_curves(args.folder, quick=args.quick))
        shown = redis_findings(measured)
    else:
        name, title = "growth", "Growth: the time of a prepaid answer"
        measured = [*curves(args.folder, quick=args.quick), *served_curves(args.folder, quick=args.quick)]
        shown = findings(measured)
    command = f"python -m benchmarks.growth{' --redis' if args.redis else ''}{' --quick' if args.quick else ''}"
    origin = Origin(command, commit, date.today().isoformat(), time.monotonic() - begun)
    write(Exhibit(name, title, lambda _: shown), shown, origin, args.output)
    print("\n".join(shown.text))
    for curve in filter(misses, measured):
        print(f"{curve.grows}, {curve.part}: {curve.ratio:.2f}, above {MOST_RATIO}", file=sys.stderr)
    return 1 if any(map(misses, measured)) else 0


if __name__ == "__main__":
    raise SystemExit(main())
