"""The figures of `benchmarks.speed`, and their measurement."""

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.mint import mint_rates
from benchmarks.serving import load
from benchmarks.serving.demo_model import PROTECTED, ROOT, UNPROTECTED, batching
from benchmarks.serving.load import BatchedRound, Round, ServedModel
from calpow.archiver.server import served

if TYPE_CHECKING:
    from benchmarks.speed.batch_times import Batches
    from benchmarks.speed.query_stages import Stages


@dataclass(frozen=True)
class SpeedFigures:
    """All figures of a run."""

    rounds: Sequence[Round]
    batched: Sequence[BatchedRound]
    stages: "Stages"
    batches: "Batches"
    rates: mint_rates.MintRates


def measure(victim: Path, archive: Path, payloads: Sequence[bytes], folder: Path) -> SpeedFigures:
    """Measure everything; ledgers are kept below `folder` meanwhile: on a disk, as real ones are."""
    scratch = Path(tempfile.mkdtemp(prefix="speed-", dir=folder)).resolve()
    try:
        print("minting stamps ...", flush=True)
        rates = mint_rates.measure()
        uri = f"sqlite:///{scratch / 'served.db'}"
        archives = {PROTECTED: archive, UNPROTECTED: victim}
        with served(archives, config=ROOT / "config.properties", environment={"CALPOW_LEDGER": uri}) as server:
            site = ServedModel(server.url(UNPROTECTED), server.url(PROTECTED), uri, payloads)
            print("a TorchServe under load ...", flush=True)
            rounds = load.measure(site)
            print("the stages of a query ...", flush=True)
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
                stages, batches = process.submit(measure_stages, archive.resolve(), scratch, site).result()
        print("a TorchServe that batches ...", flush=True)
        batched = measure_batched(archives, f"sqlite:///{scratch / 'batched.db'}", payloads)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return SpeedFigures(rounds, batched, stages, batches, rates)


def measure_batched(archives: Mapping[str, Path], uri: str, payloads: Sequence[bytes]) -> list[BatchedRound]:
    """Measure a server that runs up to BATCH_SIZE requests as one batch."""
    properties = {"models": json.dumps({name: batching(name, path) for name, path in archives.items()})}
    environment = {"CALPOW_LEDGER": uri}
    with served(archives, config=ROOT / "config.properties", properties=properties, environment=environment) as server:
        site = ServedModel(server.url(UNPROTECTED), server.url(PROTECTED), uri, payloads)
        return load.measure_batched(site)


def measure_stages(archive: Path, scratch: Path, site: ServedModel) -> "tuple[Stages, Batches]":
    """`benchmarks.speed.query_stages.measure`, which brings torch into whoever calls it."""
    from benchmarks.speed import query_stages

    return query_stages.measure(archive, scratch, site)
