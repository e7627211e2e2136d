"""Held-out payloads as samples: their costs, classes and groups."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from calpow.archiver.calibration import samples
from calpow.archiver.calibration.samples import (
    BATCH,
    batches,
    joined_arguments,
    price_calls,
    price_folder,
    split_batch,
)
from calpow.archiver.data.payloads import read_folder
from calpow.archiver.errors import FolderError
from calpow.archiver.victim.victim_archive import OpenVictim, open_victim
from calpow.handler.errors import CalibrationError
from calpow.handler.leakage.meter import Artefacts, Meter, make_meter
from calpow.handler.leakage.model_inputs import ModelInputs
from calpow.handler.leakage.recording import Call
from calpow.handler.leakage.score import ScoredSamples
from calpow.handler.leakage.specs import InputRange, OutputKind, ScoreName, ScoreSpec, VictimShape
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
    specs = [ScoreSpec(ScoreName.gap, {})]
    return make_meter(victim.recorder, shape, OutputKind.logits, specs, InputRange((), ()), Artefacts())


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
        samples = price_folder(victim, read_folder(data), meter).samples
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
    samples = price_folder(victim, read_folder(write(tmp_path, *texts)), gap_meter(victim)).samples
    plain = open_with(FirstTensorNet(), READERS["batch"])
    expected = price_folder(plain, read_folder(tmp_path), gap_meter(plain)).samples
    assert torch.allclose(samples.costs, expected.costs)
    assert samples.labels.tolist() == expected.labels.tolist() == [3, 3, 3, 2, 2, 2]
    assert samples.classes.tolist() == [0, 0, 0, 1, 1, 1]


def test_sequences_of_different_length_are_priced_together(tmp_path: Path) -> None:
    texts = [(label, f"{count}.txt", ",".join(["1,2,3,4"] * count)) for label in range(2) for count in (1, 5, 2)]
    victim = open_with(PooledNet(), lambda text: ModelInputs.of(numbers(text).reshape(1, -1, 4)))
    samples = price_folder(victim, read_folder(write(tmp_path, *texts)), gap_meter(victim)).samples
    assert samples.costs.shape == (6, 1)
    assert samples.labels.tolist() == [3] * 6


def test_a_payload_of_several_samples_has_a_row_for_each(tmp_path: Path) -> None:
    data = write(tmp_path, (0, "two.txt", "9,0,0,0,0,9,0,0"), (1, "one.txt", "0,0,9,0"))
    victim = open_with(FirstTensorNet(), READERS["batch"])
    samples = price_folder(victim, read_folder(data), gap_meter(victim)).samples
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


def doubled(inputs: ModelInputs) -> ModelInputs:
    return inputs.map(lambda tensor: 2 * tensor)


@pytest.mark.parametrize("form", ["batch", "sample", "tuple"])
def test_changed_samples_are_priced_in_the_order_of_the_samples(tmp_path: Path, form: str) -> None:
    texts = [(label, f"{number}.txt", f"{number},2,{label},4") for label in range(2) for number in range(40)]
    victim = open_with(FirstTensorNet(), READERS[form])
    meter, folder = gap_meter(victim), read_folder(write(tmp_path, *texts))
    priced = price_folder(victim, folder, meter, changes={"doubled": doubled, "none": lambda inputs: inputs})
    assert list(priced.changed) == ["doubled", "none"]
    assert torch.allclose(priced.changed["none"].costs, priced.samples.costs)
    twice = torch.stack([2 * numbers(text) for _, _, text in sorted(texts, key=lambda entry: entry[:2])])
    assert torch.allclose(priced.changed["doubled"].costs, meter.price(twice).costs)


def test_a_change_is_given_up_after_the_samples_that_show_it(tmp_path: Path) -> None:
    texts = [(label, f"{number}.txt", f"{number + 1},0,0,0") for label in range(2) for number in range(2 * BATCH)]
    victim = open_with(FirstTensorNet(), READERS["batch"])
    asked: list[tuple[str, int, int, float]] = []

    def gives_up(name: str, tried: int, lost: int, share: float) -> bool:
        asked.append((name, tried, lost, share))
        return name == "reversed"

    changes = {"reversed": lambda inputs: inputs.map(lambda rows: rows.flip(1)), "none": lambda inputs: inputs}
    folder = read_folder(write(tmp_path, *texts))
    priced = price_folder(victim, folder, gap_meter(victim), changes=changes, gives_up=gives_up)
    assert list(priced.changed) == ["none"]
    assert torch.equal(priced.changed["none"].costs, priced.samples.costs)
    assert priced.given_up["reversed"].labels.tolist() == [3] * BATCH
    # The first class is answered rightly, and not when the numbers are in the opposite order.
    assert asked[:3] == [("reversed", BATCH, BATCH, 0.25), ("none", BATCH, 0, 0.25), ("none", 2 * BATCH, 0, 0.5)]


def test_calls_of_one_batch_each_are_joined_and_samples_without_an_axis_are_not() -> None:
    rows, images = torch.rand(3, 1, 4), torch.rand(3, 3, 8, 8)
    calls = [Call(ModelInputs.of(row), None, None) for row in rows]
    (joined,) = joined_arguments(calls, [1, 1, 1])
    assert torch.equal(joined.tensors[0], rows.flatten(0, 1))
    apart = joined_arguments([Call(ModelInputs.of(image), None, None) for image in images], [1, 1, 1])
    assert [inputs.tensors[0].shape for inputs in apart] == [(3, 8, 8)] * 3
    longer = Call(ModelInputs.of(torch.rand(1, 5)), None, None)
    assert len(joined_arguments([*calls, longer], [1] * 4)) == 4


def test_large_samples_are_joined_in_several_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "MOST_NUMBERS", 9)
    rows = torch.rand(5, 1, 4)
    parts = joined_arguments([Call(ModelInputs.of(row), None, None) for row in rows], [1] * 5)
    assert [len(part.tensors[0]) for part in parts] == [2, 2, 1]
    assert torch.equal(torch.cat([part.tensors[0] for part in parts]), rows.flatten(0, 1))
    assert [len(part) for part in split_batch(torch.rand(2, 10))] == [1, 1], "a batch holds one sample, however large"


def test_a_model_that_does_not_answer_a_changed_sample_is_named_with_the_change(tmp_path: Path) -> None:
    def broken(inputs: ModelInputs) -> ModelInputs:
        return inputs.map(lambda tensor: tensor[..., :2])

    victim = open_with(FirstTensorNet(), READERS["batch"])
    folder = read_folder(write(tmp_path, (0, "a.txt", "1,2,3,4"), (1, "b.txt", "4,3,2,1")))
    with pytest.raises(
        CalibrationError, match=r"\Athe model does not answer samples after the change shift .*leave"
    ) as it:
        price_folder(victim, folder, gap_meter(victim), changes={"shift": broken})
    assert "\n" not in str(it.value)


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
