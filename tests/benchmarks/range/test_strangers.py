"""The range's strangers and shifts: inputs that a victim accepts, the same under a seed, changed as their names say."""

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from benchmarks.range.domain import InputKind, LabelledInputs, RangeDomain, Shift, StrangerKind
from benchmarks.range.shifts import IMAGE_SHIFTS, TEXT_SHIFTS, levels, table_shifts
from benchmarks.range.strangers.images import CIFAR, FASHION, MNIST, image_strangers
from benchmarks.range.strangers.tables import TableColumns, table_strangers
from benchmarks.range.strangers.texts import text_strangers
from benchmarks.range.vocabulary import PADDING, SPECIAL, WordVocabulary

COUNT = 12
SHAPES = [(1, 8, 8), (1, 28, 28), (3, 32, 32)]
COLUMNS = TableColumns(numbers=3, categories=(2, 4))
VOCABULARY = WordVocabulary(tuple(f"word{number}" for number in range(300)), length=8)
# Without those that read a data set.
DRAWN = image_strangers({MNIST, FASHION, CIFAR})


def pictures(shape: tuple[int, ...], count: int = 40) -> Tensor:
    rng = np.random.default_rng(0)
    return levels(torch.from_numpy(rng.random((count, *shape), dtype=np.float32)) ** 2)


def rows(count: int = 500) -> Tensor:
    rng = np.random.default_rng(0)
    first = rng.standard_normal((count, 1))
    numbers = np.hstack([first, first + 0.1 * rng.standard_normal((count, 1)), rng.standard_normal((count, 1))])
    categories = [np.eye(values)[rng.integers(values, size=count)] for values in COLUMNS.categories]
    return torch.from_numpy(np.hstack([numbers, *categories])).float()


def texts(count: int = 100) -> Tensor:
    rng = np.random.default_rng(0)
    tokens = torch.from_numpy(rng.integers(SPECIAL, VOCABULARY.ids, (count, VOCABULARY.length)))
    ends = torch.from_numpy(rng.integers(1, VOCABULARY.length + 1, count))
    return torch.where(torch.arange(VOCABULARY.length) < ends[:, None], tokens, PADDING)


def domain(
    inputs: Tensor, strangers: Mapping[str, StrangerKind] | None = None, shifts: Mapping[str, Shift] | None = None
) -> RangeDomain:
    data = LabelledInputs(inputs, torch.arange(len(inputs)) % 2)
    return RangeDomain(
        name="domain",
        kind=InputKind.TABLE,
        classes=("even", "odd"),
        victim=nn.Identity(),
        training=data,
        test=data,
        calibration=len(inputs) // 4,
        strangers=strangers or {},
        shifts=shifts or {},
    )


def test_seeds_divide_the_test_data_otherwise_and_completely() -> None:
    data = domain(torch.arange(100)[:, None])
    halves, again, others = data.halves(0), data.halves(0), data.halves(1)
    assert (len(halves.calibration), len(halves.fresh)) == (25, 75)
    both = torch.cat([halves.calibration.inputs, halves.fresh.inputs]).flatten()
    assert sorted(both.tolist()) == list(range(100))
    assert torch.equal(halves.fresh.inputs.flatten() % 2, halves.fresh.labels)
    assert torch.equal(halves.fresh.inputs, again.fresh.inputs)
    assert not torch.equal(halves.fresh.inputs, others.fresh.inputs)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", DRAWN)
def test_strange_pictures_are_what_a_file_can_hold_and_the_same_under_a_seed(name: str, shape: tuple[int, ...]) -> None:
    data = domain(pictures(shape), DRAWN)
    queries, again, others = (data.stranger_queries(name, data.test.inputs, seed, COUNT) for seed in (0, 0, 1))
    assert queries.shape == (COUNT, *shape)
    assert queries.dtype == torch.float32
    assert torch.equal(queries, levels(queries))
    assert torch.equal(queries, again)
    assert not torch.equal(queries, others)
    assert len({query.numpy().tobytes() for query in queries}) > COUNT / 2


@pytest.mark.parametrize("name", IMAGE_SHIFTS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_shifted_pictures_are_other_pictures_in_the_same_order(shape: tuple[int, ...], name: str) -> None:
    stripes = torch.linspace(0.4, 0.6, shape[2]) + 0.1 * (torch.arange(shape[2]) % 2)
    images = levels(stripes.expand(5, *shape) * torch.linspace(0.5, 1, 5)[:, None, None, None])
    data = domain(images, shifts=IMAGE_SHIFTS)
    shifted = data.shifted(name, images, seed=0)
    assert shifted.shape == images.shape
    assert torch.equal(shifted, levels(shifted))
    assert not torch.equal(shifted, images)
    assert shifted.flatten(1).mean(1).argsort().tolist() == [0, 1, 2, 3, 4]
    assert torch.equal(shifted, data.shifted(name, images, seed=0))


def test_a_picture_moves_by_one_pixel() -> None:
    dot = torch.zeros(200, 1, 9, 9)
    dot[:, :, 4, 4] = 1
    moved = IMAGE_SHIFTS["1 px"](dot, np.random.default_rng(0))
    _, _, vertical, horizontal = moved.nonzero(as_tuple=True)
    assert len(vertical) == 200
    places = set(zip((vertical - 4).tolist(), (horizontal - 4).tolist(), strict=True))
    assert places == {(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)} - {(0, 0)}


@pytest.mark.parametrize("name", table_strangers(COLUMNS))
def test_strange_rows_have_one_value_in_every_category(name: str) -> None:
    data = domain(rows(), table_strangers(COLUMNS))
    queries, again = (data.stranger_queries(name, data.test.inputs, 0, 60) for _ in range(2))
    assert queries.shape == (60, 9)
    assert queries.dtype == torch.float32
    assert torch.equal(queries, again)
    for category in COLUMNS.fields[COLUMNS.numbers :]:
        assert set(queries[:, category].flatten().tolist()) == {0.0, 1.0}
        assert queries[:, category].sum(1).eq(1).all()
    owned = {tuple(row) for row in data.test.inputs.tolist()}
    assert not owned & {tuple(row) for row in queries.tolist()}


def test_strange_rows_keep_what_their_names_say() -> None:
    data = domain(rows(), table_strangers(COLUMNS))
    queries = {name: data.stranger_queries(name, data.test.inputs, 0, 400) for name in data.strangers}
    correlation = {name: abs(np.corrcoef(found[:, 0], found[:, 1])[0, 1]) for name, found in queries.items()}
    assert correlation["covariance kept"] > 0.95
    assert correlation["uniform"] < 0.2
    assert correlation["columns shuffled"] < 0.2
    values = {tuple(row) for row in data.test.inputs.tolist()}
    for row in queries["one column off"].tolist()[:20]:
        assert max(sum(a == b for a, b in zip(row, other, strict=True)) for other in values) == 8


def test_a_shifted_row_keeps_its_categories() -> None:
    inputs = rows()
    moved = domain(inputs, shifts=table_shifts(COLUMNS.numbers)).shifted("noise .02", inputs, 0)
    assert torch.equal(moved[:, 3:], inputs[:, 3:])
    assert 0.018 < float((moved - inputs)[:, :3].std()) < 0.022


@pytest.mark.parametrize("name", text_strangers(VOCABULARY, ()))
def test_strange_texts_are_ids_of_the_vocabulary(name: str) -> None:
    others = tuple(f"word{number} word{number + 1} here" for number in range(50))
    data = domain(texts(), text_strangers(VOCABULARY, others))
    queries, again = (data.stranger_queries(name, data.test.inputs, 0, 60) for _ in range(2))
    assert queries.shape == (60, VOCABULARY.length)
    assert queries.dtype == torch.int64
    assert torch.equal(queries, again)
    assert queries.min() >= 0
    assert queries.max() < VOCABULARY.ids
    assert (queries[:, 0] != PADDING).all()
    padded = queries == PADDING
    assert torch.equal(padded, padded.cummax(1).values)


def test_a_tenth_of_the_words_is_lost_and_the_rest_stay_in_order() -> None:
    inputs = texts(2_000)
    lost = TEXT_SHIFTS["words lost"](inputs, np.random.default_rng(0))
    share = 1 - int((lost != PADDING).sum()) / int((inputs != PADDING).sum())
    assert 0.05 < share < 0.1  # the first word always stays
    for before, after in zip(inputs[:50].tolist(), lost[:50].tolist(), strict=True):
        rest = iter(before)
        assert all(word in rest for word in after if word != PADDING)


def test_kinds_that_copy_legitimate_queries_are_marked() -> None:
    derived = {name for name, kind in image_strangers(set()).items() if kind.is_derived}
    assert {"mixup", "cutmix", "edges", "noise .1", "noise .2"} <= derived
    assert not derived & {MNIST, FASHION, CIFAR, "glyphs", "house numbers", "natural crops", "uniform noise", "blobs"}
    assert [name for name, kind in table_strangers(COLUMNS).items() if kind.is_derived] == ["one column off"]
    assert [name for name, kind in text_strangers(VOCABULARY, ()).items() if kind.is_derived] == ["spliced"]
