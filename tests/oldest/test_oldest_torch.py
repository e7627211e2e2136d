"""The oldest torch that calpow supports: it serves what a newer one made. `make test-oldest` runs these tests."""

import importlib
import json
import os
import pkgutil
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
import torch
from torch import nn

import calpow.archiver
import calpow.client
import calpow.handler
import calpow.puzzle
from calpow.archiver.errors import TrainingError
from calpow.archiver.server import Server, served, wait_until_ready
from calpow.archiver.teachers.export import OLDEST_EXPORT, export
from calpow.client import PowAuth
from calpow.handler.config import OLDEST_TORCH
from calpow.handler.ledger.uri import open_ledger
from tests.oldest.newest_archives import HEADS, PICTURES, PROGRAM, SCRIPT
from tests.support.guarded import TIMEOUT
from tests.support.own_models import OwnModel

pytestmark = [pytest.mark.oldest, pytest.mark.server, pytest.mark.training]

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 300
SERVED = (HEADS, PICTURES, SCRIPT)


def release(version: str) -> str:
    """Return major and minor of a version."""
    return ".".join(version.split(".")[:2])


@dataclass(frozen=True)
class Newest:
    """Archives that the newest torch made, whose version is `torch`."""

    folder: Path
    torch: str


@dataclass(frozen=True)
class Site:
    """A server that runs on the oldest torch, and a key for it."""

    server: Server
    key: str

    def paid(self, model: str, payload: bytes) -> requests.Response:
        """Ask and do the work."""
        return requests.post(self.server.url(model), data=payload, auth=PowAuth(self.key), timeout=TIMEOUT)


@pytest.fixture(scope="module")
def newest(tmp_path_factory: pytest.TempPathFactory) -> Newest:
    python = os.environ.get("CALPOW_NEWEST_PYTHON", str(ROOT / ".venv" / "bin" / "python"))
    folder = tmp_path_factory.mktemp("newest")
    command = [python, "-m", "tests.oldest.newest_archives", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, timeout=PATIENCE_SECONDS)
    return Newest(folder, json.loads((folder / "torch.json").read_text()))


@pytest.fixture(scope="module")
def running(newest: Newest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    uri = f"sqlite:///{tmp_path_factory.mktemp('site') / 'ledger.db'}"
    archives = {name: newest.folder / f"{name}.mar" for name in (*SERVED, PROGRAM)}
    with served(archives, environment={"CALPOW_LEDGER": uri}, wait=False) as server:
        wait_until_ready(server, SERVED, PATIENCE_SECONDS)
        yield Site(server, open_ledger(uri).add_key("ada"))


def test_the_torch_of_these_tests_is_the_oldest_that_archives_name() -> None:
    assert release(torch.__version__) == OLDEST_TORCH


def test_every_module_of_ours_can_be_imported() -> None:
    for room in (calpow.puzzle, calpow.handler, calpow.archiver, calpow.client):
        for module in pkgutil.walk_packages(room.__path__, f"{room.__name__}."):
            # The adapter of ART needs an extra that is for researchers, and no torch.
            if not module.name.endswith(("__main__", "client.art")):
                importlib.import_module(module.name)


def test_it_exports_no_networks_and_names_the_torch_that_does() -> None:
    with pytest.raises(
        TrainingError, match=rf"^exporting teachers needs torch >= {OLDEST_EXPORT}; here is 2\."
    ) as refusal:
        export(nn.Linear(4, 2), (4,))
    assert str(refusal.value).endswith("upgrade torch, or take --trunk scattering, random or victim")


def test_it_serves_archives_that_the_newest_torch_made(running: Site, newest: Newest) -> None:
    assert release(newest.torch) != release(torch.__version__)
    answers = [running.paid(model, b"0.1,0.9,0.3,0.2") for model in (HEADS, SCRIPT)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert (answers[0].json()["class"], answers[1].text) == (1, "class 1")
    (picture,) = OwnModel(newest.folder / "picture").payloads(1)
    answer = running.paid(PICTURES, picture.read_bytes())
    assert answer.status_code == 200
    assert max(answer.json(), key=answer.json().get) == "digit 0"


def test_it_refuses_a_program_of_a_newer_torch_in_one_line(running: Site, newest: Newest) -> None:
    log = running.server.log()
    (reason,) = set(re.findall(rf"model {PROGRAM} not loaded: (.*)", log))
    assert reason == (
        f"this archive needs torch >= {release(newest.torch)}; the server has {torch.__version__}: upgrade torch, or"
        " train the teachers with --trunk victim, scattering or random"
    )
    assert "Traceback" not in log
