"""A model archive's fingerprint: the same for whatever gives the same answers, another for anything else."""

import json
import zipfile
from pathlib import Path

import pytest

from calpow.archiver.victim.fingerprint import fingerprint
from calpow.handler.errors import VictimError
from calpow.handler.model_archive import MANIFEST, read_manifest

MEMBERS = {"handler.py": b"class Handler: ...", "weights.pt": b"weights", "sizes/small.json": b"{}"}


def mar(folder: Path, config: bytes | None = None, manifest: dict[str, str] | None = None, **changed: bytes) -> Path:
    """Write an archive with a configuration, with members of its manifest, or with members of its own, changed."""
    path = folder / f"{len(list(folder.iterdir()))}.mar"
    section = {"handler": "handler.py", "serializedFile": "weights.pt", "modelName": "model"} | (manifest or {})
    if config is not None:
        section["configFile"] = "model-config.yaml"
    members = MEMBERS | {name.replace("_", "."): content for name, content in changed.items()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        if config is not None:
            archive.writestr("model-config.yaml", config)
        archive.writestr(MANIFEST, json.dumps({"createdOn": str(path), "model": section}))
    return path


@pytest.mark.parametrize(
    "config",
    [
        b"",
        b"minWorkers: 1\nmaxWorkers: 4\n",
        b"batchSize: 4\nmaxBatchDelay: 200\n",
        b"responseTimeout: 300\nstartupTimeout: 300\ndeviceType: gpu\ndeviceIds: [0, 1]\n",
    ],
)
def test_settings_of_the_frontend_leave_the_victim_the_same(tmp_path: Path, config: bytes) -> None:
    assert fingerprint(mar(tmp_path, config)) == fingerprint(mar(tmp_path))


def test_name_version_and_time_leave_the_victim_the_same(tmp_path: Path) -> None:
    renamed = mar(tmp_path, manifest={"modelName": "other", "modelVersion": "2.0"})
    assert fingerprint(renamed) == fingerprint(mar(tmp_path))


def test_anything_that_a_handler_may_read_makes_another_victim(tmp_path: Path) -> None:
    victims = [
        mar(tmp_path),
        mar(tmp_path, b"handler: {profile: true}\nbatchSize: 4\n"),
        mar(tmp_path, b"handler: {profile: false}\n"),
        mar(tmp_path, b"pt2: {compile: {enable: true}}\n"),
        mar(tmp_path, b"- a list\n"),
        mar(tmp_path, b"no: [yaml"),
        mar(tmp_path, weights_pt=b"other weights"),
        mar(tmp_path, handler_py=b"class Other: ..."),
        mar(tmp_path, new_txt=b""),
        mar(tmp_path, manifest={"handler": "handler.py:other"}),
        mar(tmp_path, manifest={"modelFile": "handler.py"}),
    ]
    assert len({fingerprint(victim) for victim in victims}) == len(victims)


def test_the_order_of_settings_does_not_matter(tmp_path: Path) -> None:
    one, other = mar(tmp_path, b"handler: {a: 1, b: 2}\nc: 3\n"), mar(tmp_path, b"c: 3\nhandler: {b: 2, a: 1}\n")
    assert fingerprint(one) == fingerprint(other)


def test_a_copy_is_named_in_messages_as_its_original(tmp_path: Path) -> None:
    bogus = tmp_path / "copy.mar"
    bogus.write_bytes(b"PK not really")
    with pytest.raises(VictimError, match=r"^original\.mar is not a model archive"):
        read_manifest(bogus, Path("original.mar"))
