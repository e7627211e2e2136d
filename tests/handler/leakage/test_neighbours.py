"""The reference set of private kNN: votes against scikit-learn's neighbours, and one line for files that are none."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from calpow.handler.errors import NeighboursError
from calpow.handler.leakage.gnmax.accountant import Accountant
from calpow.handler.leakage.neighbours import LARGEST_BATCH, Neighbours, NeighboursCard, save_neighbours
from calpow.handler.leakage.score import SampleBatch, Score, VictimOutput
from calpow.handler.leakage.scores.votes import VoteScore

POINTS, WIDTH, K = 500, 7, 25
GENERATOR = torch.Generator().manual_seed(0)
FEATURES = torch.randn(POINTS, WIDTH, generator=GENERATOR) + 100
LABELS = torch.randint(0, 3, (POINTS,), generator=GENERATOR)
QUERIES = torch.randn(LARGEST_BATCH + 9, WIDTH, generator=GENERATOR) + 100
CARD = NeighboursCard(1, ("a", "b", "c"), POINTS, WIDTH, K, "0" * 64)
ACCOUNTANT = Accountant.epsilon_at(1e-5, 1.0, K)


@pytest.fixture
def neighbours() -> Neighbours:
    return Neighbours(CARD, FEATURES, LABELS)


def test_the_nearest_vote_as_another_program_finds_them(neighbours: Neighbours) -> None:
    search = NearestNeighbors(n_neighbors=K, algorithm="kd_tree").fit(FEATURES.double().numpy())
    nearest = search.kneighbors(QUERIES.double().numpy(), return_distance=False)
    expected = [np.bincount(LABELS.numpy()[row], minlength=3).tolist() for row in nearest]
    assert neighbours.votes(QUERIES).tolist() == expected


def test_a_sample_is_priced_the_same_alone_and_in_a_batch(neighbours: Neighbours) -> None:
    score: Score = VoteScore.on_features(neighbours.votes, ACCOUNTANT)
    answers = np.zeros(1, np.int64)
    whole = score.costs(SampleBatch(answers=answers, features=QUERIES))
    alone = [score.costs(SampleBatch(answers=answers, features=row[None])) for row in QUERIES]
    assert whole.tolist() == [cost.item() for cost in alone]
    assert score.needs is VictimOutput.FEATURES
    assert torch.equal(neighbours.votes(QUERIES.T.contiguous().T), neighbours.votes(QUERIES))
    assert torch.equal(neighbours.votes(QUERIES.double()), neighbours.votes(QUERIES))


@pytest.mark.parametrize("odd", [float("nan"), float("inf"), 1e30])
def test_features_that_have_no_neighbours_cost_the_most(neighbours: Neighbours, odd: float) -> None:
    batch = QUERIES[:3].clone()
    batch[1, 4] = odd
    queries = SampleBatch(answers=np.zeros(3, np.int64), features=batch)
    costs = VoteScore.on_features(neighbours.votes, ACCOUNTANT).costs(queries)
    assert costs[1].item() == ACCOUNTANT.highest
    assert torch.equal(neighbours.votes(batch)[::2], neighbours.votes(QUERIES[:3])[::2])


def test_a_file_comes_back_as_it_was_written(neighbours: Neighbours, tmp_path: Path) -> None:
    save_neighbours(tmp_path / "points.pt", CARD, FEATURES, LABELS)
    loaded = Neighbours.load(tmp_path / "points.pt")
    assert loaded.card == CARD
    assert torch.equal(loaded.votes(QUERIES), neighbours.votes(QUERIES))


def test_features_of_another_width_are_refused(neighbours: Neighbours) -> None:
    with pytest.raises(NeighboursError, match="holds 7 numbers"):
        neighbours.votes(QUERIES[:, :5])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"k": 0}, "choose a k"),
        ({"k": POINTS + 1}, "choose a k"),
        ({"points": 3}, "not what its card says"),
        ({"width": 3}, "not what its card says"),
        ({"class_names": ("a", "b")}, "other classes"),
    ],
)
def test_a_card_that_does_not_fit_is_refused(changes: dict[str, object], words: str) -> None:
    with pytest.raises(NeighboursError, match=words):
        Neighbours(replace(CARD, **changes), FEATURES, LABELS)  # type: ignore[arg-type]  # the tests' own mapping


def test_points_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(NeighboursError, match="NaN"):
        Neighbours(CARD, FEATURES.index_fill(0, torch.tensor(3), float("nan")), LABELS)


@pytest.mark.parametrize(
    ("card", "words"),
    [
        ("{", "not JSON"),
        ('{"schema": 9}', "schema 9, this version reads 1"),
        ("{}", "missing"),
        (json.dumps([]), "object"),
    ],
)
def test_a_stored_card_that_is_none_is_refused(tmp_path: Path, card: str, words: str) -> None:
    path = tmp_path / "points.pt"
    torch.save({"card": card, "features": FEATURES, "labels": LABELS}, path)
    with pytest.raises(NeighboursError, match=words) as refusal:
        Neighbours.load(path)
    assert "\n" not in str(refusal.value)


class Bomb:
    def __reduce__(self) -> tuple[object, ...]:
        return (Path("exploded").touch, ())


def test_files_that_are_no_reference_set_are_refused_and_run_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, content in (("text", b"hello"), ("empty", b"")):
        Path(name).write_bytes(content)
    torch.save({"card": Bomb()}, "bomb")
    torch.save([1], "list")
    torch.save({"card": 3, "features": 4, "labels": 5}, "numbers")
    for name in ("missing", "text", "empty", "bomb", "list", "numbers"):
        with pytest.raises(NeighboursError, match=name):
            Neighbours.load(Path(name))
    assert not Path("exploded").exists()
