"""The ensemble's artefact: votes of every batch size, and clear words for every artefact that is none."""

import io
import json
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from calpow.archiver.teachers.export import write_ensemble
from calpow.handler.errors import EnsembleError
from calpow.handler.leakage.references import LAST
from calpow.handler.leakage.teachers.ensemble import (
    CARD,
    HEADS,
    LARGEST_BATCH,
    PROGRAM,
    REFERENCES,
    Ensemble,
    EnsembleCard,
    save_heads,
    save_program,
)
from calpow.handler.leakage.teachers.heads import HeadEnsemble, Heads, NetworkEnsemble
from calpow.handler.leakage.teachers.stored_references import pack
from calpow.handler.leakage.teachers.trunks import VICTIM, make_trunk
from tests.support.ensembles import TEACHERS, digests, ensemble_card, references

SHAPE = (1, 8, 8)
CLASSES = 3
FEATURES = 6

INDEPENDENT: Mapping[str, object] = {"trunk": "none", "network": "net.py:small", "epochs": 2}
ON_FEATURES: Mapping[str, object] = {"trunk": VICTIM, "input_shape": None, "layer": "fc", "width": FEATURES}


def random_heads(width: int) -> Heads:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(width, TEACHERS * CLASSES, generator=generator)
    return Heads(weight, torch.randn(TEACHERS * CLASSES, generator=generator))


@pytest.fixture(scope="module")
def teachers() -> HeadEnsemble:
    trunk = make_trunk("scattering", SHAPE, 0)
    width = trunk(torch.zeros(1, *SHAPE)).shape[1]
    return HeadEnsemble(trunk, random_heads(width), CLASSES).eval()


@pytest.fixture(scope="module")
def artefact(teachers: HeadEnsemble, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("heads") / "teachers.pt"
    write_ensemble(teachers, ensemble_card(), references(), path)
    return path


@pytest.fixture(scope="module")
def networks() -> NetworkEnsemble:
    torch.manual_seed(0)
    return NetworkEnsemble([nn.Sequential(nn.Flatten(), nn.Linear(64, CLASSES)) for _ in range(TEACHERS)], CLASSES)


@pytest.fixture(scope="module")
def program(networks: NetworkEnsemble, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("program") / "teachers.pt"
    write_ensemble(networks, ensemble_card(**INDEPENDENT), None, path)
    return path


@pytest.fixture(scope="module")
def ensemble(artefact: Path) -> Ensemble:
    return Ensemble.load(artefact)


def inputs(n: int) -> Tensor:
    return torch.rand(n, *SHAPE, generator=torch.Generator().manual_seed(n))


def stored(artefact: Path) -> dict[str, object]:
    contents: dict[str, object] = torch.load(artefact, weights_only=True)
    return contents


def changed(artefact: Path, target: Path, **members: object) -> Path:
    """Write the same artefact with other members; None leaves one out."""
    contents = {**stored(artefact), **members}
    torch.save({name: member for name, member in contents.items() if member is not None}, target)
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
    assert votes.dtype == np.int64
    assert votes.sum(axis=1).tolist() == [TEACHERS] * n


def test_a_batch_is_voted_on_as_its_samples_alone(ensemble: Ensemble) -> None:
    batch = inputs(9)
    alone = np.concatenate([ensemble.votes(sample[None]) for sample in batch])
    assert np.array_equal(ensemble.votes(batch), alone)


def test_stored_heads_vote_as_those_they_were_made_of(ensemble: Ensemble, teachers: HeadEnsemble) -> None:
    batch = inputs(50)
    with torch.inference_mode():
        assert np.array_equal(ensemble.votes(batch), teachers(batch))


def test_a_stored_program_votes_as_the_module_it_was_made_of(program: Path, networks: NetworkEnsemble) -> None:
    ensemble = Ensemble.load(program)
    for n in (1, 50):
        assert np.array_equal(ensemble.votes(inputs(n)), networks(inputs(n)))
    assert ensemble.card.torch == torch.__version__


def test_heads_are_plain_weights_and_other_teachers_a_program(artefact: Path, program: Path) -> None:
    assert stored(artefact).keys() == {CARD, REFERENCES, HEADS}
    assert stored(program).keys() == {CARD, PROGRAM}


def test_heads_load_without_the_reader_of_programs(artefact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch, "export")
    monkeypatch.setitem(sys.modules, "torch.export", None)
    assert Ensemble.load(artefact).votes(inputs(2)).sum(axis=1).tolist() == [TEACHERS] * 2


def test_teachers_on_the_victims_features_take_features(tmp_path: Path) -> None:
    heads = HeadEnsemble(make_trunk(VICTIM, None, 0), random_heads(FEATURES), CLASSES)
    write_ensemble(heads, ensemble_card(**ON_FEATURES), references(), tmp_path / "teachers.pt")
    ensemble = Ensemble.load(tmp_path / "teachers.pt")
    features = torch.rand(5, FEATURES)
    assert ensemble.on_features
    assert (ensemble.card.layer, ensemble.value_shape) == ("fc", (FEATURES,))
    assert np.array_equal(ensemble.votes(features), heads(features))
    with pytest.raises(EnsembleError, match=r"take features of shape \(6,\), not \(7,\)"):
        ensemble.votes(torch.rand(5, FEATURES + 1))


def test_inputs_of_any_number_type_are_taken(ensemble: Ensemble) -> None:
    numbers = torch.randint(0, 2, (4, *SHAPE))
    expected = ensemble.votes(numbers.float())
    for kind in (torch.uint8, torch.int64, torch.bool, torch.float64, torch.float16, torch.bfloat16):
        assert np.array_equal(ensemble.votes(numbers.to(kind)), expected)


@pytest.mark.training  # loads torch's compiler
def test_the_program_moves_to_another_device_as_a_whole(program: Path) -> None:
    """Torch's device `meta`, which every machine has, does not work with tensors that were left on the CPU."""
    from torch.export.passes import move_to_device_pass

    stored_program = stored(program)[PROGRAM]
    assert isinstance(stored_program, Tensor)
    moved = move_to_device_pass(torch.export.load(io.BytesIO(stored_program.numpy().tobytes())), "meta")
    votes = moved.module()(inputs(5).to("meta"))
    assert (votes.device.type, votes.dtype, tuple(votes.shape)) == ("meta", torch.int64, (5, CLASSES))


def test_heads_move_to_another_device_as_a_whole(teachers: HeadEnsemble) -> None:
    trunk = make_trunk("scattering", SHAPE, 0)
    moved = HeadEnsemble.restored(trunk, teachers.state_dict(), CLASSES).to("meta")
    # Counting the votes looks at their sum, which device `meta` does not know.
    cast = moved.ballots(moved.trunk(inputs(5).to("meta")))
    assert (cast.device.type, cast.dtype, tuple(cast.shape)) == ("meta", torch.int64, (TEACHERS, 5))


@pytest.mark.parametrize("shape", [(1, 9, 9), (3, 8, 8), (64,), ()])
def test_inputs_of_another_shape_are_refused_in_one_line(ensemble: Ensemble, shape: tuple[int, ...]) -> None:
    with pytest.raises(EnsembleError, match=r"take inputs of shape \(1, 8, 8\), not .*\Z"):
        ensemble.votes(torch.zeros(2, *shape))


def test_the_card_comes_back_as_it_was_written(ensemble: Ensemble) -> None:
    assert ensemble.card == ensemble_card()


def test_a_missing_artefact_is_named(tmp_path: Path) -> None:
    assert_refused(tmp_path / "none.pt", "none.pt does not exist")


@pytest.mark.parametrize("damage", ["text", "empty", "cut", "other zip", "folder"])
def test_a_file_that_is_no_ensemble_is_refused_without_a_word_in_the_log(
    artefact: Path, tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "broken.pt"
    whole = artefact.read_bytes()
    if damage == "folder":
        path.mkdir()
    elif damage == "other zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a/b", "c")
    else:
        path.write_bytes({"text": b"hello", "empty": b"", "cut": whole[: len(whole) // 2]}[damage])
    assert_refused(path, "broken.pt does not exist" if damage == "folder" else "broken.pt cannot be read")
    assert not caplog.records


@pytest.mark.parametrize("contents", [[1, 2], torch.zeros(3), {"weight": torch.zeros(3)}], ids=["list", "one", "state"])
def test_tensors_that_are_no_ensemble_are_refused(tmp_path: Path, contents: object) -> None:
    torch.save(contents, tmp_path / "other.pt")
    assert_refused(tmp_path / "other.pt", "other.pt has no card: it was not written by calpow teachers")


def test_a_file_with_code_is_not_run(tmp_path: Path) -> None:
    torch.save({CARD: ensemble_card().to_json(), HEADS: nn.Linear(2, 2)}, tmp_path / "code.pt")
    assert_refused(tmp_path / "code.pt", "code.pt cannot be read as an ensemble of teachers")


def test_an_ensemble_without_a_card_or_without_teachers_is_refused(artefact: Path, tmp_path: Path) -> None:
    assert_refused(changed(artefact, tmp_path / "bare.pt", card=None), "bare.pt has no card")
    assert_refused(changed(artefact, tmp_path / "empty.pt", heads=None), "holds neither weights nor a program")


@pytest.mark.parametrize("text", ["{", "[]", "3", '{"schema": 1}', "{}"])
def test_a_card_that_is_none_is_refused(artefact: Path, tmp_path: Path, text: str) -> None:
    assert_refused(changed(artefact, tmp_path / "odd.pt", card=text), "card", "train teachers again")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("classes", "3"),
        ("classes", True),
        ("class_names", ["a", "b"]),
        ("class_names", [1, 2, 3]),
        ("input_shape", 8),
        ("input_shape", [1.5]),
        ("input_shape", None),
        ("input_shape", []),
        ("width", -1),
        ("layer", None),
        ("torch", 2),
        ("teachers", -7),
        ("trunk", None),
        ("trunk", VICTIM),
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
        ("share_at_ceiling", 1.5),
        ("victim_sha256", 0),
    ],
)
def test_a_card_with_a_wrong_field_is_refused(field: str, value: object) -> None:
    document = {**json.loads(ensemble_card().to_json()), field: value}
    with pytest.raises(EnsembleError, match="train teachers again"):
        EnsembleCard.from_json(json.dumps(document))


@pytest.mark.parametrize("field", [*json.loads(ensemble_card().to_json())])
def test_a_card_without_a_field_is_refused(field: str) -> None:
    document = json.loads(ensemble_card().to_json())
    del document[field]
    with pytest.raises(EnsembleError, match="train teachers again"):
        EnsembleCard.from_json(json.dumps(document))


OTHER_VOTES: list[Mapping[str, object]] = [
    {"input_shape": (1, 32, 32)},
    {"input_shape": (4,)},
    {"teachers": 8, "partition_sizes": (5,) * 8, "partition_digests": digests(8)},
    {"classes": 4, "class_names": ("a", "b", "c", "d")},
]


@pytest.mark.parametrize("changes", OTHER_VOTES)
@pytest.mark.parametrize("stored_as", ["heads", "program"])
def test_teachers_that_vote_otherwise_than_their_card_says_are_refused(
    artefact: Path, program: Path, tmp_path: Path, changes: Mapping[str, object], stored_as: str
) -> None:
    source, kind = (artefact, {}) if stored_as == "heads" else (program, INDEPENDENT)
    text = ensemble_card(**{**kind, **changes}).to_json()
    assert_refused(changed(source, tmp_path / "lying.pt", card=text), "card says: train teachers again")


@pytest.mark.parametrize("name", ["weight", "bias"])
def test_heads_of_other_weights_are_refused(artefact: Path, tmp_path: Path, name: str) -> None:
    heads = stored(artefact)[HEADS]
    assert isinstance(heads, dict)
    for weights in (None, torch.zeros(3), "text"):
        other = {**heads, name: weights}
        assert_refused(changed(artefact, tmp_path / "other.pt", heads=other), "other weights than its card says")


def test_a_program_that_cannot_be_loaded_says_which_torch_it_needs(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save_program(tmp_path / "teachers.pt", ensemble_card(**INDEPENDENT, torch="99.1.0"), None, b"of a later torch")
    assert_refused(
        tmp_path / "teachers.pt",
        f"teachers.pt holds a program of torch 99.1.0, which torch {torch.__version__} cannot load",
        "upgrade torch, or train teachers with --trunk victim, scattering or random",
    )
    assert not caplog.records


def test_a_program_with_other_answers_than_votes_is_refused(tmp_path: Path) -> None:
    class Scores(nn.Module):
        def forward(self, values: Tensor) -> Tensor:
            return values.flatten(1)[:, :CLASSES]

    dynamic = ({0: torch.export.Dim("batch")},)
    buffer = io.BytesIO()
    torch.export.save(torch.export.export(Scores(), (torch.zeros(2, *SHAPE),), dynamic_shapes=dynamic), buffer)
    save_program(tmp_path / "scores.pt", ensemble_card(**INDEPENDENT), None, buffer.getvalue())
    assert_refused(tmp_path / "scores.pt", "as its card says")


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("name", ["weight", "bias"])
def test_weights_that_are_not_finite_are_refused(artefact: Path, tmp_path: Path, name: str, value: float) -> None:
    """With them all teachers would vote for one class, whatever the query: the least price."""
    heads = stored(artefact)[HEADS]
    assert isinstance(heads, Mapping)
    damaged = heads[name].clone()
    damaged[0, 0] = value
    assert_refused(changed(artefact, tmp_path / "damaged.pt", heads={**heads, name: damaged}), "NaN or infinite")


@pytest.mark.parametrize(
    "changes",
    [{**ON_FEATURES, "width": 10**13}, {**ON_FEATURES, "width": 2**70}, {"trunk": "random", "seed": 2**70}],
)
def test_a_card_of_impossible_sizes_is_refused_in_one_line(
    artefact: Path, tmp_path: Path, changes: dict[str, object]
) -> None:
    heads = HeadEnsemble(make_trunk(VICTIM, None, 0), random_heads(FEATURES), CLASSES).state_dict()
    card = ensemble_card(**changes).to_json()
    assert_refused(changed(artefact, tmp_path / "impossible.pt", card=card, heads=dict(heads)), "train teachers again")


@pytest.mark.filterwarnings("ignore:Validation of sparse")
def test_sparse_weights_are_refused_in_one_line(artefact: Path, tmp_path: Path) -> None:
    heads = stored(artefact)[HEADS]
    assert isinstance(heads, Mapping)
    sparse = {name: tensor.to_sparse() if name == "weight" else tensor for name, tensor in heads.items()}
    assert_refused(changed(artefact, tmp_path / "sparse.pt", heads=sparse), "train teachers again")


def test_references_come_back_as_they_were_written(ensemble: Ensemble, program: Path) -> None:
    assert Ensemble.load(program).references is None
    loaded = ensemble.references
    assert loaded is not None
    assert pack(loaded).keys() == pack(references()).keys()
    assert same(pack(loaded), pack(references()))


def same(one: object, other: object) -> bool:
    """Return whether two trees of dicts and tensors are equal."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return torch.equal(one, other)
    return one == other


def test_teachers_on_features_without_their_axes_are_refused(tmp_path: Path) -> None:
    heads = HeadEnsemble(make_trunk(VICTIM, None, 0), random_heads(FEATURES), CLASSES)
    for kept in (None, references(axes={"conv": torch.eye(4)}, prototypes={}, gaussians={})):
        save_heads(tmp_path / "teachers.pt", ensemble_card(**ON_FEATURES), kept, heads)
        assert_refused(tmp_path / "teachers.pt", f"lacks the {FEATURES} axes of the victim's features: train teachers")


PLACES = [("axes", LAST), ("prototypes", "conv"), ("whitening", LAST), ("means", "conv"), ("mixture", "log_weights")]


@pytest.mark.parametrize(("member", "name"), PLACES)
@pytest.mark.parametrize("value", [torch.nan, -torch.inf])
def test_references_that_are_not_finite_are_refused(
    artefact: Path, tmp_path: Path, member: str, name: str, value: float
) -> None:
    """With them no query would be odder than another."""
    packed = pack(references())
    damaged = dict(packed[member])  # type: ignore[call-overload]  # a dict
    damaged[name] = damaged[name].clone()
    damaged[name].flatten()[0] = value
    path = changed(artefact, tmp_path / "damaged.pt", references={**packed, member: damaged})
    assert_refused(path, "its references are NaN or infinite", "train teachers again")


@pytest.mark.parametrize(
    "changes",
    [
        {"layers": "conv"},
        {"axes": {}},
        {"axes": {LAST: torch.eye(3), "conv": torch.eye(4)}},
        {"prototypes": {LAST: torch.zeros(2, 5)}},
        {"means": {LAST: torch.zeros(2, 6), "conv": torch.zeros(CLASSES, 4)}},
        {"means": {}},
        {"whitening": {LAST: torch.eye(5)}},
        {"mixture": {"pool": 0}},
        {"mixture": 3},
        {"token_costs": torch.zeros(2, 2)},
        {"token_costs": torch.arange(3)},
        {"token_costs": torch.zeros(0)},
    ],
)
def test_references_that_do_not_fit_each_other_are_refused(
    artefact: Path, tmp_path: Path, changes: Mapping[str, object]
) -> None:
    path = changed(artefact, tmp_path / "other.pt", references={**pack(references()), **changes})
    assert_refused(path, "its references", "train teachers again")


@pytest.mark.parametrize("other", [3, [], {}, {"layers": []}])
def test_what_is_no_references_is_refused(artefact: Path, tmp_path: Path, other: object) -> None:
    assert_refused(changed(artefact, tmp_path / "none.pt", references=other), "its references are incomplete")
