"""Training: an ensemble that votes well, its card, and refusals before and after the work."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks.digits.attacks import noise, png
from benchmarks.digits.data import load_splits
from benchmarks.digits.handler import read_digit
from benchmarks.digits.model import DigitNet
from benchmarks.digits.victim import archive
from calpow.archiver.data.payloads import read_folder
from calpow.archiver.errors import FolderError, PartitionError, TrainingError
from calpow.archiver.teachers.partitions import divide, partition_digests, payload_digests
from calpow.archiver.teachers.training import TeacherOrder, train
from calpow.client.cli.main import main
from calpow.handler.errors import NoDistribution, VictimError
from calpow.handler.leakage.teachers.ensemble import Ensemble
from tests.support.victims.build import bare_function, odd, vector_class, vectors

pytestmark = pytest.mark.training


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A victim that was never trained, only its handler counts, and the originals of its training set."""
    home = tmp_path_factory.mktemp("digits")
    archive(DigitNet(), home)
    split = load_splits()["victim-train"]
    for image, label, number in zip(split.images, split.labels, split.numbers, strict=True):
        folder = home / "train" / str(label)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.png").write_bytes(png(image))
    return home


@pytest.fixture(scope="module")
def trained(digits: Path) -> Path:
    train(TeacherOrder(digits / "victim.mar", digits / "train", digits / "teachers.pt", teachers=20))
    return digits / "teachers.pt"


def users() -> tuple[Tensor, Tensor]:
    split = load_splits()["users"]
    return torch.stack([read_digit(png(image)) for image in split.images]), torch.from_numpy(split.labels)


def test_the_vote_on_held_out_digits_is_better_than_the_teachers(trained: Path) -> None:
    ensemble = Ensemble.load(trained)
    images, labels = users()
    votes = ensemble.votes(images)
    vote_accuracy = float((votes.argmax(dim=1) == labels).double().mean())
    teacher_accuracy = float(votes.gather(1, labels[:, None]).double().mean() / 20)
    assert vote_accuracy > 0.93
    assert 0.7 < teacher_accuracy < vote_accuracy
    assert abs(ensemble.card.vote_accuracy - vote_accuracy) < 0.08
    assert abs(ensemble.card.teacher_accuracy - teacher_accuracy) < 0.08


def test_teachers_agree_on_digits_and_not_on_noise(trained: Path) -> None:
    ensemble = Ensemble.load(trained)
    rubbish = torch.stack([read_digit(png(image)) for image in noise(200, np.random.default_rng(0))])
    agreement = [ensemble.votes(images).amax(dim=1).double().mean() / 20 for images in (users()[0], rubbish)]
    assert agreement[0] > 0.75
    assert agreement[1] < 0.5


def test_the_card_says_what_was_trained(trained: Path, digits: Path) -> None:
    card = Ensemble.load(trained).card
    assert card.class_names == tuple("0123456789")
    assert (card.classes, card.input_shape, card.teachers, card.trunk) == (10, (1, 8, 8), 20, "scattering")
    assert 900 * 0.89 <= sum(card.partition_sizes) <= 900 * 0.91
    assert max(card.partition_sizes) - min(card.partition_sizes) <= 1
    assert len(card.victim_sha256) == 64


def test_the_same_seed_trains_the_same_teachers(trained: Path, digits: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.pt"
    order = TeacherOrder(digits / "victim.mar", digits / "train", again, teachers=20)
    card = train(order)
    images, _ = users()
    assert card == Ensemble.load(trained).card
    assert torch.equal(Ensemble.load(again).votes(images), Ensemble.load(trained).votes(images))


def test_payloads_that_are_no_images_train_teachers_too(tmp_path: Path) -> None:
    data = vectors(tmp_path / "train", per_class=40)
    order = TeacherOrder(vector_class(tmp_path), data, tmp_path / "teachers.pt", teachers=5)
    card = train(order)
    assert (card.trunk, card.input_shape, card.classes) == ("random", (4,), 4)
    assert card.vote_accuracy > 0.6


def run(*arguments: str | Path) -> int:
    return main(["teachers", *map(str, arguments)])


def test_the_command_writes_an_ensemble_and_says_how_good_it_is(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(digits)
    output = tmp_path / "random.pt"
    assert run("--victim", "victim.mar", "--data", "train", "--output", output, "--trunk", "random", "--seed", "3") == 0
    card = Ensemble.load(output).card
    assert (card.trunk, card.seed, card.teachers) == ("random", 3, 39)
    assert "39 teachers on 2" in capsys.readouterr().out


def test_what_cannot_be_trained_is_refused_before_the_work(digits: Path, tmp_path: Path) -> None:
    victim, data = digits / "victim.mar", digits / "train"
    with pytest.raises(TrainingError, match=r"give a \.pt file"):
        train(TeacherOrder(victim, data, tmp_path / "teachers.pth"))
    with pytest.raises(TrainingError, match="folder that exists"):
        train(TeacherOrder(victim, data, tmp_path / "nowhere" / "teachers.pt"))
    with pytest.raises(FolderError, match="not a folder"):
        train(TeacherOrder(victim, tmp_path / "nowhere", tmp_path / "teachers.pt"))
    with pytest.raises(VictimError, match="does not exist"):
        train(TeacherOrder(tmp_path / "none.mar", data, tmp_path / "teachers.pt"))
    with pytest.raises(PartitionError, match="200 teachers"):
        train(TeacherOrder(victim, data, tmp_path / "teachers.pt", teachers=200))
    assert not (tmp_path / "teachers.pt").exists()


@pytest.fixture
def vector_home(tmp_path: Path) -> Path:
    """A victim of four classes, and its data."""
    vectors(tmp_path / "train", per_class=20)
    vector_class(tmp_path, "victim")
    return tmp_path


def train_vectors(home: Path, **changes: object) -> None:
    members: dict[str, object] = {
        "victim": home / "victim.mar",
        "data": home / "train",
        "output": home / "teachers.pt",
        "teachers": 3,
    }
    train(TeacherOrder(**(members | changes)))  # type: ignore[arg-type]  # the test's own mapping


def test_payloads_that_become_nan_are_named_together(vector_home: Path) -> None:
    for label, number in ((2, 7), (3, 1)):
        (vector_home / "train" / str(label) / f"{number}.txt").write_text(f"0.1,nan,0.2,{label}")
    with pytest.raises(FolderError, match=r"2 of 80 payloads.*2/7\.txt: the model takes numbers up to.*3/1\.txt: "):
        train_vectors(vector_home)


def test_a_handler_that_makes_the_same_of_everything_is_refused(vector_home: Path) -> None:
    with pytest.raises(NoDistribution, match="the same for every input"):
        train_vectors(vector_home, victim=odd(vector_home, "blind"))


def test_a_victim_without_a_model_is_refused(vector_home: Path) -> None:
    with pytest.raises(VictimError, match="no model that can be followed"):
        train_vectors(vector_home, victim=bare_function(vector_home))
    assert not (vector_home / "teachers.pt").exists()


def test_a_handler_without_a_preprocess_is_followed_into_its_model(vector_home: Path) -> None:
    train_vectors(vector_home, victim=odd(vector_home, "logits"))
    assert Ensemble.load(vector_home / "teachers.pt").card.input_shape == (4,)


def test_data_with_more_classes_than_the_victim_is_refused(vector_home: Path) -> None:
    (vector_home / "train" / "stray").mkdir()
    for number in range(20):
        (vector_home / "train" / "stray" / f"{number}.txt").write_text(f"{number},0,0,0")
    with pytest.raises(NoDistribution, match="4 numbers a sample for 5 classes; give data of the victim's classes"):
        train_vectors(vector_home)


def test_data_with_fewer_classes_than_the_victim_is_refused(vector_home: Path) -> None:
    shutil.rmtree(vector_home / "train" / "3")
    with pytest.raises(NoDistribution, match="4 numbers a sample for 3 classes; give data of the victim's classes"):
        train_vectors(vector_home)


def test_copies_are_kept_together_and_counted(vector_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(5):
        shutil.copy(vector_home / "train" / "1" / "0.txt", vector_home / "train" / "1" / f"copy-{number}.txt")
    train_vectors(vector_home)
    assert "5 of 85 payloads are copies of others" in capsys.readouterr().err


def test_weak_teachers_are_trained_with_a_warning(vector_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    generator = torch.Generator().manual_seed(0)
    for file in sorted((vector_home / "train").rglob("*.txt")):
        numbers = torch.rand(4, generator=generator).tolist()
        file.write_text(",".join(map(str, numbers)))
    train_vectors(vector_home)
    (warning,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning:")]
    assert "where guessing is in 25.0%" in warning


def test_partitions_recorded_in_the_card_are_those_of_the_data(vector_home: Path) -> None:
    train_vectors(vector_home)
    card = Ensemble.load(vector_home / "teachers.pt").card
    folder = read_folder(vector_home / "train")
    assert card.partition_digests == partition_digests(divide(folder, 3, 0), payload_digests(folder))
