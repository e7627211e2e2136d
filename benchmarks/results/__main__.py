"""Make the paper's tables and figures again, with pages for people and CSV files for programs.

python -m benchmarks.results                           all that this machine has the data of, some minutes
python -m benchmarks.results --only table-2 figure-8   some of them
python -m benchmarks.results --quick                   with fewer repetitions
python -m benchmarks.results --traces DIR              the paper's recorded attacks (default: CALPOW_TRACES)

What was made at the same commit is not made again, so that an interrupted run goes on where it stopped. Exits with 1
when the data of an exhibit are missing.
"""

import argparse
import json
import os
import sys
import time
from dataclasses import asdict
from datetime import date
from pathlib import Path

from benchmarks.results.cost_times import TABLE_5
from benchmarks.results.exhibit import DataAbsent, Exhibit, Setting, write
from benchmarks.results.hash_times import FIGURE_2
from benchmarks.results.index import index
from benchmarks.results.origin import Origin, checked_out
from benchmarks.results.recorded_attacks import EXHIBITS

ROOT = Path(__file__).resolve().parents[2]
ALL = {exhibit.name: exhibit for exhibit in (*EXHIBITS, FIGURE_2, TABLE_5)}
# Origins of the pages that were made, by name.
ORIGINS = "origins.json"
INCOMPLETE = 1


def main() -> int:
    """Make the exhibits one after another, and the index of all."""
    description, _, rest = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        prog="benchmarks.results",
        description=description,
        epilog=rest,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    traces = os.environ.get("CALPOW_TRACES")
    parser.add_argument(
        "--only", nargs="+", choices=tuple(ALL), default=tuple(ALL), metavar="NAME", help=", ".join(ALL)
    )
    parser.add_argument("--quick", action="store_true", help="fewer repetitions")
    parser.add_argument("--traces", type=Path, default=Path(traces) if traces else None, help="folder of the traces")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "results", help="(default: docs/results)")
    args = parser.parse_args()
    setting, commit = Setting(args.traces, args.quick), checked_out()
    made = _made(args.output)
    missing = False
    for name in args.only:
        if name in made and made[name].commit == commit and not commit.endswith("+"):
            print(f"{name}: made at this commit already")
            continue
        try:
            made[name] = make(ALL[name], setting, commit, args.output)
        except DataAbsent as problem:
            print(f"{name}: no data: {problem}", file=sys.stderr)
            missing = True
            continue
        text = json.dumps({name: asdict(made[name]) for name in ALL if name in made}, indent=1)
        (args.output / ORIGINS).write_text(f"{text}\n", "utf-8")
        (args.output / "README.md").write_text("\n".join(index(ALL, made)), "utf-8")
        print(f"{name}: {args.output / name}.md, {made[name].seconds:.0f} s", flush=True)
    return INCOMPLETE if missing else 0


def make(exhibit: Exhibit, setting: Setting, commit: str, folder: Path) -> Origin:
    """Make one exhibit and write its page. Raises DataAbsent."""
    begun = time.monotonic()
    findings = exhibit.run(setting)
    command = f"python -m benchmarks.results --only {exhibit.name}{' --quick' if setting.quick else ''}"
    origin = Origin(command, commit, date.today().isoformat(), time.monotonic() - begun)
    write(exhibit, findings, origin, folder)
    return origin


def _made(folder: Path) -> dict[str, Origin]:
    """Return the origins of the pages that are there."""
    path = folder / ORIGINS
    if not path.is_file():
        return {}
    return {name: Origin(**origin) for name, origin in json.loads(path.read_text("utf-8")).items()}


if __name__ == "__main__":
    raise SystemExit(main())
