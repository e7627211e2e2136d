"""Every attack of the benchmark runs over HTTP, and a real server charges it what this process computes."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.attacks import active_learning, mixmatch
from benchmarks.attacks.gated_victim import GatedVictim
from benchmarks.attacks.paper_attacks import paper_attacks
from benchmarks.attacks.thefts.attack_kinds import ATTACK_KINDS
from benchmarks.attacks.thefts.attack_kinds import STRANGERS as STRANGE
from benchmarks.attacks.thief import Thief
from benchmarks.digits import victim as digits_victim
from benchmarks.digits.data import load_splits, write_splits
from benchmarks.range.copies.copying import RECIPES
from benchmarks.range.domain import LabelledInputs
from benchmarks.range.image_sets import image_inputs
from calpow.archiver.server import Server, served
from calpow.client.art import ProtectedClassifier
from calpow.handler.ledger.ledger import Ledger
from calpow.handler.ledger.uri import open_ledger
from tests.support.guarded import Protected, protect, train_teachers
from tests.support.in_process import charged_here
from tests.support.victims import build

pytestmark = [pytest.mark.server, pytest.mark.training, pytest.mark.long]

ANSWERS, OWNED, STRANGERS = 80, 160, 200
HANDLER = Path(build.__file__).with_name("grey_handler.py")
# Attacks that ask for what the thief owns, of which MixMatch leaves half unlabelled.
FEWER = {"mixmatch": OWNED // 2}


@dataclass(frozen=True)
class Shop:
    """A server of protected digits that are sent as JSON numbers, and its ledger."""

    server: Server
    ledger: Ledger
    protected: Protected


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("grey")
    data = write_splits(folder)["victim-train"]
    network = digits_victim.train(*digits_victim.read_split(data))
    weights = folder / "grey.pt"
    torch.save(network.state_dict(), weights)
    model = Path(digits_victim.__file__).with_name("model.py")
    (folder / "plain").mkdir()
    archive = build.archive(folder / "plain", "victim", str(HANDLER), model_file=model, serialized_file=weights)
    protected = protect(folder, "grey", archive, train_teachers(folder, archive, data), odd_from=1.0)
    uri = f"sqlite:///{folder / 'ledger.db'}"
    with served({"grey": protected.guarded}, environment={"CALPOW_LEDGER": uri}) as server:
        yield Shop(server, open_ledger(uri), protected)


@pytest.fixture(autouse=True)
def short_trainings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Copies learn little: their queries matter here."""
    monkeypatch.setattr(active_learning, "ROUNDS", 3)
    monkeypatch.setattr(mixmatch, "FEWEST_STEPS", 30)
    monkeypatch.setattr(mixmatch, "MOST_STEPS", 30)


@pytest.fixture(scope="module")
def thief() -> Thief:
    """A thief who owns some of the users' digits, and noise as strangers."""
    rng = np.random.default_rng(0)
    owned = image_inputs(load_splits()["users"].images[:OWNED, None])
    strangers = image_inputs(rng.integers(256, size=(STRANGERS, 1, 8, 8)).astype(np.uint8))
    recipe = replace(RECIPES["digits"], shown=3_000)
    return Thief(owned, LabelledInputs(strangers, torch.arange(STRANGERS) % 10), recipe, 10, 4)


class ServedVictim:
    """A victim over HTTP, as the attacks of the benchmark ask one in this process."""

    def __init__(self, classifier: ProtectedClassifier) -> None:
        self._classifier = classifier
        self.classes = 10

    @property
    def answers(self) -> int:
        """The number of answers so far."""
        return self._classifier.spent.queries

    def probabilities(self, queries: Tensor) -> Tensor:
        """Return the probabilities [n, classes] that the server answers."""
        if not len(queries):
            return torch.empty(0, self.classes)
        return torch.from_numpy(self._classifier.predict(queries.detach().numpy()))

    def labels(self, queries: Tensor) -> Tensor:
        """Return the classes int64 [n] that the server answers."""
        return self.probabilities(queries).argmax(1)

    def oddness(self, queries: Tensor, policy: str) -> NDArray[np.float64]:
        """Return how far queries are from the mean grey: an order, since no thief has the server's evidence."""
        means: NDArray[np.float64] = (queries.flatten(1).mean(1) - 0.3).abs().double().numpy()
        return means


def numbers(sample: NDArray[np.float32]) -> list[object]:
    """Return a sample as JSON, with all digits of its numbers."""
    values: list[object] = sample.tolist()
    return values


@pytest.mark.parametrize("name", ATTACK_KINDS)
def test_a_server_charges_every_attack_what_this_process_computes(shop: Shop, thief: Thief, name: str) -> None:
    classifier = ProtectedClassifier(
        shop.server.url("grey"),
        key=shop.ledger.add_key(name),
        classes=10,
        input_shape=(1, 8, 8),
        encode=numbers,
        decode=lambda answer: answer["probabilities"],
    )
    victim = ServedVictim(classifier)
    paper_attacks("digits")[name].run(thief, cast(GatedVictim, victim), ANSWERS)
    samples, _ = classifier.bought
    assert len(samples) == FEWER.get(name, ANSWERS)
    charged = shop.ledger.account("grey", name).history
    here = charged_here(shop.protected, torch.from_numpy(samples))
    assert (charged.queries, charged.wealth) == (here.queries, here.wealth)
    assert charged.cost_micro == pytest.approx(here.cost_micro, rel=1e-6)
    assert classifier.spent.hashes >= 200 * len(samples)
    if ATTACK_KINDS[name].data == STRANGE:
        assert max(here.wealth) > 0


def test_unrounded_numbers_arrive_as_they_were_made(shop: Shop) -> None:
    sample = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    classifier = ProtectedClassifier(
        shop.server.url("grey"),
        key=shop.ledger.add_key("exact"),
        classes=10,
        input_shape=(1, 8, 8),
        encode=numbers,
        decode=lambda answer: answer["probabilities"],
    )
    first = classifier.predict(sample.numpy())
    # The same sample is known by its exact numbers: it reveals nothing new.
    assert np.array_equal(classifier.predict(sample.numpy()), first)
    assert shop.ledger.account("grey", "exact").history.queries == 1
