"""Download the data of the range's domains and train their victims; what is in the cache already is kept.

python -m benchmarks.range.prepare                         all domains, forty minutes on one core
python -m benchmarks.range.prepare --only digits fashion   some of them
CALPOW_RANGE=DIR python -m benchmarks.range.prepare        a cache other than ~/.cache/calpow-range

May be interrupted and started again: CIFAR-10's training goes on after its last whole epoch. Exits with 1 when a
domain's data are missing.
"""

import sys

import torch

from benchmarks.command_line import command_parser
from benchmarks.range.cache import DataMissing
from benchmarks.range.catalogue import DOMAINS
from benchmarks.range.victims import accuracy

INCOMPLETE = 1


def main() -> int:
    """Prepare the domains and print the accuracy of each victim."""
    parser = command_parser("benchmarks.range.prepare", __doc__)
    parser.add_argument("--only", nargs="+", choices=tuple(DOMAINS), default=tuple(DOMAINS), metavar="DOMAIN")
    parser.add_argument("--seed", type=int, default=0, help="the victims' seed (default: 0)")
    parser.add_argument("--threads", type=int, default=1, help="of torch (default: 1)")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    incomplete = False
    for name in args.only:
        try:
            domain = DOMAINS[name](args.seed)
        except DataMissing as problem:
            print(f"{name}: {problem}", file=sys.stderr)
            incomplete = True
            continue
        share = accuracy(domain.victim, domain.test)
        print(f"{name}: {share:.2%} of {len(domain.test):,} test inputs in {len(domain.classes)} classes", flush=True)
    return INCOMPLETE if incomplete else 0


if __name__ == "__main__":
    raise SystemExit(main())
