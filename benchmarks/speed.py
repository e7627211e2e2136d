"""Throughput of a protected model, and the time of a query by stage: run after `make demo`, takes two minutes.

python -m benchmarks.speed
"""

import argparse
import json
import os
import platform
import random
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

import requests

from benchmarks import load, mint
from benchmarks.speed_table import Figures, table
from benchmarks.wire import BadAnswer
from calpow.archiver.server import served
from calpow.handler.model_archive import read_manifest
from calpow.puzzle.errors import CalpowError

if TYPE_CHECKING:
    from benchmarks.stages import Batches, Stages

ROOT = Path(__file__).resolve().parents[1]
HOME = ROOT / "demo"
PROTECTED, UNPROTECTED = "digits", "unprotected"
SEED = 7


def main() -> int:
    """Measure, write the figures, print the table."""
    parser = argparse.ArgumentParser(prog="benchmarks.speed", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--victim", type=Path, default=HOME / "victim.mar", help="the .mar without protection")
    parser.add_argument("--archive", type=Path, default=ROOT / "model_store" / "digits.mar", help="the protected one")
    parser.add_argument("--payloads", type=Path, default=HOME / "users", help="folder of honest users' PNG files")
    parser.add_argument("--output", type=Path, default=HOME / "speed.json", help="file for the figures")
    args = parser.parse_args()
    for path in (args.victim, args.archive, args.payloads):
        if not path.exists():
            parser.error(f"{path} does not exist: run make demo first")
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


def measure(victim: Path, archive: Path, payloads: Sequence[bytes], folder: Path) -> Figures:
    """Measure everything; ledgers are kept below `folder` meanwhile: on a disk, as real ones are."""
    scratch = Path(tempfile.mkdtemp(prefix="speed-", dir=folder)).resolve()
    try:
        print("minting stamps ...", flush=True)
        rates = mint.measure()
        uri = f"sqlite:///{scratch / 'served.db'}"
        archives = {PROTECTED: archive, UNPROTECTED: victim}
        with served(archives, config=ROOT / "config.properties", environment={"CALPOW_LEDGER": uri}) as server:
            site = load.ServedModel(server.url(UNPROTECTED), server.url(PROTECTED), uri, payloads)
            print("a TorchServe under load ...", flush=True)
            rounds = load.measure(site)
            print("the stages of a query ...", flush=True)
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
                stages, batches = process.submit(measure_stages, archive.resolve(), scratch, site).result()
        print("a TorchServe that batches ...", flush=True)
        batched = measure_batched(archives, f"sqlite:///{scratch / 'batched.db'}", payloads)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return Figures(rounds, batched, stages, batches, rates)


def measure_batched(archives: Mapping[str, Path], uri: str, payloads: Sequence[bytes]) -> list[load.BatchedRound]:
    """Measure a server that runs up to BATCH_SIZE requests as one batch."""
    properties = {"models": json.dumps({name: batching(name, path) for name, path in archives.items()})}
    environment = {"CALPOW_LEDGER": uri}
    with served(archives, config=ROOT / "config.properties", properties=properties, environment=environment) as server:
        site = load.ServedModel(server.url(UNPROTECTED), server.url(PROTECTED), uri, payloads)
        return load.measure_batched(site)


def batching(name: str, archive: Path) -> Mapping[str, object]:
    """TorchServe's settings of a model with batches."""
    settings = {
        "defaultVersion": True,
        "marName": f"{name}.mar",
        "minWorkers": 1,
        "maxWorkers": 1,
        "batchSize": load.BATCH_SIZE,
        "maxBatchDelay": load.BATCH_DELAY_MILLISECONDS,
        "responseTimeout": 60,
    }
    return {str(read_manifest(archive)["modelVersion"]): settings}


def measure_stages(archive: Path, scratch: Path, site: load.ServedModel) -> "tuple[Stages, Batches]":
    """`benchmarks.stages.measure`, which brings torch into whoever calls it."""
    from benchmarks import stages

    return stages.measure(archive, scratch, site)


def shuffled(folder: Path) -> list[bytes]:
    """Every honest payload once, in random order."""
    files = sorted(folder.rglob("*.png"))
    random.Random(SEED).shuffle(files)
    return [file.read_bytes() for file in files]


def document(figures: Figures) -> dict[str, object]:
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
