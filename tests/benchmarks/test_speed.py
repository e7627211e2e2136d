"""The speed benchmark serves its models with batches too, and shows what they gain."""

import json
from pathlib import Path
from zipfile import ZipFile

from benchmarks.load import BATCH_SIZE, BATCHED_CONNECTIONS, BatchedRound
from benchmarks.speed import batching
from benchmarks.speed_table import batched_lines


def test_the_served_version_of_a_model_has_batches(tmp_path: Path) -> None:
    archive = tmp_path / "model.mar"
    with ZipFile(archive, "w") as packed:
        manifest = {"model": {"handler": "handler.py", "modelVersion": "2.5"}}
        packed.writestr("MAR-INF/MANIFEST.json", json.dumps(manifest))
    (settings,) = batching("digits", archive).items()
    version, properties = settings
    assert version == "2.5"
    assert isinstance(properties, dict)
    assert (properties["marName"], properties["batchSize"]) == ("digits.mar", BATCH_SIZE)


def test_rates_with_batches_are_medians_of_the_rounds() -> None:
    rounds = [
        BatchedRound(connections, 1_000.0, prepaid)
        for prepaid in (400, 500, 900)
        for connections in BATCHED_CONNECTIONS
    ]
    *_, row = batched_lines(rounds)
    assert row.split()[-6:] == ["1,000", "500", "0.50"] * 2
