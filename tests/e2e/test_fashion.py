"""The paper's victim on Fashion-MNIST, protected with the defaults: strangers pay, and honest users do not."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pytest
import requests
import torch
from torch import Tensor

from benchmarks.range.domain import StrangerMaker
from benchmarks.range.image_sets import FASHION_FOLDER
from benchmarks.range.strangers.foreign import natural_crops
from benchmarks.range.strangers.rendered import glyphs
from benchmarks.range.strangers.textures import uniform_noise
from calpow.archiver.server import Server, served
from calpow.client import PowAuth
from calpow.client.cli.main import main
from calpow.client.errors import WorkLimitExceeded
from calpow.handler.leakage.teachers.ensemble import Ensemble
from calpow.handler.leakage.teachers.trunks import VICTIM
from calpow.handler.ledger.ledger import Ledger
from calpow.handler.ledger.uri import open_ledger
from calpow.handler.policy.calibrated_policy import CalibratedPolicy, PolicyName
from calpow.handler.policy.calibration_file import load_policy
from tests.support.garments import Garments, pngs, write_garments
from tests.support.guarded import TIMEOUT
from tests.support.quick_timing import quick_timing

pytestmark = [
    pytest.mark.server,
    pytest.mark.training,
    pytest.mark.long,
    pytest.mark.skipif(not FASHION_FOLDER.is_dir(), reason="needs Debian's dataset-fashion-mnist"),
]

HONEST_QUERIES = 100
# A thief gives up where an answer costs so many floors, which he meets within so many queries.
DEAR, PATIENCE = 500, 40
# New accounts begin a little above the floor.
AFFORDABLE = 2.0


@dataclass(frozen=True)
class Shop:
    """A server of the victim as it was, `plain`, and of the protected one, `guarded`."""

    garments: Garments
    server: Server
    ledger: Ledger
    policy: CalibratedPolicy

    def announced(self, account: str, payloads: Sequence[bytes], most: int) -> list[float]:
        """Ask for the payloads in order; return the floors of the next sample that each answer announced.

        Raises WorkLimitExceeded when an answer takes more than `most` floors.
        """
        floor = self.policy.floor_seconds
        auth = PowAuth(self.ledger.add_key(account), max_hashes=int(self.policy.solver.work(most * floor)))
        prices = []
        with requests.Session() as session:
            session.auth = auth
            for payload in payloads:
                answer = session.post(self.server.url("guarded"), data=payload, timeout=TIMEOUT)
                assert answer.content == self.plain(payload)
                prices.append(self.policy.solving_seconds(int(answer.headers["PoW-Next"])) / floor)
        return prices

    def plain(self, payload: bytes) -> bytes:
        return requests.post(self.server.url("plain"), data=payload, timeout=TIMEOUT).content


@pytest.fixture(scope="module")
def garments(tmp_path_factory: pytest.TempPathFactory) -> Garments:
    """The victim and its payloads, in a folder where teachers and calibration are made with the default settings."""
    home = tmp_path_factory.mktemp("garments")
    garments = write_garments(home)
    parts = ("--victim", "victim.mar", "--ensemble", "teachers.pt")
    with pytest.MonkeyPatch.context() as patch, quick_timing():
        patch.chdir(home)
        assert main(("teachers", "--victim", "victim.mar", "--data", "train", "--output", "teachers.pt")) == 0
        assert main(("calibrate", *parts, "--data", "heldout")) == 0
        assert main(("archive", *parts, "--calibration", "calibration.json", "--model-name", "guarded")) == 0
    return garments


@pytest.fixture(scope="module")
def shop(garments: Garments) -> Iterator[Shop]:
    uri = f"sqlite:///{garments.folder / 'ledger.db'}"
    archives = {"guarded": garments.folder / "guarded.mar", "plain": garments.folder / "victim.mar"}
    policy = load_policy(garments.folder / "calibration.json")
    with served(archives, environment={"CALPOW_LEDGER": uri}) as server:
        yield Shop(garments, server, open_ledger(uri), policy)


def test_the_defaults_are_teachers_on_the_victims_features_and_bets_on_several_scores(garments: Garments) -> None:
    policy = load_policy(garments.folder / "calibration.json")
    assert Ensemble.load(garments.folder / "teachers.pt", "cpu").card.trunk == VICTIM
    assert policy.name is PolicyName.evidence
    assert policy.scores[0].name.value == "pate"
    assert len(policy.evidence.tests) > 1


def test_an_honest_user_of_all_classes_pays_little_above_the_floor(shop: Shop) -> None:
    prices = shop.announced("ada", shop.garments.payloads(HONEST_QUERIES), most=20)
    assert np.mean(prices) <= AFFORDABLE


def test_an_honest_user_of_one_class_pays_little_above_the_floor(shop: Shop) -> None:
    prices = shop.announced("bob", shop.garments.payloads_of(5, HONEST_QUERIES), most=20)
    assert np.mean(prices) <= AFFORDABLE


def test_an_honest_user_of_noisy_images_pays_little_above_the_floor(shop: Shop) -> None:
    images = shop.garments.fresh.inputs[HONEST_QUERIES : 2 * HONEST_QUERIES]
    noisy = (images + 0.05 * torch.randn(images.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    assert np.mean(shop.announced("eve", list(pngs(noisy)), most=20)) <= AFFORDABLE


@pytest.mark.parametrize("kind", [natural_crops, glyphs, uniform_noise])
def test_a_thief_who_sends_strangers_is_soon_asked_for_hundreds_of_floors(shop: Shop, kind: StrangerMaker) -> None:
    strangers: Tensor = kind(shop.garments.fresh.inputs, PATIENCE, np.random.default_rng(0))
    with pytest.raises(WorkLimitExceeded):
        shop.announced(f"thief of {kind.__name__}", list(pngs(strangers)), most=DEAR)
