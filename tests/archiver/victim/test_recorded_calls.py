"""The calls of a victim's model on payloads: bad payloads together, and the form of inputs and outputs."""

from pathlib import Path

import pytest
import torch
from torch import nn

from calpow.archiver.data.payloads import BadPayloads, PayloadFolder, read_folder
from calpow.archiver.errors import FolderError
from calpow.archiver.victim.recorded_calls import (
    MOST_BAD_AT_FIRST,
    joined_inputs,
    output_kind,
    read_payloads,
    recorded_calls,
    shared_dtype,
    shared_shape,
    some_calls,
)
from calpow.handler.errors import BareClass
from calpow.handler.leakage.model_inputs import ModelInputs
from calpow.handler.leakage.recording import Call
from calpow.handler.leakage.specs import OutputKind
from calpow.handler.leakage.tapping import find_features
from tests.support.open_victims import FirstTensorNet, numbers, open_with

LOGITS = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))


def folder_of(path: Path, *texts: str) -> PayloadFolder:
    for number, text in enumerate(texts):
        (path / str(number % 2)).mkdir(parents=True, exist_ok=True)
        (path / str(number % 2) / f"{number:03}.txt").write_text(text)
    return read_folder(path)


VICTIM = open_with(FirstTensorNet(), lambda text: ModelInputs.of(numbers(text).unsqueeze(0)))


def test_payloads_come_with_their_calls_in_order(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "1,2,3,4", "4,3,2,1", "0,0,1,0")
    for payload, calls in recorded_calls(VICTIM, folder.payloads):
        (call,) = calls
        assert torch.equal(call.arguments.tensors[0][0], numbers(payload.path.read_text()))


@pytest.mark.parametrize("bad", ["words", "1,nan,2,3", "1,inf,2,3", "1,1e30,2,3"])
def test_payloads_that_a_worker_would_refuse_are_named_together(tmp_path: Path, bad: str) -> None:
    folder = folder_of(tmp_path, "1,2,3,4", bad, bad, "0,0,1,0")
    with pytest.raises(FolderError, match=r"2 of 4 payloads.*0/002\.txt: .*1/001\.txt: "):
        list(recorded_calls(VICTIM, folder.payloads))


def test_a_victim_that_reads_nothing_is_given_up_early(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, *["words"] * (3 * MOST_BAD_AT_FIRST))
    with pytest.raises(FolderError, match=f"none of {MOST_BAD_AT_FIRST} payloads"):
        list(recorded_calls(VICTIM, folder.payloads))


def test_some_payloads_are_chosen_by_the_seed(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, *[f"{number},0,0,1" for number in range(30)])

    def firsts(seed: int) -> list[float]:
        return [float(call.arguments.tensors[0][0, 0]) for call in some_calls(VICTIM, folder.payloads, 8, seed)]

    assert len(set(firsts(1))) == 8
    assert firsts(1) == firsts(1) != firsts(2)


def test_payloads_are_read_once_with_the_taps_that_the_first_call_shows_a_need_for(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "words", "1,2,3,4", "4,3,2,1")
    victim = open_with(FirstTensorNet(), lambda text: ModelInputs.of(numbers(text).unsqueeze(0)))
    read = read_payloads(victim, folder.payloads, lambda call: find_features(victim.recorder, call.arguments))
    assert [payload.path.name for payload in read] == ["002.txt", "001.txt"]
    assert [call.features.tolist() for calls in read.values() for call in calls if call.features is not None] == [
        [[4.0, 3.0, 2.0, 1.0]],
        [[1.0, 2.0, 3.0, 4.0]],
    ]


def test_the_handler_does_not_run_on_payloads_whose_calls_are_known(tmp_path: Path) -> None:
    texts: list[str] = []

    def read(text: str) -> ModelInputs:
        texts.append(text)
        return ModelInputs.of(numbers(text).unsqueeze(0))

    folder = folder_of(tmp_path, "1,2,3,4", "words", "4,3,2,1")
    victim = open_with(FirstTensorNet(), read)
    known = dict(recorded_calls(victim, folder.payloads[:1]))
    texts.clear()
    bad = BadPayloads()
    again = dict(recorded_calls(victim, folder.payloads, bad=bad, known=known))
    assert texts == ["4,3,2,1", "words", "words"], "once more for advice on the part"
    assert again[folder.payloads[0]] is known[folder.payloads[0]]
    assert list(again) == [folder.payloads[0], folder.payloads[1]]
    assert len(bad.reasons) == 1


def calls_of(*inputs: torch.Tensor | ModelInputs) -> list[Call]:
    arguments = [given if isinstance(given, ModelInputs) else ModelInputs.of(given) for given in inputs]
    return [Call(given, LOGITS[:1], None) for given in arguments]


@pytest.mark.parametrize(
    ("calls", "shape", "dtype"),
    [
        (calls_of(torch.zeros(1, 4), torch.zeros(1, 4)), (4,), "float32"),
        (calls_of(torch.zeros(4), torch.zeros(4)), (4,), "float32"),
        (calls_of(torch.zeros(1, 3, 8, 8).half()), (3, 8, 8), "float16"),
        (calls_of(torch.zeros(1, 4).bfloat16()), (4,), "bfloat16"),
        (calls_of(torch.zeros(1, 4).bool()), (4,), "bool"),
        (calls_of(torch.zeros(1, 4).long(), torch.zeros(1, 5).long()), None, "int64"),
        (calls_of(torch.zeros(1, 4), torch.zeros(1, 4).double()), (4,), ""),
        (calls_of(ModelInputs((torch.zeros(1, 4), torch.zeros(1, 4)), {})), None, ""),
        (calls_of(ModelInputs(({"rows": torch.zeros(1, 4)},), {})), None, ""),
    ],
)
def test_the_shape_and_the_type_of_inputs_are_those_all_calls_share(
    calls: list[Call], shape: tuple[int, ...] | None, dtype: str
) -> None:
    assert shared_shape(calls, OutputKind.logits, 4) == shape
    assert shared_dtype(calls) == dtype
    if shape is not None:
        assert joined_inputs(calls, OutputKind.logits, 4).shape == (len(calls), *shape)


def test_a_bare_class_counts_as_a_certain_one_unless_probabilities_are_needed() -> None:
    classes = nn.functional.one_hot(LOGITS.argmax(dim=1), 4).float()
    pairs = (LOGITS[:, :1] > 0).float()
    for output, count, kind in ((classes, 4, OutputKind.probabilities), (pairs, 2, OutputKind.binary_probability)):
        calls = [Call(ModelInputs.of(LOGITS), output, None)]
        assert output_kind(calls, count, graded=False) is kind
        with pytest.raises(BareClass):
            output_kind(calls, count, graded=True)
