"""The likeness of near-copies: as much as honest users of a class can afford, and no more."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from calpow.archiver.calibration.near_copies import MISTAKEN, MOST_BITS, near_copy_bits
from calpow.archiver.data.payloads import PayloadFolder
from calpow.handler.leakage.model_inputs import ModelInputs
from calpow.handler.leakage.sketches import Sketcher, distances
from calpow.handler.ledger.history import SKETCH_BITS, SKETCHES
from tests.support.legitimate_tensors import scenes
from tests.support.open_victims import FirstTensorNet, PooledNet
from tests.support.score_setups import ROWS, alone, set_up

TWO = PayloadFolder(("0", "1"), ())


class BrightNet(nn.Module):
    """Model of images `[n, 3, h, w]`: it tells bright ones from dark ones."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)
        with torch.no_grad():
            self.layer.weight.copy_(torch.tensor([[-1.0] * 3, [1.0] * 3]))
            self.layer.bias.copy_(torch.tensor([1.0, -1.0]))

    def forward(self, images: Tensor) -> Tensor:
        """Return logits `[n, 2]`."""
        logits: Tensor = self.layer(images.mean(dim=(-2, -1)))
        return logits


def likeness(images: Tensor) -> int:
    setup, calls = set_up(BrightNet(), [ModelInputs.of(image.unsqueeze(0)) for image in images], folder=TWO)
    return near_copy_bits(calls, setup)


def test_pictures_that_differ_leave_room_for_near_copies() -> None:
    images = torch.rand(80, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    bits = likeness(images)
    assert 0 < bits <= MOST_BITS
    setup, _ = set_up(BrightNet(), [ModelInputs.of(image.unsqueeze(0)) for image in images], folder=TWO)
    sketcher = Sketcher(setup.input_range)
    one_pixel = images.clone()
    one_pixel[:, :, 3, 3] = 1.0
    copied = distances(sketcher.sketches(images), sketcher.sketches(one_pixel)).diagonal()
    assert np.mean(copied <= bits) > 0.9


def test_no_more_samples_pass_for_copies_than_honest_users_can_afford() -> None:
    images = scenes(3, 16, samples=160)
    images = images - images.mean(dim=(1, 2, 3), keepdim=True) + torch.linspace(0.2, 0.6, 160)[:, None, None, None]
    bits = likeness(images)
    setup, calls = set_up(BrightNet(), [ModelInputs.of(image.unsqueeze(0)) for image in images], folder=TWO)
    sketches = Sketcher(setup.input_range).sketches(images)
    outputs = torch.cat([call.output for call in calls if call.output is not None])
    for answer in range(2):
        of_class = sketches[outputs.argmax(dim=1).numpy() == answer]
        differences = distances(of_class, of_class)
        np.fill_diagonal(differences, 999)
        alike = (differences <= bits).mean(axis=1)
        assert bits < 0 or (1 - (1 - alike) ** SKETCHES).mean() <= 2 * MISTAKEN


def test_pictures_of_a_class_that_are_all_alike_leave_none() -> None:
    images = torch.rand(1, 3, 16, 16).repeat(60, 1, 1, 1)
    assert likeness(images + 1e-4 * torch.rand(60, 3, 16, 16)) == -1


def table(count: int, seed: int) -> Tensor:
    """Return rows of four columns with long tails: two sizes that follow one another, a price, and one of two kinds."""
    rng = np.random.default_rng(seed)
    size = rng.lognormal(0, 0.5, count)
    columns = [size * rng.normal(1, 0.1, count), size * rng.normal(1, 0.1, count), rng.lognormal(8, 1, count)]
    return torch.tensor(np.column_stack([*columns, rng.integers(2, size=count)]), dtype=torch.float32)


def test_near_copies_of_a_tables_row_are_recognised_and_other_rows_of_its_class_are_not() -> None:
    rows = table(400, 0)
    setup, calls = set_up(FirstTensorNet(), [ModelInputs.of(rows)])
    bits = near_copy_bits(calls, setup)
    assert 0 < bits <= MOST_BITS
    sketcher = Sketcher(setup.input_range)
    row = table(1, 1).expand(200, -1)
    noise = 0.02 * rows[:, :3].std(dim=0) * torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
    copies = sketcher.sketches(torch.cat([row[:, :3] + noise, row[:, 3:]], dim=1))
    between = distances(copies, copies) + SKETCH_BITS * np.eye(200, dtype=np.int64)
    assert (between.min(axis=1) <= bits).mean() > 0.95
    fresh = sketcher.sketches(table(257, 2))
    between = distances(fresh, fresh) + SKETCH_BITS * np.eye(257, dtype=np.int64)
    assert (between.min(axis=1) <= bits).mean() < 0.1


def test_rows_that_occur_twice_are_no_reason_to_tell_fewer_near_copies() -> None:
    rows = table(400, 0)
    setup, calls = set_up(FirstTensorNet(), [ModelInputs.of(rows)])
    _, doubled = set_up(FirstTensorNet(), [ModelInputs.of(rows), ModelInputs.of(rows[:50])])
    assert near_copy_bits(doubled, setup) == near_copy_bits(calls, setup)


def test_a_vector_has_a_sketch_too() -> None:
    setup, calls = set_up(FirstTensorNet(), alone(ROWS))
    assert -1 <= near_copy_bits(calls, setup) <= MOST_BITS


@pytest.mark.parametrize("length", [1, 3])
def test_several_tensors_and_sequences_are_no_reason_to_fail(length: int) -> None:
    setup, calls = set_up(FirstTensorNet(), [ModelInputs((row.unsqueeze(0), torch.ones(1, 2)), {}) for row in ROWS])
    assert near_copy_bits(calls, setup) == -1
    sequences = [ModelInputs.of(torch.rand(1, length + number % 3, 4)) for number in range(40)]
    setup, calls = set_up(PooledNet(), sequences)
    assert -1 <= near_copy_bits(calls, setup) <= MOST_BITS
