"""Tolerated changes: those that suit the input, priced beside the samples, and flips only where they do no harm."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from calpow.archiver.calibration.samples import PricedFolder, Samples
from calpow.archiver.calibration.synthetic_inputs.tolerances import (
    FLIP_LOST,
    MOST_LOST,
    default_tolerances,
    is_harmless,
)
from calpow.archiver.calibration.tolerated_samples import is_hopeless, kept_tolerances, tolerated_changes
from calpow.archiver.data.payloads import PayloadFolder
from calpow.archiver.errors import OrderError
from calpow.handler.leakage.model_inputs import ModelInputs
from calpow.handler.leakage.score import ScoredSamples
from tests.support.legitimate_tensors import scenes
from tests.support.open_victims import FirstTensorNet
from tests.support.score_setups import ROWS, alone, order_of, set_up

IMAGES = scenes(3, 16, samples=30)
TWO = PayloadFolder(("0", "1"), ())


class ImageNet(nn.Module):
    """Model of images `[n, 3, h, w]`, or of one `[3, h, w]` alone if it takes them so."""

    def __init__(self, axes: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(3, 2)
        self.layer.weight.data.mul_(20)
        self._axes = axes

    def forward(self, images: Tensor) -> Tensor:
        """Return logits `[n, 2]` or `[2]`."""
        if images.dim() != self._axes:
            raise ValueError(f"expected {self._axes} axes")
        logits: Tensor = self.layer(images.mean(dim=(-2, -1)))
        return logits


def images_of(axes: int) -> list[ModelInputs]:
    return [ModelInputs.of(image if axes == 3 else image.unsqueeze(0)) for image in IMAGES]


@pytest.mark.parametrize("axes", [3, 4])
def test_images_are_changed_by_default_and_keep_their_form(axes: int) -> None:
    setup, calls = set_up(ImageNet(axes), images_of(axes), "norm", folder=TWO)
    changes = tolerated_changes(order_of("norm"), calls, setup)
    assert list(changes) == list(default_tolerances((3, 16, 16), torch.float32))
    assert {"noise", "shift", "jpeg", "flip"} <= changes.keys()
    for change in changes.values():
        before = calls[0].arguments.tensors[0].clone()
        (after,) = change(calls[0].arguments).tensors
        assert after.shape == before.shape
        assert not torch.equal(after, before)
        assert torch.equal(calls[0].arguments.tensors[0], before)
        setup.meter.price_calls([setup.meter.recorder.replay(ModelInputs.of(after))])


@pytest.mark.parametrize("axes", [3, 4])
def test_a_flipped_image_is_the_image_the_other_way_round(axes: int) -> None:
    setup, calls = set_up(ImageNet(axes), images_of(axes), "norm", folder=TWO)
    changes = tolerated_changes(order_of("norm", tolerate=("flip",)), calls, setup)
    (flipped,) = changes["flip"](calls[5].arguments).tensors
    assert torch.equal(flipped, calls[5].arguments.tensors[0].flip(-1))


def test_tables_tolerate_noise_by_default_and_nothing_where_the_owner_says_so() -> None:
    setup, calls = set_up(FirstTensorNet(), alone(ROWS), "norm")
    assert list(tolerated_changes(order_of("norm"), calls, setup)) == ["noise"]
    assert tolerated_changes(order_of("norm", tolerate=()), calls, setup) == {}


@pytest.mark.parametrize("name", ["shift", "flip", "jpeg", "brightness", "blur"])
def test_a_change_of_images_is_refused_for_a_table_in_one_line(name: str) -> None:
    setup, calls = set_up(FirstTensorNet(), alone(ROWS), "norm")
    with pytest.raises(OrderError, match=rf"\A--tolerate {name}: .* for images.* shape \(4,\): leave it out\Z"):
        tolerated_changes(order_of("norm", tolerate=("noise", name)), calls, setup)


def test_several_tensors_tolerate_nothing_by_default() -> None:
    setup, calls = set_up(FirstTensorNet(), [ModelInputs((row.unsqueeze(0), torch.ones(1, 2)), {}) for row in ROWS])
    assert tolerated_changes(order_of(), calls, setup) == {}
    with pytest.raises(OrderError, match=r"--tolerate flip: flips are for images, .* inputs of several shapes"):
        tolerated_changes(order_of(tolerate=("flip",)), calls, setup)


def priced(wrong: int, *names: str) -> PricedFolder:
    """Return 100 samples that are answered rightly, and changed ones of which so many are not."""
    zeros = torch.zeros(100, dtype=torch.int64)
    samples = Samples(torch.zeros(100, 1), zeros, zeros, torch.arange(100), ("a", "b"))
    answers = torch.where(torch.arange(100) < wrong, 1, 0)
    return PricedFolder(samples, {name: ScoredSamples(torch.zeros(100, 1), answers) for name in names})


def test_changes_are_tolerated_where_the_model_does_not_mind_them() -> None:
    notes: list[str] = []
    harmless = priced(int(100 * min(FLIP_LOST, MOST_LOST)) - 1, "noise", "flip")
    assert kept_tolerances(order_of(), harmless, notes.append) == harmless.changed
    assert notes == []


def test_flips_that_cost_right_answers_are_left_out_with_a_note() -> None:
    notes: list[str] = []
    kept = kept_tolerances(order_of(), priced(int(100 * FLIP_LOST), "noise", "flip"), notes.append)
    assert list(kept) == ["noise"]
    (note,) = notes
    assert note.startswith("note: flip is not tolerated, since the model is right in 98% of samples so changed")
    assert "--tolerate" in note


def test_any_change_that_costs_many_right_answers_is_left_out() -> None:
    notes: list[str] = []
    assert kept_tolerances(order_of(), priced(40, "noise", "flip"), notes.append) == {}
    assert [note.split()[1] for note in notes] == ["noise", "flip"]


def test_changes_that_the_owner_names_are_kept() -> None:
    order = dataclasses.replace(order_of(), tolerate=("flip",))
    assert list(kept_tolerances(order, priced(40, "flip"), lambda _: None)) == ["flip"]


def test_a_change_that_was_given_up_is_left_out_with_what_the_samples_showed_that_were_tried() -> None:
    notes: list[str] = []
    whole = priced(0, "noise")
    few = ScoredSamples(torch.zeros(10, 1), torch.tensor([1] * 6 + [0] * 4))
    kept = kept_tolerances(order_of(), dataclasses.replace(whole, given_up={"flip": few}), notes.append)
    assert list(kept) == ["noise"]
    (note,) = notes
    assert "flip is not tolerated" in note
    assert "right in 40% of samples so changed and in 100% of the same 10 unchanged" in note


def losses(samples: int, lost: int, won: int, seed: int = 0) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return by how much each sample, in random order, adds to the right answers that a change costs."""
    found = np.zeros(samples, np.int64)
    found[:lost], found[lost : lost + won] = 1, -1
    return np.random.default_rng(seed).permutation(found)


def first_hopeless(name: str, lost: np.ndarray[tuple[int], np.dtype[np.int64]], step: int = 64) -> int | None:
    """Return the number of samples after which a change is given up, looked at every `step`; None if it never is."""
    for tried in range(step, len(lost), step):
        if is_hopeless(name, tried, int(lost[:tried].sum()), tried / len(lost)):
            return tried
    return None


@pytest.mark.parametrize("name", ["noise", "flip"])
@pytest.mark.parametrize("lost", [0, 19, 21, 99, 101, 500])
def test_what_is_hopeless_is_not_harmless_and_the_other_way_round_where_no_sample_is_left(name: str, lost: int) -> None:
    zeros = np.zeros(1_000, np.int64)
    changed = np.where(np.arange(1_000) < lost, 1, 0)
    assert is_hopeless(name, 1_000, lost, 1.0) != is_harmless(name, zeros, changed, zeros)


def test_a_change_that_costs_half_of_the_right_answers_is_given_up_early() -> None:
    for seed in range(50):
        tried = first_hopeless("flip", losses(1_000, 520, 0, seed))
        assert tried is not None
        assert tried <= 256


def test_a_harmless_change_is_not_given_up_whatever_the_order() -> None:
    # One answer fewer than is harmful, and many that the change makes right or wrong.
    for name, most in (("noise", MOST_LOST), ("flip", FLIP_LOST)):
        for won in (0, 100, 400):
            lost = won + int(1_000 * most) - 1
            assert all(first_hopeless(name, losses(1_000, lost, won, seed)) is None for seed in range(100))
