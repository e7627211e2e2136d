"""How fast a protected model answers, and where the time goes: run after `make demo`, takes about two minutes.

python -m benchmarks.speed
"""

import argparse
import json
import os
import platform
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from benchmarks import load, mint
from benchmarks.load import Round, Site
from calpow.archiver.served import served
from calpow.handler.ledger import open_ledger

if TYPE_CHECKING:
    from benchmarks.stages import Batches, Stages

ROOT = Path(__file__).resolve().parents[1]
HOME = ROOT / "demo"
MODEL = "digits"
SEED = 7


def main() -> int:
    """Measure, print the table, write the figures."""
    parser = argparse.ArgumentParser(prog="benchmarks.speed", description=__doc__.splitlines()[0])
    parser.add_argument("--victim", type=Path, default=HOME / "victim.mar", help="the unprotected .mar")
    parser.add_argument("--archive", type=Path, default=ROOT / "model_store" / f"{MODEL}.mar", help="the protected one")
    parser.add_argument("--payloads", type=Path, default=HOME / "users", help="folder of honest users' payload files")
    parser.add_argument("--output", type=Path, default=HOME / "speed.json", help="where the figures go")
    args = parser.parse_args()
    for path in (args.victim, args.archive, args.payloads):
        if not path.exists():
            parser.error(f"{path} does not exist: run make demo first")
    os.environ["OMP_NUM_THREADS"] = "1"
    begun = time.monotonic()
    payloads = shuffled(args.payloads)
    # Beside the figures, on the disk where a ledger would be: a folder in memory would make it look faster.
    scratch = Path(tempfile.mkdtemp(prefix="speed-", dir=args.output.parent)).resolve()
    try:
        rates = step("stamps", mint.measure)
        stages, batches = step("stages of a query", lambda: in_a_process(args.archive, scratch, payloads))
        rounds = step("a TorchServe under load", lambda: under_load(args.victim, args.archive, scratch, payloads))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    figures = {
        "made": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": {"platform": platform.platform(), "cores": os.cpu_count(), "python": platform.python_version()},
        "rounds": [asdict(each) | {"server_protected": each.server.protected} for each in rounds],
        "stages_microseconds": asdict(stages),
        "batches_microseconds": asdict(batches),
        "hashes_per_second": asdict(rates),
    }
    args.output.write_text(json.dumps(figures, indent=1) + "\n")
    print("\n".join(report(rounds, stages, batches, rates)))
    print(f"\n{args.output} has all figures. {time.monotonic() - begun:.0f} s.")
    return 0
