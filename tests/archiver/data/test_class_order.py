"""The order of the classes is held against the victim's answers: another that fits far better is proposed."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from calpow.archiver.data.class_order import Ints, check_order, compare_with_victim, find_better_order
from calpow.archiver.data.payloads import PayloadFolder, read_folder
from calpow.archiver.errors import ClassOrderError
from calpow.handler.errors import BadPayload
from calpow.handler.leakage.model_inputs import ModelInputs
from calpow.handler.leakage.recording import Call

ANIMALS = PayloadFolder(("bird", "cat", "dog"), ())


def answers(places: Sequence[int], per_class: int, accuracy: float, seed: int = 0) -> tuple[Ints, Ints]:
    """Return answers of a victim with its classes at these places, right with this probability, and the labels."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(places)), per_class)
    guesses = rng.integers(0, len(places), len(labels))
    return np.where(rng.random(len(labels)) < accuracy, np.array(places)[labels], guesses), labels


@pytest.mark.parametrize(("per_class", "accuracy"), [(20, 0.9), (100, 0.5), (10, 1.0)])
def test_the_order_of_a_victims_answers_is_found(per_class: int, accuracy: float) -> None:
    places = [2, 0, 1, 3, 5, 4]
    better = find_better_order(*answers(places, per_class, accuracy), 6)
    assert better is not None
    assert list(better.places) == places
    assert better.right_reordered > accuracy - 0.1
    assert better.right < 0.5


@pytest.mark.parametrize("classes", [2, 10, 200])
@pytest.mark.parametrize("accuracy", [0.0, 0.3, 0.95])
@pytest.mark.parametrize("per_class", [1, 2, 12])
def test_luck_with_few_samples_is_no_other_order(classes: int, accuracy: float, per_class: int) -> None:
    for seed in range(5):
        assert find_better_order(*answers(range(classes), per_class, accuracy, seed), classes) is None


def test_another_order_is_an_error_that_writes_it_as_a_file_to_give(tmp_path: Path) -> None:
    given, labels = answers([1, 2, 0], 20, 0.95)
    with pytest.raises(ClassOrderError) as refusal:
        check_order(given, labels, ANIMALS, tmp_path / "teachers.pt", None)
    proposed = tmp_path / "teachers.pt.classes.json"
    assert json.loads(proposed.read_text()) == {"0": "dog", "1": "bird", "2": "cat"}
    assert str(refusal.value).endswith(
        f"another, which moves 3 classes (0 dog, 1 bird, 2 cat): check {proposed}, and give --classes {proposed}"
    )


def test_a_file_of_another_order_is_not_overwritten(tmp_path: Path) -> None:
    mended = tmp_path / "t.classes.json"
    mended.write_text('["mine"]')
    for _ in range(2):
        with pytest.raises(ClassOrderError, match=r"give --classes .*t\.2\.classes\.json\Z"):
            check_order(*answers([1, 2, 0], 20, 0.95), ANIMALS, tmp_path / "t", None)
    assert mended.read_text() == '["mine"]'
    assert {path.name for path in tmp_path.iterdir()} == {"t.classes.json", "t.2.classes.json"}


def test_what_a_link_names_that_others_have_left_is_not_written(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "t.classes.json").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ClassOrderError, match=r"give --classes .*t\.2\.classes\.json\Z"):
        check_order(*answers([1, 2, 0], 20, 0.95), ANIMALS, tmp_path / "made" / "t", None)
    assert not (tmp_path / "elsewhere").exists()


def test_the_owners_own_order_is_only_warned_of(tmp_path: Path) -> None:
    warning = check_order(*answers([1, 2, 0], 20, 0.95), ANIMALS, tmp_path / "t", tmp_path / "mine.json")
    assert warning is not None
    assert "mine.json, and in" in warning
    assert list(tmp_path.iterdir()) == []


def test_an_order_that_fits_needs_no_words(tmp_path: Path) -> None:
    assert check_order(*answers([0, 1, 2], 20, 0.6), ANIMALS, tmp_path / "t", None) is None


class Shifted:
    """A victim that reads a payload's class from its file, and has it at the next place; it cannot read `bad`."""

    def __init__(self, classes: int) -> None:
        self.classes = classes
        self.rows = 0

    def calls(self, row: Mapping[str, object]) -> Sequence[Call]:
        self.rows += 1
        body = row["body"]
        assert isinstance(body, bytes)
        if body == b"bad":
            raise BadPayload("the model cannot read this payload (ValueError)")
        logits = torch.zeros(1, self.classes)
        logits[0, (int(body) + 1) % self.classes] = 3.0
        return [Call(ModelInputs.of(logits), logits, None)]


def numbered(folder: Path, classes: int, per_class: int) -> PayloadFolder:
    for label in range(classes):
        (folder / f"{label:03}").mkdir(parents=True)
        for number in range(per_class):
            (folder / f"{label:03}" / str(number)).write_text("bad" if number == 1 else str(label))
    return read_folder(folder)


@pytest.mark.parametrize(("classes", "per_class", "most_rows"), [(3, 10, 30), (60, 8, 720)])
def test_some_payloads_show_the_victims_order(classes: int, per_class: int, most_rows: int, tmp_path: Path) -> None:
    victim = Shifted(classes)
    with pytest.raises(ClassOrderError, match="in 100% by another"):
        compare_with_victim(victim, numbered(tmp_path / "data", classes, per_class), tmp_path / "t", None)
    assert victim.rows <= most_rows
    proposed = json.loads((tmp_path / "t.classes.json").read_text())
    assert proposed == {str((label + 1) % classes): f"{label:03}" for label in range(classes)}
