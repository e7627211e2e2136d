"""The training set: all bad payloads are listed together, and what was read is not read again without them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import torch
from torch import nn

from calpow.archiver.data.payloads import PayloadFolder, read_folder
from calpow.archiver.errors import FolderError, TrainingError
from calpow.archiver.teachers import training_set
from calpow.archiver.teachers.checkpoints import Checkpoints
from calpow.archiver.teachers.partitions import payload_digests
from calpow.archiver.teachers.references.observations import INPUTS, PAYLOADS, TrainingObserver
from calpow.archiver.teachers.training_set import TrainingSet, ValueSource, read_training_set
from calpow.handler.errors import BadPayload
from calpow.handler.leakage.model_inputs import ModelInputs
from calpow.handler.leakage.recording import Call
from calpow.handler.leakage.specs import OutputKind
from calpow.handler.leakage.tapping import find_features
from calpow.handler.leakage.teachers.trunks import VICTIM, make_trunk
from tests.support.open_victims import FirstTensorNet, PooledNet, Read, open_with
from tests.support.open_victims import numbers as numbers_of


class Numbers:
    """A victim of one number a payload."""

    def __init__(self) -> None:
        self.read = 0

    def calls(self, row: Mapping[str, object]) -> Sequence[Call]:
        self.read += 1
        body = row["body"]
        assert isinstance(body, bytes)
        if body.startswith(b"bad"):
            raise BadPayload("the model cannot read this payload (ValueError)")
        return [Call(ModelInputs.of(torch.tensor([[float(body)]])), torch.tensor([[1.0, 2.0]]), None)]


def numbers(folder: Path) -> PayloadFolder:
    for label in range(2):
        (folder / str(label)).mkdir(parents=True)
        for number in range(40):
            text = f"bad {label}" if number == 9 else str(100 * label + number)
            (folder / str(label) / f"{number:02}").write_text(text)
    return read_folder(folder)


def observer(shape: tuple[int, ...] | None, classes: int, chosen: Sequence[str] = ()) -> TrainingObserver:
    return TrainingObserver(OutputKind.logits, classes, shape, frozenset(chosen), 1)


def read(victim: Numbers, folder: PayloadFolder, output: Path) -> TrainingSet:
    source = ValueSource(nn.Identity(), (1,), 0, OutputKind.logits, 2)
    digests = payload_digests(folder)
    observe = observer((1,), 2, digests)
    return read_training_set(victim, folder.payloads, digests, source, observe, Checkpoints(output, {}))


def test_what_was_read_is_kept_when_bad_payloads_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_set, "PART", 10)
    data, output, victim = tmp_path / "data", tmp_path / "teachers.pt", Numbers()
    with pytest.raises(FolderError, match=r"2 of 80 payloads cannot be used: .*0/09: .*; .*1/09: "):
        read(victim, numbers(data), output)
    for label in range(2):
        (data / str(label) / "09").unlink()
    victim.read = 0
    folder = read_folder(data)
    values = read(victim, folder, output)
    assert victim.read == 0
    expected = [float(folder.payloads[index].path.read_text()) for index in values.payloads.tolist()]
    assert values.values.flatten().tolist() == expected
    assert sorted(values.payloads.tolist()) == list(range(78))
    inputs, observed = values.observed[INPUTS], values.observed[PAYLOADS]
    assert inputs.flatten().tolist() == [float(folder.payloads[index].path.read_text()) for index in observed]
    assert len(observed) == 78


READERS: dict[str, tuple[nn.Module, Read]] = {
    "tuple": (FirstTensorNet(), lambda text: ModelInputs(((numbers_of(text).reshape(-1, 4), torch.ones(1)),), {})),
    "dict": (FirstTensorNet(), lambda text: ModelInputs(({"rows": numbers_of(text).reshape(-1, 4), "size": 4},), {})),
    "sample": (FirstTensorNet(), lambda text: ModelInputs.of(numbers_of(text)[:4])),
    "sequence": (PooledNet(), lambda text: ModelInputs.of(numbers_of(text).reshape(1, -1, 4))),
}
TEXTS = ["1,2,3,4", "4,3,2,1", "1,1,9,0,3,1,9,0", "0,5,0,5"]


def texts(folder: Path) -> PayloadFolder:
    for label, text in enumerate(TEXTS):
        (folder / str(label)).mkdir(parents=True)
        (folder / str(label) / "0.txt").write_text(text)
    return read_folder(folder)


@pytest.mark.parametrize("form", READERS)
def test_teachers_on_the_victims_features_learn_from_inputs_of_any_form(tmp_path: Path, form: str) -> None:
    model, reader = READERS[form]
    victim = open_with(model, reader)
    folder = texts(tmp_path / "data")
    assert find_features(victim.recorder, reader(TEXTS[0])).name == "layer"
    source = ValueSource(make_trunk(VICTIM, None, 0), None, 4, OutputKind.logits, 4)
    checkpoints = Checkpoints(tmp_path / "teachers.pt", {})
    read_set = read_training_set(
        victim, folder.payloads, payload_digests(folder), source, observer(None, 4), checkpoints
    )
    rows = [numbers_of(text).reshape(-1, 4) for text in TEXTS]
    if form == "sequence":
        rows = [row.mean(dim=0, keepdim=True) for row in rows]
    elif form == "sample":
        rows = [row[:1] for row in rows]
    assert torch.equal(read_set.values, torch.cat(rows))
    assert read_set.payloads.tolist() == [index for index, row in enumerate(rows) for _ in row]


@pytest.mark.parametrize(
    ("form", "words"),
    [("sequence", r"an input of shape \(2, 4\) of it and of \(1, 4\)"), ("tuple", "makes several tensors of it")],
)
def test_a_trunk_of_one_shape_refuses_other_inputs_and_names_the_trunk_that_takes_them(
    tmp_path: Path, form: str, words: str
) -> None:
    model, reader = READERS[form]
    folder = texts(tmp_path / "data")
    source = ValueSource(nn.Identity(), (1, 4), 0, OutputKind.logits, 4)
    victim, digests = open_with(model, reader), payload_digests(folder)
    checkpoints = Checkpoints(tmp_path / "teachers.pt", {})
    with pytest.raises(TrainingError, match=f"{words}.*take --trunk victim"):
        read_training_set(victim, folder.payloads, digests, source, observer((1, 4), 4), checkpoints)


def test_features_of_another_number_are_refused_and_their_payload_is_named(tmp_path: Path) -> None:
    model, reader = READERS["sample"]
    folder = texts(tmp_path / "data")
    victim, digests = open_with(model, reader), payload_digests(folder)
    find_features(victim.recorder, reader(TEXTS[0]))
    source = ValueSource(nn.Identity(), None, 7, OutputKind.logits, 4)
    checkpoints = Checkpoints(tmp_path / "teachers.pt", {})
    with pytest.raises(TrainingError, match=r"0\.txt: the victim shows 4 features of it and 7 of others"):
        read_training_set(victim, folder.payloads, digests, source, observer(None, 4), checkpoints)
