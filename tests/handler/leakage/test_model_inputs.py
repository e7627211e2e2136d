"""The arguments of a model keep their structure, whatever is done to their tensors."""

from collections import OrderedDict, UserDict, defaultdict, namedtuple

import pytest
import torch
from torch import Tensor

from calpow.handler.leakage.model_inputs import ModelInputs

NUMBERS = torch.arange(6.0).reshape(3, 2)
IDS = torch.arange(6).reshape(3, 2)
Pair = namedtuple("Pair", ["numbers", "ids"])

STRUCTURES = {
    "positions": ModelInputs((NUMBERS, IDS), {}),
    "names": ModelInputs((), {"numbers": NUMBERS, "ids": IDS}),
    "tuple": ModelInputs(((NUMBERS, IDS),), {}),
    "list in a dict": ModelInputs(({"all": [NUMBERS, IDS], "size": 3},), {}),
    "ordered dict": ModelInputs((OrderedDict(numbers=NUMBERS, ids=IDS),), {"flag": True}),
    "user dict": ModelInputs((UserDict({"numbers": NUMBERS, "ids": IDS}),), {}),
    "named tuple": ModelInputs((Pair(NUMBERS, IDS), None), {}),
}


@pytest.mark.parametrize("name", STRUCTURES)
def test_tensors_are_changed_in_their_places_and_all_else_stays(name: str) -> None:
    inputs = STRUCTURES[name]
    doubled = inputs.map(lambda tensor: tensor * 2)
    assert [tensor.dtype for tensor in inputs.tensors] == [torch.float32, torch.int64]
    assert torch.equal(doubled.tensors[0], NUMBERS * 2)
    assert torch.equal(doubled.tensors[1], IDS * 2)
    assert [type(value) for value in doubled.arguments] == [type(value) for value in inputs.arguments]
    assert doubled.named.keys() == inputs.named.keys()
    assert inputs.only_tensor is None


@pytest.mark.parametrize("name", STRUCTURES)
def test_samples_are_taken_apart_by_rows(name: str) -> None:
    rows = STRUCTURES[name].rows(3)
    assert rows is not None
    assert [row.tensors[0].tolist() for row in rows] == [[[0.0, 1.0]], [[2.0, 3.0]], [[4.0, 5.0]]]
    assert [row.tensors[1].tolist() for row in rows] == [[[0, 1]], [[2, 3]], [[4, 5]]]
    assert STRUCTURES[name].rows(2) is None


@pytest.mark.parametrize("extra", [torch.tensor(1.0), torch.zeros(4, 2)])
def test_there_are_no_rows_where_a_tensor_has_none_for_each_sample(extra: Tensor) -> None:
    assert ModelInputs((NUMBERS, extra), {}).rows(3) is None
    assert ModelInputs(("text",), {}).rows(3) is None


def test_only_a_lone_tensor_is_the_only_one() -> None:
    assert ModelInputs.of(NUMBERS).only_tensor is NUMBERS
    assert ModelInputs((), {"numbers": NUMBERS, "scale": 2.0, "other": None}).only_tensor is NUMBERS
    assert ModelInputs((NUMBERS, []), {}).only_tensor is NUMBERS
    assert ModelInputs((NUMBERS, [IDS]), {}).only_tensor is None
    assert ModelInputs(([NUMBERS],), {}).only_tensor is None


def test_equal_inputs_have_equal_types_shapes_and_values() -> None:
    inputs = STRUCTURES["tuple"]
    assert inputs.equals(inputs.copied())
    assert not inputs.equals(inputs.map(lambda tensor: tensor + 1))
    assert not inputs.equals(inputs.map(lambda tensor: tensor[:2]))
    assert not inputs.equals(inputs.map(Tensor.double))
    assert not inputs.equals(ModelInputs.of(NUMBERS))


def test_copies_are_the_callers_own() -> None:
    inputs = STRUCTURES["list in a dict"]
    for tensor in inputs.copied().tensors:
        tensor.zero_()
    assert torch.equal(inputs.tensors[0], NUMBERS)


def test_other_tensors_take_their_places_in_order() -> None:
    swapped = STRUCTURES["names"].replaced([NUMBERS + 1, IDS + 1])
    assert torch.equal(swapped.tensors[0], NUMBERS + 1)
    assert torch.equal(swapped.tensors[1], IDS + 1)


class Labelled(dict[str, object]):
    """A dictionary that is not made from one alone."""

    def __init__(self, label: str, **entries: object) -> None:
        super().__init__(entries)
        self.label = label


@pytest.mark.parametrize("entries", [defaultdict(lambda: NUMBERS, numbers=NUMBERS), Labelled("a", numbers=NUMBERS)])
def test_a_mapping_that_cannot_be_made_anew_becomes_a_plain_one(entries: dict[str, object]) -> None:
    copied = ModelInputs((entries,), {}).copied()
    assert torch.equal(copied.tensors[0], NUMBERS)
    assert copied.tensors[0] is not NUMBERS
