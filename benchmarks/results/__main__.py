"""Make the paper's tables and figures again, with pages for people and CSV files for programs.

python -m benchmarks.results                           all that this machine has the data of, some minutes
python -m benchmarks.results --only table-2 figure-8   some of them
python -m benchmarks.results --quick                   with fewer repetitions
python -m benchmarks.results --traces DIR              the paper's recorded attacks (default: CALPOW_TRACES)

What takes long is not made again at the same commit, so that an interrupted run goes on where it stopped. Our own
attacks are read from files that `python -m benchmarks.attacks --output docs/results/attacks` writes. Exits with 1 when
data of an exhibit are missing; a page that is made without some of them says so.
"""

import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date
from pathlib import Path

from benchmarks.command_line import command_parser
from benchmarks.results.cost_times import TABLE_5
from benchmarks.results.exhibit import DataAbsent, Exhibit, Setting, write
from benchmarks.results.hash_times import FIGURE_2
from benchmarks.results.index import index
from benchmarks.results.origin import Origin, checked_out
from benchmarks.results.own_tables import EXHIBITS as TABLES
from benchmarks.results.paper_figures import EXHIBITS as FIGURES
from benchmarks.results.recorded_attacks import EXHIBITS as RECORDED

RESULTS = Path(__file__).resolve().parents[2] / "docs" / "results"
ALL = {exhibit.name: exhibit for exhibit in (*RECORDED, FIGURE_2, TABLE_5, *TABLES, *FIGURES)}
# Origins of the pages that were made, by name.
ORIGINS = "origins.json"
INCOMPLETE = 1
# Seconds from which on an exhibit is not made twice at a commit. What is made of files is made again: they change.
LONG = 5.0


def main() -> int:
    """Make the exhibits one after another, and the index of all."""
    parser = command_parser("benchmarks.results", __doc__)
    traces = os.environ.get("CALPOW_TRACES")
    parser.add_argument(
        "--only", nargs="+", choices=tuple(ALL), default=tuple(ALL), metavar="NAME", help=", ".join(ALL)
    )
    parser.add_argument("--quick", action="store_true", help="fewer repetitions")
    parser.add_argument("--traces", type=Path, default=Path(traces) if traces else None, help="folder of the traces")
    attacks = "folder of the CSV files of benchmarks.attacks (default: docs/results/attacks)"
    parser.add_argument("--attacks", type=Path, default=RESULTS / "attacks", help=attacks)
    parser.add_argument("--output", type=Path, default=RESULTS, help="(default: docs/results)")
    args = parser.parse_args()
    setting, commit = Setting(args.traces, args.quick, args.attacks), checked_out()
    made = _made(args.output)
    missing: dict[str, list[str]] = {}
    for name in args.only:
        if name in made and made[name].commit == commit and made[name].seconds >= LONG and not commit.endswith("+"):
            print(f"{name}: made at this commit already")
            continue
        try:
            made[name], absent = make(ALL[name], setting, commit, args.output)
        except DataAbsent as problem:
            missing.setdefault(str(problem), []).append(name)
            continue
        for line in absent:
            missing.setdefault(line, []).append(name)
        text = json.dumps({name: asdict(made[name]) for name in ALL if name in made}, indent=1)
        (args.output / ORIGINS).write_text(f"{text}\n", "utf-8")
        (args.output / "README.md").write_text("\n".join(index(ALL, made)), "utf-8")
        print(f"{name}: {args.output / name}.md, {made[name].seconds:.0f} s", flush=True)
    for line, names in missing.items():
        print(f"missing in {', '.join(names)}: {line}", file=sys.stderr)
    return INCOMPLETE if missing else 0


def make(exhibit: Exhibit, setting: Setting, commit: str, folder: Path) -> tuple[Origin, Sequence[str]]:
    """Make one exhibit and write its page; return its origin, and what is missing of it. Raises DataAbsent."""
    begun = time.monotonic()
    findings = exhibit.run(setting)
    command = f"python -m benchmarks.results --only {exhibit.name}{' --quick' if setting.quick else ''}"
    origin = Origin(command, commit, date.today().isoformat(), time.monotonic() - begun)
    write(exhibit, findings, origin, folder)
    return origin, findings.absent


def _made(folder: Path) -> dict[str, Origin]:
    """Return the origins of the pages that are there."""
    path = folder / ORIGINS
    if not path.is_file():
        return {}
    return {name: Origin(**origin) for name, origin in json.loads(path.read_text("utf-8")).items()}


if __name__ == "__main__":
    raise SystemExit(main())
