"""The demo's model is served with batches, where a measurement is about them."""

import json
from pathlib import Path
from zipfile import ZipFile

from benchmarks.serving.demo_model import BATCH_SIZE, batching


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
