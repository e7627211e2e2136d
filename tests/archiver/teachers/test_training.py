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
from calpow.archiver.data.payloads import BadPayloads, read_folder
from calpow.archiver.errors import FolderError, PartitionError, TrainingError
from calpow.archiver.teachers.partitions import divide, partition_digests, payload_digests
from calpow.archiver.teachers.teacher_order import TeacherOrder
from calpow.archiver.teachers.teacher_plan import default_trunk
from calpow.archiver.teachers.training import train
from calpow.archiver.victim.examination import Examination, ModelFacts
from calpow.archiver.victim.victim_archive import open_victim
from calpow.client.cli.main import main
from calpow.handler.errors import NoDistribution, VictimError
from calpow.handler.leakage.model_inputs import ModelInputs
from calpow.handler.leakage.references import LAST, References
from calpow.handler.leakage.specs import OutputKind
from calpow.handler.leakage.tapping import find_features
from calpow.handler.leakage.teachers.ensemble import Ensemble
from calpow.handler.leakage.teachers.trunks import VICTIM
from calpow.handler.policy.calibrated_policy import BatchRows
from tests.support.victims.build import bare_function, odd, vector_class, vectors

pytestmark = pytest.mark.training


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A victim that was never trained, only its handler counts, and the originals of its training set."""
    home = tmp_path_factory.mktemp("digits")
    with torch.random.fork_rng():
        torch.manual_seed(2)  # with some weights, its answers would fit the classes in another order
        archive(DigitNet(), home)
    split = load_splits()["victim-train"]
    for image, label, number in zip(split.images, split.labels, split.numbers, strict=True):
        folder = home / "train" / str(label)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.png").write_bytes(png(image))
    return home


@pytest.fixture(scope="module")
def trained(digits: Path) -> Path:
    order = TeacherOrder(digits / "victim.mar", digits / "train", digits / "teachers.pt", 20, "scattering")
    train(order)
    return digits / "teachers.pt"


def users() -> tuple[Tensor, Tensor]:
    split = load_splits()["users"]
    return torch.stack([read_digit(png(image)) for image in split.images]), torch.from_numpy(split.labels)


def test_the_vote_on_held_out_digits_is_better_than_the_teachers(trained: Path) -> None:
    ensemble = Ensemble.load(trained)
    images, labels = users()
    votes = torch.from_numpy(ensemble.votes(images))
    vote_accuracy = float((votes.argmax(dim=1) == labels).double().mean())
    teacher_accuracy = float(votes.gather(1, labels[:, None]).double().mean() / 20)
    assert vote_accuracy > 0.93
    assert 0.7 < teacher_accuracy < vote_accuracy
    assert abs(ensemble.card.vote_accuracy - vote_accuracy) < 0.08
    assert abs(ensemble.card.teacher_accuracy - teacher_accuracy) < 0.08


def test_teachers_agree_on_digits_and_not_on_noise(trained: Path) -> None:
    ensemble = Ensemble.load(trained)
    rubbish = torch.stack([read_digit(png(image)) for image in noise(200, np.random.default_rng(0))])
    agreement = [ensemble.votes(images).max(axis=1).mean() / 20 for images in (users()[0], rubbish)]
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
    order = TeacherOrder(digits / "victim.mar", digits / "train", again, 20, "scattering")
    card = train(order)
    images, _ = users()
    assert card == Ensemble.load(trained).card
    assert np.array_equal(Ensemble.load(again).votes(images), Ensemble.load(trained).votes(images))
    assert same(Ensemble.load(again).references, Ensemble.load(trained).references)


def same(one: References | None, other: References | None) -> bool:
    """Return whether both hold the same numbers."""
    if one is None or other is None:
        return one is other
    pairs = [(one.axes, other.axes), (one.prototypes, other.prototypes)]
    return all(set(a) == set(b) and all(torch.equal(a[name], b[name]) for name in a) for a, b in pairs)


def test_teachers_of_every_trunk_carry_what_the_training_data_shows(trained: Path) -> None:
    references = Ensemble.load(trained).references
    assert references is not None
    assert references.layers
    assert {LAST, *references.layers} == set(references.axes) == set(references.prototypes) == set(references.gaussians)
    assert references.mixture is not None
    assert references.mixture.pool == 1
    assert references.token_costs is None


def test_teachers_vote_on_the_victims_projected_features_by_default(digits: Path, tmp_path: Path) -> None:
    output = tmp_path / "teachers.pt"
    card = train(TeacherOrder(digits / "victim.mar", digits / "train", output, teachers=20))
    ensemble = Ensemble.load(output)
    assert ensemble.references is not None
    axes = ensemble.references.axes[LAST]
    assert (card.trunk, card.width, ensemble.on_features) == (VICTIM, axes.shape[1], True)
    with open_victim(digits / "victim.mar") as victim:
        images, labels = users()
        find_features(victim.recorder, ModelInputs.of(images[:1]))
        features = victim.recorder.ask(images).features
    assert features is not None
    votes = torch.from_numpy(ensemble.votes(features @ axes))
    assert float((votes.argmax(dim=1) == labels).double().mean()) == pytest.approx(card.vote_accuracy, abs=0.1)


@pytest.mark.parametrize("trunk", [None, "random"])
def test_payloads_that_are_no_images_train_teachers_too(tmp_path: Path, trunk: str | None) -> None:
    data = vectors(tmp_path / "train", per_class=40)
    order = TeacherOrder(vector_class(tmp_path), data, tmp_path / "teachers.pt", 5, trunk)
    card = train(order)
    assert (card.trunk, card.input_shape, card.classes) == (trunk or VICTIM, (4,), 4)
    assert card.vote_accuracy > 0.6


def found(layer: str, shape: tuple[int, ...] | None, dtype: str = "float32") -> Examination:
    """Return an examination that says this of the victim's features and inputs."""
    facts = ModelFacts("Net", 0, "", "cpu", torch.__version__)
    rows = BatchRows(in_order=True, counted=False)
    once = (1, 1)
    return Examination(
        1, facts, shape, dtype, (), OutputKind.logits, 2, once, once, layer, 4, (), rows, (), True, True, 0.1,
        BadPayloads(),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("layer", "shape", "dtype", "trunk"),
    [
        ("fc", (3, 32, 32), "float32", VICTIM),
        ("fc", (4,), "float32", VICTIM),
        ("fc", None, "int64", VICTIM),
        ("", (3, 32, 32), "float32", "scattering"),
        ("", (4,), "float32", "random"),
        ("", (4,), "int64", VICTIM),
        ("", None, "float32", VICTIM),
    ],
)
def test_the_victims_features_are_the_default_trunk_wherever_it_shows_some(
    layer: str, shape: tuple[int, ...] | None, dtype: str, trunk: str
) -> None:
    assert default_trunk(found(layer, shape, dtype)) == trunk


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
    out = capsys.readouterr().out
    assert "39 teachers on 2" in out
    assert f"{card.share_at_ceiling:.1%} of the votes cost the most that a vote can" in out
    assert "privacy:" not in out


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
    lines = capsys.readouterr().err.splitlines()
    (warning,) = [line for line in lines if line.startswith("warning:")]
    assert "where guessing is in 25.0%" in warning
    assert any("trunk" in line and "at the highest cost" in line for line in lines if line.startswith("note:"))


def test_the_command_says_what_the_guarantee_covers_on_the_victims_features(
    vector_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = {"--victim": "victim.mar", "--data": "train", "--output": "teachers.pt"}
    assert run(*[word for name, file in arguments.items() for word in (name, vector_home / file)]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("privacy:")]
    assert "covers the heads" in line
    assert "not the features" in line


def test_partitions_recorded_in_the_card_are_those_of_the_data(vector_home: Path) -> None:
    train_vectors(vector_home)
    card = Ensemble.load(vector_home / "teachers.pt").card
    folder = read_folder(vector_home / "train")
    assert card.partition_digests == partition_digests(divide(folder, 3, 0), payload_digests(folder))
