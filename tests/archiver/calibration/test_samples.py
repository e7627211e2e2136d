"""Held-out payloads as samples: their costs, classes and groups."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from calpow.archiver.calibration.samples import BATCH, batches, price_calls, price_folder
from calpow.archiver.data.payloads import read_folder
from calpow.archiver.errors import FolderError
from calpow.archiver.victim.victim_archive import OpenVictim, open_victim
from calpow.handler.leakage.confidence import Gap
from calpow.handler.leakage.input_range import RangeCheck
from calpow.handler.leakage.meter import Meter
from calpow.handler.leakage.model_inputs import ModelInputs
from calpow.handler.leakage.recording import Call
from calpow.handler.leakage.score import ScoredSamples
from calpow.handler.leakage.specs import InputRange, OutputKind, VictimShape
from tests.support.open_victims import FirstTensorNet, PooledNet, Read, numbers, open_with
from tests.support.victims.build import vector_class

READERS: dict[str, Read] = {
    "batch": lambda text: ModelInputs.of(numbers(text).reshape(-1, 4)),
    "sample": lambda text: ModelInputs.of(numbers(text)),
    "tuple": lambda text: ModelInputs(((numbers(text).reshape(-1, 4), torch.ones(1)),), {}),
    "dict": lambda text: ModelInputs(({"rows": numbers(text).reshape(-1, 4), "size": 4},), {}),
    "names": lambda text: ModelInputs((), {"rows": numbers(text).reshape(-1, 4), "mask": torch.ones(1, 4).bool()}),
    "float64": lambda text: ModelInputs.of(numbers(text).reshape(-1, 4).double()),
    "int64": lambda text: ModelInputs.of(numbers(text).reshape(-1, 4).long()),
}


def gap_meter(victim: OpenVictim, shape: VictimShape = VictimShape(4, None, "")) -> Meter:  # noqa: B008  # frozen
    return Meter(victim.recorder, (Gap(),), RangeCheck(InputRange((), ())), shape, OutputKind.logits)


def write(folder: Path, *files: tuple[int, str, str]) -> Path:
    for label, name, text in files:
        path = folder / str(label) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_costs_come_with_the_classes_and_groups_of_their_payloads(tmp_path: Path) -> None:
    names = ((0, "one/a.txt"), (0, "one/b.txt"), (0, "c.txt"), (1, "d.txt"))
    data = write(tmp_path / "data", *((label, name, "1,2,3,4") for label, name in names))
    with open_victim(vector_class(tmp_path, "victim")) as victim:
        meter = gap_meter(victim, VictimShape(4, (4,)))
        samples = price_folder(victim, read_folder(data), meter)
        cost = meter.price(torch.tensor([[1.0, 2, 3, 4]])).costs.item()
    assert samples.costs.tolist() == [[cost]] * 4
    assert samples.labels.tolist() == [3] * 4
    assert samples.classes.tolist() == [0, 0, 0, 1]
    assert len(set(samples.groups[:3].tolist())) == 2
    assert samples.groups_per_class() == [2, 1]


@pytest.mark.parametrize("form", READERS)
def test_arguments_of_any_form_are_priced_alike(tmp_path: Path, form: str) -> None:
    texts = [(label, f"{number}.txt", f"{number},2,{9 * label},4") for label in range(2) for number in range(3)]
    victim = open_with(FirstTensorNet(), READERS[form])
    samples = price_folder(victim, read_folder(write(tmp_path, *texts)), gap_meter(victim))
    plain = open_with(FirstTensorNet(), READERS["batch"])
    expected = price_folder(plain, read_folder(tmp_path), gap_meter(plain))
    assert torch.allclose(samples.costs, expected.costs)
    assert samples.labels.tolist() == expected.labels.tolist() == [3, 3, 3, 2, 2, 2]
    assert samples.classes.tolist() == [0, 0, 0, 1, 1, 1]


def test_sequences_of_different_length_are_priced_together(tmp_path: Path) -> None:
    texts = [(label, f"{count}.txt", ",".join(["1,2,3,4"] * count)) for label in range(2) for count in (1, 5, 2)]
    victim = open_with(PooledNet(), lambda text: ModelInputs.of(numbers(text).reshape(1, -1, 4)))
    samples = price_folder(victim, read_folder(write(tmp_path, *texts)), gap_meter(victim))
    assert samples.costs.shape == (6, 1)
    assert samples.labels.tolist() == [3] * 6


def test_a_payload_of_several_samples_has_a_row_for_each(tmp_path: Path) -> None:
    data = write(tmp_path, (0, "two.txt", "9,0,0,0,0,9,0,0"), (1, "one.txt", "0,0,9,0"))
    victim = open_with(FirstTensorNet(), READERS["batch"])
    samples = price_folder(victim, read_folder(data), gap_meter(victim))
    assert samples.labels.tolist() == [0, 1, 2]
    assert samples.classes.tolist() == [0, 0, 1]
    assert samples.groups[0] == samples.groups[1] != samples.groups[2]


def test_all_payloads_that_cannot_be_read_are_named_together(tmp_path: Path) -> None:
    data = write(
        tmp_path, (0, "a.txt", "1,2,3,4"), (0, "b.txt", "rows"), (1, "c.txt", "columns"), (1, "d.txt", "1,2,3,4")
    )
    victim = open_with(FirstTensorNet(), READERS["batch"])
    with pytest.raises(FolderError, match=r"2 of 4 payloads.*b\.txt.*c\.txt"):
        price_folder(victim, read_folder(data), gap_meter(victim))


def call_of(rows: int | None) -> Call:
    inputs = torch.zeros(1 if rows is None else rows, 3)
    return Call(ModelInputs.of(inputs), inputs if rows is not None else None, None)


def test_calls_are_priced_some_at_a_time_and_keep_their_order() -> None:
    calls = [call_of(rows) for rows in [1] * 100 + [200] + [1] * 3]
    groups = list(batches(calls))
    assert [call for group in groups for call in group] == calls
    assert [len(group) for group in groups] == [BATCH, 37, 3]

    def price(group: list[Call] | object) -> ScoredSamples:
        assert isinstance(group, list)
        rows: Tensor = torch.cat([call.arguments.tensors[0] for call in group])
        return ScoredSamples(torch.zeros(len(rows), 1), torch.zeros(len(rows), dtype=torch.int64))

    assert price_calls(calls, price).costs.shape == (303, 1)
