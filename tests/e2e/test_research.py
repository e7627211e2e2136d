"""The attack of docs/research.md runs when it is pasted, and ART's attacks are charged as in the benchmark."""

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from art.attacks.extraction import CopycatCNN, KnockoffNets
from art.estimators.classification import PyTorchClassifier
from numpy.typing import NDArray

from benchmarks.digits import attacks
from benchmarks.digits import victim as digits_victim
from benchmarks.digits.data import load_splits
from benchmarks.digits.model import DigitNet
from calpow.archiver.server import Server, served
from calpow.archiver.victim.victim_archive import open_victim
from calpow.client.art import ProtectedClassifier
from calpow.handler.ledger.ledger import Ledger
from calpow.handler.ledger.uri import open_ledger
from tests.support.guarded import Protected, protect, train_teachers
from tests.support.in_process import charged_here

pytestmark = [pytest.mark.server, pytest.mark.training, pytest.mark.long]

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "research.md"
URL = "http://127.0.0.1:8080/predictions/digits"


@dataclass(frozen=True)
class Shop:
    """A server of the protected digits, and its ledger."""

    server: Server
    ledger: Ledger
    judged: Protected

    def run(self, account: str, limit: str = "2**30") -> str:
        """Run the document's program as an account, with a limit of hashes; return what it prints."""
        (program,) = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
        program = program.replace(URL, self.server.url("digits")).replace("2**30", limit)
        program = program.replace("cp_...", self.ledger.add_key(account))
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """The demo's digits, protected with few teachers: `digits` takes 200 hashes an answer, `judged` more of the odd."""
    folder = tmp_path_factory.mktemp("digits")
    digits_victim.build(folder)
    teachers = train_teachers(folder, folder / "victim.mar", folder / "victim-train")
    guarded = protect(folder, "digits", folder / "victim.mar", teachers).guarded
    judged = protect(folder, "judged", folder / "victim.mar", teachers, odd_from=1.0)
    uri = f"sqlite:///{folder / 'ledger.db'}"
    archives = {"digits": guarded, "judged": judged.guarded}
    with served(archives, environment={"CALPOW_LEDGER": uri}) as server:
        yield Shop(server, open_ledger(uri), judged)


def test_the_program_steals_and_says_what_it_spent(shop: Shop) -> None:
    printed = shop.run("thief")
    spent = re.search(r"QueryCosts\(queries=200, hashes=(\d+), seconds=[\d.]+\)", printed)
    assert spent, printed
    assert int(spent[1]) >= 200 * 200
    assert shop.ledger.account("digits", "thief").history.queries == 200


def test_the_program_trains_on_what_it_could_pay_for(shop: Shop) -> None:
    printed = shop.run("poor", "10_000")
    assert "more than the limit" in printed
    spent = re.search(r"QueryCosts\(queries=(\d+), hashes=(\d+)", printed)
    assert spent, printed
    assert 20 <= int(spent[1]) <= 60
    assert int(spent[2]) <= 11_000


def png(sample: NDArray[np.float32]) -> bytes:
    """Return a sample as the file that the model reads."""
    return attacks.png((255 * sample[0]).round().astype(np.uint8))


@pytest.mark.parametrize("attack", [KnockoffNets, CopycatCNN])
def test_a_server_charges_an_attack_what_this_process_computes(shop: Shop, attack: Any) -> None:
    rng = np.random.default_rng(0)
    genuine = load_splits()["users"].images[:20, None].astype(np.float32) / 255
    strangers = rng.integers(256, size=(20, 1, 8, 8)).astype(np.float32) / 255
    account = f"in-process-{attack.__name__}"
    victim = ProtectedClassifier(
        shop.server.url("judged"),
        key=shop.ledger.add_key(account),
        classes=10,
        input_shape=(1, 8, 8),
        encode=png,
        decode=lambda answer: answer["probabilities"],
    )
    network = DigitNet()
    optimizer = torch.optim.Adam(network.parameters())
    copy = PyTorchClassifier(
        network, torch.nn.CrossEntropyLoss(), (1, 8, 8), 10, optimizer=optimizer, device_type="cpu"
    )
    attack(victim, nb_stolen=40, nb_epochs=1).extract(np.concatenate([genuine, strangers]), thieved_classifier=copy)
    charged = shop.ledger.account("judged", account).history
    samples, scores = victim.bought
    here = charged_here(shop.judged, torch.from_numpy(samples))
    assert (charged.queries, charged.wealth) == (here.queries, here.wealth)
    assert charged.cost_micro == pytest.approx(here.cost_micro, rel=1e-6)
    assert max(here.wealth) > 0
    with open_victim(shop.judged.victim) as opened:
        output = opened.recorder.ask(torch.from_numpy(samples)).output
    assert output is not None
    np.testing.assert_allclose(scores, output.softmax(1).numpy(), atol=1e-5)
