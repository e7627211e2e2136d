"""The examination of a victim says what its handler makes of payloads, and refuses what cannot be protected."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from calpow.archiver.data.payloads import read_folder
from calpow.archiver.errors import FolderError
from calpow.archiver.victim.examination import Depth, Examination, examine
from calpow.archiver.victim.victim_archive import OpenVictim, open_victim
from calpow.handler.errors import NoDistribution, VictimError
from calpow.handler.leakage.model_inputs import ModelInputs
from calpow.handler.leakage.specs import OutputKind
from calpow.handler.victim import Victim
from tests.support.open_victims import FirstTensorNet, TextHandler, numbers, open_with
from tests.support.victims import build as victims

Make = Callable[[Path], Path]


def examined(home: Path, make: Make, per_class: int = 5) -> Examination:
    mar = make(home)
    victims.vectors(home / "data", per_class)
    with open_victim(mar) as victim:
        return examine(victim, read_folder(home / "data"), seed=0)


def test_it_describes_the_model_its_inputs_its_outputs_and_its_features(tmp_path: Path) -> None:
    found = examined(tmp_path, victims.vector_class)

    assert (found.payloads, found.model.name, found.model.weights) == (20, "VectorNet", 20)
    assert (found.model.weights_dtype, found.model.torch) == ("float32", torch.__version__)
    assert (found.input_shape, found.input_dtype, found.tensors) == ((4,), "float32", ("float32 [1, 4]",))
    assert (found.kind, found.classes) == (OutputKind.logits, 4)
    assert (found.layer, found.width, found.depths) == ("layer", 4, ())
    assert (found.calls_per_payload, found.samples_per_payload) == ((1, 1), (1, 1))
    assert found.rows.in_order
    assert not found.rows.counted
    assert found.repeatable
    assert found.remembers == ()
    assert 0 < found.seconds < 1


def test_inner_layers_that_scores_look_into_are_named_with_their_numbers(tmp_path: Path) -> None:
    victims.vectors(tmp_path, per_class=5)
    deep = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4))
    victim = open_with(deep, lambda text: ModelInputs.of(numbers(text).unsqueeze(0)))
    found = examine(victim, read_folder(tmp_path), seed=0)

    assert (found.layer, found.width) == ("4", 5)
    assert Depth("1", 6) in found.depths


def test_a_list_is_counted_where_each_entry_is_a_sample(tmp_path: Path) -> None:
    mar = victims.json_lists(tmp_path)
    for name, vectors in (("0", "[[1.0, 0, 0, 0], [0.9, 0, 0, 0]]"), ("1", "[[0, 1.0, 0, 0]]")):
        (tmp_path / "data" / name).mkdir(parents=True)
        (tmp_path / "data" / name / "some.json").write_text(vectors)
    for name in ("2", "3"):
        (tmp_path / "data" / name).mkdir()
        (tmp_path / "data" / name / "some.JSON").write_text("[[0, 0, 1.0, 0]]")
    with open_victim(mar) as victim:
        found = examine(victim, read_folder(tmp_path / "data"), seed=0)

    assert found.rows.counted
    assert found.samples_per_payload == (1, 2)


def test_requests_run_one_by_one_where_a_payload_may_hold_several_samples(tmp_path: Path) -> None:
    found = examined(tmp_path, lambda folder: victims.counting(folder, "counting", workers=1, batch=1))

    assert not found.rows.in_order
    assert "one by one" in " ".join(found.remarks)


def test_a_handler_that_keeps_something_of_each_request_is_named(tmp_path: Path) -> None:
    found = examined(tmp_path, victims.hoarding)

    assert found.remembers == ("self.history", "SEEN")
    assert "self.history, SEEN" in found.remarks[0]


def test_a_model_that_never_answers_twice_alike_is_named(tmp_path: Path) -> None:
    found = examined(tmp_path, victims.random)

    assert not found.repeatable
    assert "different answers" in " ".join(found.remarks)


def test_payloads_that_the_handler_reads_none_of_are_refused_at_once(tmp_path: Path) -> None:
    mar = victims.vector_class(tmp_path)
    for name in "0123":
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(5):
            (tmp_path / "data" / name / f"{number}.txt").write_text("1,2,three,4")
    with open_victim(mar) as victim, pytest.raises(FolderError, match=r"none of 8 payloads.*'three'"):
        examine(victim, read_folder(tmp_path / "data"), seed=0)


def test_a_model_of_other_classes_than_the_folders_is_refused(tmp_path: Path) -> None:
    mar = victims.vector_class(tmp_path)
    victims.vectors(tmp_path / "data", per_class=3)
    for file in (tmp_path / "data" / "3").iterdir():
        file.unlink()
    (tmp_path / "data" / "3").rmdir()
    with open_victim(mar) as victim, pytest.raises(NoDistribution, match="4 numbers a sample for 3 classes"):
        examine(victim, read_folder(tmp_path / "data"), seed=0)


def test_a_handler_whose_model_cannot_be_followed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(VictimError):
        examined(tmp_path, victims.bare_function)


class NamingHandler(TextHandler):
    """A handler that loads the names of its classes with the first request."""

    def __init__(self) -> None:
        super().__init__(FirstTensorNet(), lambda text: ModelInputs.of(numbers(text).unsqueeze(0)))
        self.names: dict[int, str] = {}

    def handle(self, data: list[Mapping[str, bytes]], context: object) -> list[str]:
        self.names = self.names or {index: f"class {index}" for index in range(1_000)}
        return super().handle(data, context)


@pytest.mark.parametrize("per_class", [1, 5])
def test_what_is_loaded_with_the_first_request_is_not_taken_for_a_growing_memory(
    tmp_path: Path, per_class: int
) -> None:
    victims.vectors(tmp_path, per_class)
    context = SimpleNamespace(metrics=SimpleNamespace())
    victim = OpenVictim("0" * 64, Victim(SimpleNamespace(_entry_point=NamingHandler().handle, context=context)))
    assert examine(victim, read_folder(tmp_path), seed=0).remembers == ()
