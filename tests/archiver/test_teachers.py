"""Teachers: disjoint data, heads that see nothing else, frozen trunks, and an ensemble that votes well."""

import argparse
import math
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge
from torch import Tensor

from benchmarks.digits.attacks import noise, png
from benchmarks.digits.data import load_splits
from benchmarks.digits.handler import read_digit
from benchmarks.digits.model import DigitNet
from benchmarks.digits.victim import archive
from calpow.archiver.cli import teachers as command
from calpow.archiver.payloads import Folder, FolderError, Payload, read_folder
from calpow.archiver.teachers.duplicates import payload_digests
from calpow.archiver.teachers.heads import LEAST_DEVIATION, RIDGE, fit_heads
from calpow.archiver.teachers.partitions import HELD_BACK, PartitionError, divide, seal
from calpow.archiver.teachers.training import Order, train
from calpow.archiver.teachers.training_set import TrainingError
from calpow.archiver.teachers.trunks import TRUNKS, TrunkError, make_trunk, morlet_bank
from calpow.handler.errors import VictimError
from calpow.handler.leakage.ensemble import Ensemble
from tests.support.victims.build import bare_function, odd, vector_class, vectors


def folder_of(units: list[list[int]]) -> Folder:
    """One list a class, one number a unit: how many files it has."""
    payloads = [
        Payload(Path(f"{label}/{unit}/{file}"), label, f"{label}/{unit}")
        for label, sizes in enumerate(units)
        for unit, size in enumerate(sizes)
        for file in range(size)
    ]
    return Folder(tuple(str(label) for label in range(len(units))), tuple(payloads))


many_units = st.lists(st.lists(st.integers(1, 4), min_size=12, max_size=40), min_size=2, max_size=5)


@settings(max_examples=50, deadline=None)
@given(units=many_units, teachers=st.integers(1, 9), seed=st.integers(0, 2**32 - 1))
def test_partitions_are_stratified_and_leave_no_unit_divided(units: list[list[int]], teachers: int, seed: int) -> None:
    folder = folder_of(units)
    partition = divide(folder, teachers, seed)
    assert partition == divide(folder, teachers, seed)
    owners: dict[str, set[int]] = {}
    for payload, owner in zip(folder.payloads, partition.owners, strict=True):
        owners.setdefault(payload.unit, set()).add(owner)
    assert all(len(each) == 1 for each in owners.values())
    of_class = [
        Counter(min(owners[f"{label}/{unit}"]) for unit in range(len(each))) for label, each in enumerate(units)
    ]
    for counts, sizes in zip(of_class, units, strict=True):
        assert counts[HELD_BACK] == max(1, round(len(sizes) / 10))
        shares = [counts[teacher] for teacher in range(teachers)]
        assert min(shares) >= 1
        assert max(shares) - min(shares) <= 1
    totals = [sum(counts[teacher] for counts in of_class) for teacher in range(teachers)]
    assert max(totals) - min(totals) <= 1


def test_other_seeds_make_other_partitions() -> None:
    folder = folder_of([[1] * 30, [1] * 30])
    assert divide(folder, 3, 0) != divide(folder, 3, 1)


@pytest.mark.parametrize(("each", "teachers"), [(10, 4), (100, 45), (1000, 250), (3, 1)])
def test_by_default_a_teacher_gets_two_units_of_each_class(each: int, teachers: int) -> None:
    assert divide(folder_of([[1] * each, [1] * (each + 50)]), None, 0).teachers == teachers


def test_too_many_teachers_are_refused_with_the_number_that_fits() -> None:
    folder = folder_of([[1] * 50, [8] * 20])
    with pytest.raises(PartitionError, match=r"class 1 has 20 .* give --teachers 18\Z"):
        divide(folder, 19, 0)
    assert divide(folder, 18, 0).teachers == 18


@pytest.mark.parametrize("teachers", [0, -3])
def test_no_teachers_are_refused(teachers: int) -> None:
    with pytest.raises(PartitionError, match="at least one"):
        divide(folder_of([[1] * 20, [1] * 20]), teachers, 0)


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(PartitionError, match="seed cannot be -1"):
        divide(folder_of([[1] * 20, [1] * 20]), 2, -1)


def test_a_class_with_nothing_left_for_a_teacher_is_refused() -> None:
    with pytest.raises(PartitionError, match=r"class 1 has 1 "):
        divide(folder_of([[1] * 20, [4]]), None, 0)


def training_set(n: int, width: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(n)
    labels = torch.arange(n) % 3
    features = torch.randn(n, width, generator=generator) * torch.linspace(0.5, 3, width)
    features[:, 0] += 4 * labels
    return features, labels


@pytest.mark.parametrize(("n", "width"), [(12, 40), (60, 5)])
def test_a_head_is_the_ridge_regression_of_its_own_samples(n: int, width: int) -> None:
    features, labels = training_set(n, width)
    heads = fit_heads(features, labels, torch.zeros(n, dtype=torch.int64), 1, 3)
    deviation = features.double().std(dim=0, correction=0)
    scale = deviation + LEAST_DEVIATION * deviation.mean()
    standard = (features.double() - features.double().mean(dim=0)) / scale
    ridge = Ridge(alpha=RIDGE * float(standard.square().sum()) / n)
    ridge.fit(standard.numpy(), torch.nn.functional.one_hot(labels, 3).numpy())
    expected = torch.from_numpy(ridge.predict(standard.numpy())).float()
    assert torch.allclose(features @ heads.weight + heads.bias, expected, atol=1e-4)


def test_a_teacher_learns_nothing_from_the_data_of_others() -> None:
    features, labels = training_set(60, 8)
    owners = torch.arange(60) // 20
    before = fit_heads(features, labels, owners, 3, 3)
    changed, relabelled = features.clone(), labels.clone()
    changed[owners != 1] = torch.randn(40, 8)
    relabelled[owners != 1] = 0
    after = fit_heads(changed, relabelled, owners, 3, 3)
    second = slice(3, 6)
    assert torch.equal(after.weight[:, second], before.weight[:, second])
    assert torch.equal(after.bias[second], before.bias[second])
    assert not torch.equal(after.weight[:, :3], before.weight[:, :3])


def test_constant_features_and_a_lone_sample_leave_finite_heads() -> None:
    heads = fit_heads(torch.ones(4, 6), torch.tensor([0, 1, 0, 1]), torch.tensor([0, 0, 0, 1]), 2, 2)
    assert bool(torch.isfinite(heads.weight).all())
    assert bool(torch.isfinite(heads.bias).all())


def test_wavelets_have_mean_zero_and_norm_one() -> None:
    bank = morlet_bank(6, 5)
    assert bank.shape == (12, 1, 5, 5)
    assert float(bank.sum(dim=(1, 2, 3)).abs().max()) < 1e-6
    moduli = torch.hypot(bank[:6], bank[6:])
    assert torch.allclose(moduli.sum(dim=(1, 2, 3)), torch.ones(6), atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 9, 200), (2, 65, 65), (4, 128, 96)])
@pytest.mark.parametrize("name", TRUNKS)
def test_images_of_any_size_get_features_of_a_bounded_number(name: str, shape: tuple[int, ...]) -> None:
    images = torch.rand(3, *shape, generator=torch.Generator().manual_seed(0))
    trunk = make_trunk(name, shape, 0)
    features = trunk(images)
    assert features.shape[0] == 3
    assert 100 < features.shape[1] < 2500
    assert bool(torch.isfinite(features).all())
    assert torch.allclose(trunk(images[1:2]), features[1:2], atol=1e-5)


@pytest.mark.parametrize("shape", [(4,), (1, 7, 7), (2, 3, 4, 5), (30_000,)])
def test_inputs_that_are_no_images_get_random_features(shape: tuple[int, ...]) -> None:
    inputs = torch.rand(3, *shape, generator=torch.Generator().manual_seed(0))
    features = make_trunk("random", shape, 0)(inputs)
    assert features.shape == (3, 512 + min(math.prod(shape), 4096))
    assert bool(torch.isfinite(features).all())


@pytest.mark.parametrize("shape", [(1, 8, 8), (5,)])
def test_a_random_trunk_depends_on_its_seed_and_on_nothing_else(shape: tuple[int, ...]) -> None:
    inputs = torch.rand(2, *shape)
    torch.manual_seed(1)
    first = make_trunk("random", shape, 5)(inputs)
    torch.manual_seed(2)
    assert torch.equal(make_trunk("random", shape, 5)(inputs), first)
    assert not torch.equal(make_trunk("random", shape, 6)(inputs), first)


@pytest.mark.parametrize("shape", [(4,), (1, 7, 28), (8, 8)])
def test_scattering_is_refused_for_what_is_no_image(shape: tuple[int, ...]) -> None:
    with pytest.raises(TrunkError, match="take --trunk random"):
        make_trunk("scattering", shape, 0)


def test_an_unknown_trunk_is_refused() -> None:
    with pytest.raises(TrunkError, match="there is no trunk resnet: take one of scattering, random"):
        make_trunk("resnet", (1, 8, 8), 0)


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
    train(Order(digits / "victim.mar", digits / "train", digits / "teachers.pt2", teachers=20))
    return digits / "teachers.pt2"


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
    again = tmp_path / "again.pt2"
    order = Order(digits / "victim.mar", digits / "train", again, teachers=20)
    card = train(order)
    images, _ = users()
    assert card == Ensemble.load(trained).card
    assert torch.equal(Ensemble.load(again).votes(images), Ensemble.load(trained).votes(images))


def test_payloads_that_are_no_images_train_teachers_too(tmp_path: Path) -> None:
    data = vectors(tmp_path / "train", each=40)
    order = Order(vector_class(tmp_path), data, tmp_path / "teachers.pt2", teachers=5)
    card = train(order)
    assert (card.trunk, card.input_shape, card.classes) == ("random", (4,), 4)
    assert card.vote_accuracy > 0.6


def run(*arguments: str | Path) -> int:
    parser = argparse.ArgumentParser()
    command.add_command(parser.add_subparsers())
    parsed = parser.parse_args(["teachers", *map(str, arguments)])
    return int(parsed.run(parsed))


def test_the_command_writes_an_ensemble_and_says_how_good_it_is(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(digits)
    output = tmp_path / "random.pt2"
    assert run("--victim", "victim.mar", "--data", "train", "--output", output, "--trunk", "random", "--seed", "3") == 0
    card = Ensemble.load(output).card
    assert (card.trunk, card.seed, card.teachers) == ("random", 3, 39)
    assert "39 teachers on 2" in capsys.readouterr().out


def test_what_cannot_be_trained_is_refused_before_the_work(digits: Path, tmp_path: Path) -> None:
    victim, data = digits / "victim.mar", digits / "train"
    with pytest.raises(TrainingError, match=r"give a \.pt2 file"):
        train(Order(victim, data, tmp_path / "teachers.pth"))
    with pytest.raises(TrainingError, match="folder that exists"):
        train(Order(victim, data, tmp_path / "nowhere" / "teachers.pt2"))
    with pytest.raises(FolderError, match="no folder"):
        train(Order(victim, tmp_path / "nowhere", tmp_path / "teachers.pt2"))
    with pytest.raises(VictimError, match="does not exist"):
        train(Order(tmp_path / "none.mar", data, tmp_path / "teachers.pt2"))
    with pytest.raises(PartitionError, match="200 teachers"):
        train(Order(victim, data, tmp_path / "teachers.pt2", teachers=200))
    assert not (tmp_path / "teachers.pt2").exists()


@pytest.fixture
def vector_home(tmp_path: Path) -> Path:
    """A victim of four classes, and its data."""
    vectors(tmp_path / "train", each=20)
    vector_class(tmp_path, "victim")
    return tmp_path


def train_vectors(home: Path, **changes: object) -> None:
    members: dict[str, object] = {
        "victim": home / "victim.mar",
        "data": home / "train",
        "output": home / "teachers.pt2",
        "teachers": 3,
    }
    train(Order(**(members | changes)))  # type: ignore[arg-type]  # the test's own mapping


def test_a_payload_that_becomes_nan_is_named(vector_home: Path) -> None:
    (vector_home / "train" / "2" / "7.txt").write_text("0.1,nan,0.2,0.3")
    with pytest.raises(TrainingError, match=r"2/7\.txt: the victim's handler makes NaN or infinite numbers"):
        train_vectors(vector_home)


def test_a_handler_that_makes_the_same_of_everything_is_refused(vector_home: Path) -> None:
    with pytest.raises(TrainingError, match="make the same numbers of every payload"):
        train_vectors(vector_home, victim=odd(vector_home, "blind"))


def test_a_victim_without_a_model_is_refused(vector_home: Path) -> None:
    with pytest.raises(VictimError, match="no model that can be followed"):
        train_vectors(vector_home, victim=bare_function(vector_home))
    assert not (vector_home / "teachers.pt2").exists()


def test_a_handler_without_a_preprocess_is_followed_into_its_model(vector_home: Path) -> None:
    train_vectors(vector_home, victim=odd(vector_home, "logits"))
    assert Ensemble.load(vector_home / "teachers.pt2").card.input_shape == (4,)


def test_data_with_more_classes_than_the_victim_is_refused(vector_home: Path) -> None:
    (vector_home / "train" / "stray").mkdir()
    for number in range(20):
        (vector_home / "train" / "stray" / f"{number}.txt").write_text(f"{number},0,0,0")
    with pytest.raises(TrainingError, match=r"tells 4 classes apart, .*train has 5 class folders: give a folder for"):
        train_vectors(vector_home)


def test_data_with_fewer_classes_than_the_victim_is_trained_on_with_a_warning(
    vector_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(vector_home / "train" / "3")
    train_vectors(vector_home)
    assert "warning: the victim tells 4 classes apart" in capsys.readouterr().err


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
    card = Ensemble.load(vector_home / "teachers.pt2").card
    folder = read_folder(vector_home / "train")
    assert card.partition_digests == seal(divide(folder, 3, 0), payload_digests(folder))
