"""The ensemble's artefact: votes of every batch size, and clear words for every artefact that is none."""

import json
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.export.passes import move_to_device_pass

from calpow.archiver.teachers.ensembles import HeadEnsemble, Heads
from calpow.archiver.teachers.export import write_ensemble
from calpow.archiver.teachers.trunks import make_trunk
from calpow.handler.errors import EnsembleError
from calpow.handler.leakage.ensemble import CARD_FILE, LARGEST_BATCH, Ensemble, EnsembleCard

SHAPE = (1, 8, 8)
TEACHERS, CLASSES = 7, 3


def digests(teachers: int) -> tuple[str, ...]:
    return tuple(f"{teacher:064x}" for teacher in range(teachers))


def card(**changes: object) -> EnsembleCard:
    card = EnsembleCard(
        schema=2,
        classes=CLASSES,
        class_names=("a", "b", "c"),
        input_shape=SHAPE,
        teachers=TEACHERS,
        trunk="scattering",
        network="ridge",
        epochs=0,
        weights_sha256="",
        seed=0,
        partition_sizes=(5,) * TEACHERS,
        partition_digests=digests(TEACHERS),
        measured_on=40,
        teacher_accuracy=0.5,
        worst_teacher_accuracy=0.25,
        vote_accuracy=0.75,
        victim_sha256="0" * 64,
    )
    return replace(card, **changes)  # type: ignore[arg-type]  # the tests' own mapping


@pytest.fixture(scope="module")
def teachers() -> HeadEnsemble:
    torch.manual_seed(0)
    trunk = make_trunk("scattering", SHAPE, 0)
    width = trunk(torch.zeros(1, *SHAPE)).shape[1]
    heads = Heads(torch.randn(width, TEACHERS * CLASSES), torch.randn(TEACHERS * CLASSES))
    return HeadEnsemble(trunk, heads, CLASSES).eval()


@pytest.fixture(scope="module")
def artefact(teachers: HeadEnsemble, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ensemble") / "teachers.pt2"
    write_ensemble(teachers, card(), path)
    return path


@pytest.fixture(scope="module")
def ensemble(artefact: Path) -> Ensemble:
    return Ensemble.load(artefact)


def inputs(n: int) -> Tensor:
    return torch.rand(n, *SHAPE, generator=torch.Generator().manual_seed(n))


def with_card(artefact: Path, target: Path, text: str | None) -> Path:
    """The same program with another card, or with none."""
    with zipfile.ZipFile(artefact) as source, zipfile.ZipFile(target, "w") as copy:
        for entry in source.infolist():
            if not entry.filename.endswith(CARD_FILE):
                copy.writestr(entry, source.read(entry))
            elif text is not None:
                copy.writestr(entry, text)
    return target


def assert_refused(path: Path, *words: str) -> None:
    with pytest.raises(EnsembleError) as refusal:
        Ensemble.load(path)
    text = str(refusal.value)
    assert "\n" not in text
    for word in words:
        assert word in text


@pytest.mark.parametrize("n", [1, 2, 3, 17, LARGEST_BATCH, LARGEST_BATCH + 1])
def test_every_batch_gets_one_vote_of_each_teacher_a_sample(ensemble: Ensemble, n: int) -> None:
    votes = ensemble.votes(inputs(n))
    assert votes.shape == (n, CLASSES)
    assert votes.dtype == torch.int64
    assert votes.sum(dim=1).tolist() == [TEACHERS] * n


def test_a_batch_is_voted_on_as_its_samples_alone(ensemble: Ensemble) -> None:
    batch = inputs(9)
    alone = torch.cat([ensemble.votes(sample[None]) for sample in batch])
    assert torch.equal(ensemble.votes(batch), alone)


def test_the_stored_program_votes_as_the_module_it_was_made_of(ensemble: Ensemble, teachers: HeadEnsemble) -> None:
    batch = inputs(50)
    with torch.inference_mode():
        assert torch.equal(ensemble.votes(batch), teachers(batch))


def test_inputs_of_any_number_type_are_taken(ensemble: Ensemble) -> None:
    numbers = torch.randint(0, 2, (4, *SHAPE))
    expected = ensemble.votes(numbers.float())
    for kind in (torch.uint8, torch.int64, torch.float64, torch.float16):
        assert torch.equal(ensemble.votes(numbers.to(kind)), expected)


@pytest.mark.slow
def test_the_program_moves_to_another_device_as_a_whole(artefact: Path) -> None:
    """Torch's device `meta`, which every machine has, does not work with tensors that were left on the CPU."""
    moved = move_to_device_pass(torch.export.load(artefact), "meta")
    votes = moved.module()(inputs(5).to("meta"))
    assert (votes.device.type, votes.dtype, tuple(votes.shape)) == ("meta", torch.int64, (5, CLASSES))


def test_votes_carry_no_gradient(ensemble: Ensemble) -> None:
    assert not ensemble.votes(inputs(2).requires_grad_()).requires_grad


@pytest.mark.parametrize("shape", [(1, 9, 9), (3, 8, 8), (64,), ()])
def test_inputs_of_another_shape_are_refused_in_one_line(ensemble: Ensemble, shape: tuple[int, ...]) -> None:
    with pytest.raises(EnsembleError, match=r"take inputs of shape \(1, 8, 8\), not .*\Z"):
        ensemble.votes(torch.zeros(2, *shape))


def test_the_card_comes_back_as_it_was_written(ensemble: Ensemble) -> None:
    assert ensemble.card == card()


def test_a_missing_artefact_is_named(tmp_path: Path) -> None:
    assert_refused(tmp_path / "none.pt2", "none.pt2 does not exist")


@pytest.mark.parametrize("damage", ["text", "empty", "cut", "other zip"])
def test_a_file_that_is_no_program_is_refused_without_a_word_in_the_log(
    artefact: Path, tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "broken.pt2"
    whole = artefact.read_bytes()
    path.write_bytes({"text": b"hello", "empty": b"", "cut": whole[: len(whole) // 2]}.get(damage, b""))
    if damage == "other zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a/b", "c")
    assert_refused(path, "broken.pt2 cannot be read")
    assert not caplog.records


def test_a_program_without_a_card_is_refused(artefact: Path, tmp_path: Path) -> None:
    assert_refused(with_card(artefact, tmp_path / "bare.pt2", None), "no card")


@pytest.mark.parametrize("text", ["{", "[]", "3", '{"schema": 1}', "{}"])
def test_a_card_that_is_none_is_refused(artefact: Path, tmp_path: Path, text: str) -> None:
    assert_refused(with_card(artefact, tmp_path / "odd.pt2", text), "card", "train teachers again")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("classes", "3"),
        ("classes", True),
        ("class_names", ["a", "b"]),
        ("class_names", [1, 2, 3]),
        ("input_shape", 8),
        ("input_shape", [1.5]),
        ("teachers", -7),
        ("trunk", None),
        ("network", 3),
        ("epochs", -1),
        ("class_names", ["a", "b", "b"]),
        ("partition_sizes", [5] * 6 + [2]),
        ("partition_digests", list(digests(TEACHERS - 1))),
        ("partition_digests", [digests(1)[0]] * TEACHERS),
        ("partition_digests", ["0" * 63] * TEACHERS),
        ("partition_digests", [digest.replace("0", "g") for digest in digests(TEACHERS)]),
        ("measured_on", 0.5),
        ("worst_teacher_accuracy", 0.6),
        ("seed", 0.5),
        ("partition_sizes", [5]),
        ("teacher_accuracy", 1.5),
        ("vote_accuracy", float("nan")),
        ("victim_sha256", 0),
    ],
)
def test_a_card_with_a_wrong_field_is_refused(field: str, value: object) -> None:
    document = {**json.loads(card().to_json()), field: value}
    with pytest.raises(EnsembleError, match="train teachers again"):
        EnsembleCard.from_json(json.dumps(document))


@pytest.mark.parametrize("field", [*json.loads(card().to_json())])
def test_a_card_without_a_field_is_refused(field: str) -> None:
    document = json.loads(card().to_json())
    del document[field]
    with pytest.raises(EnsembleError, match="train teachers again"):
        EnsembleCard.from_json(json.dumps(document))


@pytest.mark.parametrize(
    "changes",
    [
        {"input_shape": (1, 9, 8)},
        {"input_shape": (4,)},
        {"teachers": 8, "partition_sizes": (5,) * 8, "partition_digests": digests(8)},
        {"classes": 4, "class_names": ("a", "b", "c", "d")},
    ],
)
def test_a_program_that_votes_otherwise_than_its_card_says_is_refused(
    artefact: Path, tmp_path: Path, changes: Mapping[str, object]
) -> None:
    assert_refused(
        with_card(artefact, tmp_path / "lying.pt2", card(**changes).to_json()), "as its card says: train teachers again"
    )


def test_a_program_with_other_answers_than_votes_is_refused(tmp_path: Path) -> None:
    class Scores(nn.Module):
        def forward(self, values: Tensor) -> Tensor:
            return values.flatten(1)[:, :CLASSES]

    path = tmp_path / "scores.pt2"
    dynamic = ({0: torch.export.Dim("batch")},)
    program = torch.export.export(Scores(), (torch.zeros(2, *SHAPE),), dynamic_shapes=dynamic)
    torch.export.save(program, path, extra_files={CARD_FILE: card().to_json()})
    assert_refused(path, "as its card says")
