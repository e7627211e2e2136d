"""Independent teachers: each on its own data, the same after every interruption."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from calpow.archiver.errors import NetworkError, TrainingError
from calpow.archiver.teachers.checkpoints import Checkpoints
from calpow.archiver.teachers.independent import train_networks
from calpow.archiver.teachers.networks import MNISTNET, Architecture
from calpow.archiver.teachers.teacher_order import TeacherOrder
from calpow.archiver.teachers.training import train
from calpow.handler.leakage.teachers.ensemble import Ensemble
from tests.support.victims.build import vector_class, vectors

pytestmark = pytest.mark.training


NETS = Path(__file__).parents[2] / "support" / "victims" / "teacher_nets.py"

SHAPE = (4,)


def architecture(name: str) -> Architecture:
    return Architecture(f"{NETS}:{name}", 4, SHAPE)


def training_data(n: int = 80) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(n) % 4
    inputs = torch.rand(n, 4, generator=generator) + 0.7 * torch.nn.functional.one_hot(labels, 4)
    return inputs, labels, torch.arange(n) // (n // 2)


def test_a_teacher_learns_nothing_from_the_data_of_others(tmp_path: Path) -> None:
    inputs, labels, owners = training_data()
    other, relabelled = inputs.clone(), labels.clone()
    other[owners == 0] = torch.rand(40, 4)
    relabelled[owners == 0] = 0
    trained = [
        train_networks(architecture("normed"), values, truth, owners, 2, 3, 7, Checkpoints(tmp_path / str(number), {}))
        for number, (values, truth) in enumerate([(inputs, labels), (other, relabelled)])
    ]
    before, after = (ensemble.networks[1].state_dict() for ensemble in trained)
    assert all(torch.equal(before[name], after[name]) for name in before)
    first, second = (ensemble.networks[0].state_dict() for ensemble in trained)
    assert not all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(
    ("name", "words"), [("exploding", "gives NaN or infinite scores"), ("dead", "gives the same scores for all its 40")]
)
def test_a_teacher_that_learned_nothing_is_refused(tmp_path: Path, name: str, words: str) -> None:
    with pytest.raises(TrainingError, match=rf"teacher \d {words}"):
        train_networks(architecture(name), *training_data(), 2, 1, 0, Checkpoints(tmp_path / "x", {}))


def test_a_network_that_refuses_its_samples_is_named(tmp_path: Path) -> None:
    inputs, labels, _ = training_data(9)
    owners = torch.tensor([0] + 8 * [1])  # teachers are trained at the same time: only one of them may fail
    with pytest.raises(TrainingError, match=r"teacher 0 cannot be trained on 1 samples: .*more than 1 value"):
        train_networks(architecture("normed"), inputs, labels, owners, 2, 1, 0, Checkpoints(tmp_path / "x", {}))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("independent")
    vectors(folder / "train", per_class=40)
    vector_class(folder, "victim")
    return folder


def order(home: Path, output: Path, **changes: object) -> TeacherOrder:
    members: dict[str, object] = {
        "victim": home / "victim.mar",
        "data": home / "train",
        "output": output,
        "teachers": 6,
        "trunk": "none",
        "network": f"{NETS}:normed",
        "epochs": 60,
        "seed": 3,
    }
    return TeacherOrder(**(members | changes))  # type: ignore[arg-type]  # the test's own mapping


@pytest.fixture(scope="module")
def trained(home: Path) -> Path:
    train(order(home, home / "teachers.pt"))
    return home / "teachers.pt"


def test_the_card_says_how_independent_teachers_were_made(trained: Path) -> None:
    card = Ensemble.load(trained).card
    assert (card.trunk, card.network, card.epochs, card.teachers) == ("none", "teacher_nets.py:normed", 60, 6)
    assert card.measured_on == 16
    assert card.worst_teacher_accuracy <= card.teacher_accuracy
    assert card.vote_accuracy > 0.6
    assert not (trained.parent / "teachers.pt.partial").exists()


def test_the_artefact_votes_without_the_architectures_code(trained: Path) -> None:
    code = (
        "import sys, torch; from pathlib import Path; from calpow.handler.leakage.teachers.ensemble import Ensemble;"
        f"votes = Ensemble.load(Path({str(trained)!r})).votes(torch.rand(300, 4));"
        "assert votes.sum(1).tolist() == [6] * 300 and votes.dtype == 'int64';"
        "assert not [name for name in sys.modules if 'archiver' in name or 'teacher_nets' in name]"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd="/")


def votes_of(path: Path) -> torch.Tensor:
    values = 2 * torch.rand(500, 4, generator=torch.Generator().manual_seed(1))
    return torch.from_numpy(Ensemble.load(path).votes(values))


def test_another_seed_makes_other_teachers(home: Path, trained: Path, tmp_path: Path) -> None:
    train(order(home, tmp_path / "other.pt", seed=4))
    assert not torch.equal(votes_of(tmp_path / "other.pt"), votes_of(trained))


def command(home: Path, output: Path) -> "subprocess.Popen[str]":
    arguments = ["--victim", home / "victim.mar", "--data", home / "train", "--output", output, "--teachers", 6]
    arguments += ["--trunk", "none", "--network", f"{NETS}:normed", "--epochs", 60, "--seed", 3]
    return subprocess.Popen(
        [sys.executable, "-m", "calpow.client", "teachers", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def wait_for_teachers(folder: Path, count: int) -> None:
    deadline = time.monotonic() + 60
    while len(list(folder.rglob("teacher-*.pt"))) < count:
        assert time.monotonic() < deadline
        time.sleep(0.002)


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGINT])
def test_an_interrupted_training_goes_on_and_ends_as_an_uninterrupted_one(
    home: Path, trained: Path, tmp_path: Path, blow: signal.Signals
) -> None:
    output = tmp_path / "teachers.pt"
    process = command(home, output)
    wait_for_teachers(tmp_path, 1)
    if blow == signal.SIGKILL:
        process.kill()
    else:
        os.killpg(process.pid, blow)
    _, stderr = process.communicate(timeout=30)
    assert not output.exists()
    if blow == signal.SIGINT:
        assert process.returncode == 130
        assert stderr.splitlines()[-1] == "calpow: interrupted"
        assert "Traceback" not in stderr
    left = len(list(tmp_path.rglob("teacher-*.pt")))
    assert left >= 1
    again = command(home, output)
    _, stderr = again.communicate(timeout=90)
    assert again.returncode == 0
    assert "continuing the training of teachers.pt that was interrupted" in stderr
    assert torch.equal(votes_of(output), votes_of(trained))
    assert Ensemble.load(output).card == Ensemble.load(trained).card
    assert list(tmp_path.iterdir()) == [output]


def test_checkpoints_of_another_order_are_left_alone(home: Path, trained: Path, tmp_path: Path) -> None:
    output = tmp_path / "teachers.pt"
    process = command(home, output)
    wait_for_teachers(tmp_path, 1)
    process.kill()
    process.communicate(timeout=30)
    before = sorted(tmp_path.rglob("teacher-*.pt"))
    train(order(home, output, epochs=59))
    assert sorted(tmp_path.rglob("teacher-*.pt")) == before
    assert not torch.equal(votes_of(output), votes_of(trained))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"trunk": "scattering"}, "give --trunk none"),
        ({"trunk": None, "epochs": None}, "give --trunk none"),
        ({"epochs": 0}, "at least one"),
        ({"weights": NETS}, "give --trunk torchvision:resnet18"),
        ({"network": None}, "mnistnet is for inputs of shape"),
        ({"network": MNISTNET}, "mnistnet is for inputs of shape"),
        ({"network": f"{NETS}:single"}, "torch.export cannot store the network for batches of any size"),
    ],
)
def test_orders_that_contradict_themselves_are_refused(
    home: Path, tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    with pytest.raises((TrainingError, NetworkError), match=words) as refusal:
        train(order(home, tmp_path / "teachers.pt", **changes))
    assert "\n" not in str(refusal.value)
    assert list(tmp_path.iterdir()) == []
