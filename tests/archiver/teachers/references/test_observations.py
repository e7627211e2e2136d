"""A bounded and balanced sample of the data is observed: the layers' numbers, small inputs, and whole numbers."""

import pytest
import torch
from torch import Tensor

from calpow.archiver.teachers.references.observations import (
    COUNTS,
    FEWEST_SAMPLES,
    INPUTS,
    LAYER,
    MOST_NUMBERS,
    MOST_SAMPLES,
    PAYLOADS,
    TOKENS,
    Observations,
    TrainingObserver,
    choose_payloads,
    count_tokens,
    join,
    most_samples,
    pool_side,
    sum_tokens,
)
from calpow.handler.leakage.model_inputs import ModelInputs
from calpow.handler.leakage.recording import Call
from calpow.handler.leakage.references import LAST
from calpow.handler.leakage.specs import OutputKind


def digests(n: int) -> list[str]:
    return [f"{number:064x}" for number in range(n)]


@pytest.mark.parametrize(("most", "small", "large"), [(10, 3, 7), (6, 3, 3), (4, 2, 2), (50, 3, 40)])
def test_as_many_payloads_of_each_class_are_chosen_as_far_as_there_are_so_many(
    most: int, small: int, large: int
) -> None:
    labels = [0] * 3 + [1] * 40
    chosen = choose_payloads(digests(43), labels, most, seed=0)
    counted = [sum(digest in chosen for digest, label in zip(digests(43), labels, strict=True) if label == which)
               for which in (0, 1)]  # fmt: skip
    assert counted == [small, large]


def test_a_removed_payload_is_replaced_by_one_other() -> None:
    before = choose_payloads(digests(100), [0] * 100, 20, seed=0)
    removed = min(before)
    kept = [digest for digest in digests(100) if digest != removed]
    after = choose_payloads(kept, [0] * 99, 20, seed=0)
    assert before - after == {removed}
    assert len(after - before) == 1
    assert after != choose_payloads(kept, [0] * 99, 20, seed=1)


def test_samples_of_many_numbers_are_fewer() -> None:
    assert most_samples({"a": torch.zeros(3, 10)}) == MOST_SAMPLES
    assert most_samples({"a": torch.zeros(3, 10_000), "b": torch.zeros(3, 10_000)}) == MOST_NUMBERS // 20_000
    assert most_samples({"a": torch.zeros(1, MOST_NUMBERS)}) == FEWEST_SAMPLES


@pytest.mark.parametrize(
    ("shape", "pool"),
    [
        ((1, 8, 8), 1),
        ((1, 28, 28), 2),
        ((3, 32, 32), 2),
        ((3, 224, 224), 14),
        ((3, 33, 20), 3),
        ((24,), 1),
        ((1, 24), 1),
        ((1024,), 1),
        ((1025,), None),
        ((16, 32, 32), None),
        ((3, 8, 640), None),
        ((), None),
        (None, None),
    ],
)
def test_only_tables_and_images_that_can_be_small_have_a_mixture(
    shape: tuple[int, ...] | None, pool: int | None
) -> None:
    assert pool_side(shape) == pool


def call(inputs: Tensor, *, features: Tensor | None = None, depth: Tensor | None = None) -> Call:
    samples = len(inputs)
    depths = {} if depth is None else {"conv": depth}
    return Call(ModelInputs.of(inputs), torch.zeros(samples, 2), features, depths)


def observer(shape: tuple[int, ...] | None, samples_each: int = 10) -> TrainingObserver:
    return TrainingObserver(OutputKind.logits, 2, shape, frozenset(), samples_each)


def test_layers_and_pooled_images_are_kept_for_each_sample() -> None:
    images = torch.rand(3, 1, 28, 28)
    features, depth = torch.rand(3, 5), torch.rand(3, 4)
    rows = observer((1, 28, 28)).observe([call(images, features=features, depth=depth)], 7)
    assert torch.equal(rows[f"{LAYER}{LAST}"], features)
    assert torch.equal(rows[f"{LAYER}conv"], depth)
    assert rows[INPUTS].shape == (3, 196)
    assert torch.allclose(rows[INPUTS][:, 0], images[:, 0, :2, :2].mean(dim=(1, 2)))
    assert rows[PAYLOADS].tolist() == [7, 7, 7]


def test_a_payload_of_many_samples_gives_some_of_them() -> None:
    calls = [call(torch.arange(10.0).reshape(5, 2)), call(torch.arange(10.0, 20.0).reshape(5, 2))]
    rows = observer((2,), samples_each=3).observe(calls, 0)
    assert rows[INPUTS][:, 0].tolist() == [0.0, 8.0, 18.0]
    assert len(observer((2,), samples_each=1).observe(calls, 0)[PAYLOADS]) == 1


def test_whole_numbers_are_counted_wherever_they_are_among_the_inputs() -> None:
    ids = torch.tensor([[3, 1, 3]])
    alone = observer(None)
    assert alone.tokens([call(ids)]).tolist() == [3, 1, 3]
    with_mask = Call(ModelInputs((), {"mask": torch.ones(1, 3), "ids": ids}), torch.zeros(1, 2), None)
    assert alone.tokens([with_mask]).tolist() == [3, 1, 3]
    assert not len(alone.tokens([call(torch.rand(1, 3))]))
    assert not len(alone.tokens([call(ids.to(torch.uint8))]))
    assert INPUTS not in observer((3,)).observe([call(ids)], 0)


def test_counts_of_parts_are_added_up() -> None:
    parts = [count_tokens([torch.tensor([3, 1, 3]), torch.tensor([0])]), count_tokens([torch.tensor([3])])]
    tokens, counts = (torch.cat([part[name] for part in parts]) for name in (TOKENS, COUNTS))
    summed = sum_tokens(tokens, counts)
    assert summed is not None
    assert summed.tolist() == [1, 1, 0, 3]


@pytest.mark.parametrize("tokens", [[], [-1, 2], [1 << 40]])
def test_what_are_no_indices_of_words_is_not_counted(tokens: list[int]) -> None:
    counted = count_tokens([torch.tensor(tokens, dtype=torch.int64)])
    assert sum_tokens(counted[TOKENS], counted[COUNTS]) is None


def test_numbers_that_not_all_payloads_show_in_one_form_are_left_out() -> None:
    parts = [{"a": torch.zeros(1, 2), "b": torch.zeros(1, 2)}, {"a": torch.ones(2, 2), "b": torch.zeros(1, 3)}]
    joined = join([*parts, {"a": torch.ones(1, 2), "b": torch.zeros(1, 2), "c": torch.zeros(1)}])
    assert joined.keys() == {"a"}
    assert joined["a"][:, 0].tolist() == [0.0, 1.0, 1.0, 1.0]
    assert join([]) == {}


def test_observations_take_the_classes_of_their_payloads() -> None:
    rows = {PAYLOADS: torch.tensor([2, 0]), f"{LAYER}conv": torch.zeros(2, 4), INPUTS: torch.zeros(2, 3)}
    observed = Observations.of(rows, count_tokens([]), torch.tensor([5, 6, 7]), (3,))
    assert observed.labels.tolist() == [7, 5]
    assert set(observed.layers) == {"conv"}
    assert (observed.pool, observed.is_image, observed.token_counts) == (1, False, None)
