"""Throughput of a protected model, and the time of a query by stage: run after `make demo`, takes two minutes.

python -m benchmarks.speed
"""

import json
import os
import platform
import time
from dataclasses import asdict
from pathlib import Path

import requests

from benchmarks.command_line import command_parser
from benchmarks.serving.demo_model import HOME, add_model_options, require, shuffled
from benchmarks.serving.light_client import BadAnswer
from benchmarks.speed.speed_figures import SpeedFigures, measure
from benchmarks.speed.speed_table import table
from calpow.puzzle.errors import CalpowError


def main() -> int:
    """Measure, write the figures, print the table."""
    parser = command_parser("benchmarks.speed", __doc__)
    add_model_options(parser)
    parser.add_argument("--output", type=Path, default=HOME / "speed.json", help="file for the figures")
    args = parser.parse_args()
    require(parser, args.victim, args.archive, args.payloads)
    os.environ["OMP_NUM_THREADS"] = "1"
    begun = time.monotonic()
    try:
        figures = measure(args.victim, args.archive, shuffled(args.payloads), args.output.parent)
    except (CalpowError, BadAnswer, requests.RequestException) as problem:
        parser.error(str(problem))
    args.output.write_text(json.dumps(document(figures), indent=1) + "\n")
    print("\n".join(table(figures)))
    print(f"\nAll figures are in {args.output}. {time.monotonic() - begun:.0f} s.")
    return 0


def document(figures: SpeedFigures) -> dict[str, object]:
    """The figures as they are written."""
    return {
        "made": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": {"platform": platform.platform(), "cores": os.cpu_count(), "python": platform.python_version()},
        "rounds": [asdict(each) for each in figures.rounds],
        "batched_rounds": [asdict(each) for each in figures.batched],
        "stages_microseconds": asdict(figures.stages),
        "batches_microseconds": asdict(figures.batches),
        "hashes_per_second": asdict(figures.rates),
    }


if __name__ == "__main__":
    raise SystemExit(main())
