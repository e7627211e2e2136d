"""Inner layers show the mean and the deviation of each channel, while the victim runs and whatever it does next."""

import threading

import pytest
import torch
from torch import Tensor, nn

from calpow.handler.errors import VictimError
from calpow.handler.leakage.taps.depths import MOST_NUMBERS, DepthTap, is_features_last, summarise

GENERATOR = torch.Generator().manual_seed(0)


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=GENERATOR) + 2


def moments(values: Tensor, axes: tuple[int, ...]) -> Tensor:
    numbers = values.double()
    return torch.cat([numbers.mean(dim=axes), numbers.std(dim=axes, correction=0)], dim=1).float()


def shown(module: nn.Module, output: object, samples: int) -> Tensor:
    summaries = summarise(output, module, features_last=is_features_last(module))
    numbers = summaries.of(torch.zeros(samples, 10))
    assert numbers is not None
    assert numbers.dtype is torch.float32
    return numbers


IMAGES, VOLUMES, SIGNALS = random(3, 5, 6, 7), random(3, 5, 4, 3, 2), random(3, 5, 8)
TEXTS, PATCHES, TABLE = random(3, 8, 6), random(3, 4, 5, 6), random(3, 9)
TEXT_FIRST = TEXTS.transpose(0, 1)
CASES: dict[str, tuple[nn.Module, object, Tensor]] = {
    "images": (nn.Conv2d(1, 5, 1), IMAGES, moments(IMAGES, (2, 3))),
    "images last in memory": (nn.ReLU(), IMAGES.contiguous(memory_format=torch.channels_last), moments(IMAGES, (2, 3))),
    "volumes": (nn.MaxPool3d(1), VOLUMES, moments(VOLUMES, (2, 3, 4))),
    "signals": (nn.BatchNorm1d(5), SIGNALS, moments(SIGNALS, (2,))),
    "texts": (nn.Embedding(9, 6), TEXTS, moments(TEXTS, (1,))),
    "texts, time first": (nn.LayerNorm(6), TEXT_FIRST, moments(TEXTS, (1,))),
    "patches": (nn.Linear(2, 6), PATCHES, moments(PATCHES, (1, 2))),
    "recurrent": (nn.LSTM(2, 6), (TEXT_FIRST, (TEXTS, TEXTS)), moments(TEXTS, (1,))),
    "recurrent, batch first": (nn.GRU(2, 6, batch_first=True), (TEXTS, TEXTS), moments(TEXTS, (1,))),
    "attention": (nn.MultiheadAttention(6, 2, batch_first=True), (TEXTS, None), moments(TEXTS, (1,))),
    "tables": (nn.ReLU(), TABLE, TABLE),
    "half precision": (nn.Conv2d(1, 5, 1), IMAGES.half(), moments(IMAGES.half(), (2, 3))),
}


@pytest.mark.parametrize("name", CASES)
def test_outputs_of_every_form_become_a_row_of_means_and_deviations_a_sample(name: str) -> None:
    module, output, expected = CASES[name]
    assert torch.allclose(shown(module, output, 3), expected, atol=1e-5)


def test_channels_that_hardly_vary_keep_their_deviation() -> None:
    images = 1000 + 0.01 * random(2, 3, 8, 8)
    assert torch.allclose(shown(nn.ReLU(), images, 2)[:, 3:], moments(images, (2, 3))[:, 3:], rtol=0.02)
    assert shown(nn.ReLU(), torch.full((2, 3, 8, 8), 7.0), 2)[:, 3:].amax() < 1e-5


def test_a_square_sequence_is_read_as_its_module_says() -> None:
    square = random(4, 4, 6)
    assert torch.allclose(shown(nn.LSTM(2, 6), (square, None), 4), moments(square, (0,)), atol=1e-5)
    assert torch.allclose(shown(nn.LSTM(2, 6, batch_first=True), (square, None), 4), moments(square, (1,)), atol=1e-5)
    assert torch.allclose(shown(nn.Linear(2, 6), square, 4), moments(square, (1,)), atol=1e-5)


@pytest.mark.parametrize(("module", "output"), [(nn.ReLU(), random(2, 700, 3, 3)), (nn.ReLU(), random(2, 2000))])
def test_many_numbers_are_averaged_to_groups(module: nn.Module, output: Tensor) -> None:
    whole = output if output.dim() == 2 else moments(output, (2, 3))
    expected = nn.functional.adaptive_avg_pool1d(whole[:, None], MOST_NUMBERS)[:, 0]
    assert torch.allclose(shown(module, output, 2), expected, atol=1e-5)


@pytest.mark.parametrize("output", [None, "text", (), random(3), torch.eye(3).to_sparse(), [None, random(3, 2)]])
def test_what_shows_no_row_a_sample_shows_nothing(output: object) -> None:
    assert summarise(output, nn.ReLU(), features_last=False).of(torch.zeros(3, 10)) is None


def test_a_sample_without_an_axis_of_the_batch_is_one_row() -> None:
    summaries = summarise(random(1, 4), nn.ReLU(), features_last=False)
    assert summaries.rows is not None
    assert summaries.of(torch.zeros(10)) is summaries.of(torch.zeros(())) is summaries.rows[0]


class InPlaceNet(nn.Module):
    """Model that changes the outputs of its layers in place."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits `[n, 3]`."""
        logits: Tensor = self.second(self.first(inputs).relu_().mul_(0.5))
        return logits


@pytest.fixture
def tapped() -> tuple[InPlaceNet, DepthTap]:
    torch.manual_seed(0)
    model = InPlaceNet().eval()
    return model, DepthTap(model, ["first", "second"])


def run(model: nn.Module, tap: DepthTap, inputs: Tensor) -> dict[str, Tensor]:
    tap.arm()
    with torch.inference_mode():
        return dict(tap.numbers(model(inputs)))


def test_outputs_are_read_before_the_model_changes_them(tapped: tuple[InPlaceNet, DepthTap]) -> None:
    model, tap = tapped
    inputs = random(5, 4)
    with torch.inference_mode():
        expected = nn.functional.linear(inputs, model.first.weight, model.first.bias)
    numbers = run(model, tap, inputs)
    assert list(numbers) == ["first", "second"]
    assert torch.equal(numbers["first"], expected)


def test_nothing_is_kept_of_runs_that_are_not_recorded(tapped: tuple[InPlaceNet, DepthTap]) -> None:
    model, tap = tapped
    model(random(5, 4))
    assert tap.take() == {}
    run(model, tap, random(5, 4))
    model(random(5, 4))
    assert tap.take() == {}


def test_a_layer_that_was_not_used_or_shows_other_rows_is_left_out(tapped: tuple[InPlaceNet, DepthTap]) -> None:
    model, tap = tapped
    tap.arm()
    output = model.second(random(5, 6))
    assert list(tap.numbers(output)) == ["second"]
    tap.arm()
    model(random(5, 4))
    assert dict(tap.numbers(torch.zeros(7, 3))) == {}
    tap.arm()
    model(random(5, 4))
    assert dict(tap.numbers(None)) == {}


def test_a_hook_that_cannot_reduce_an_output_does_not_fail_the_model() -> None:
    model = nn.Sequential(nn.Identity())
    tap = DepthTap(model, ["0"])
    tap.arm()
    empty = torch.zeros(2, 3, 0)
    assert model(empty) is empty
    tap.take()


def test_a_removed_tap_leaves_the_model_as_it_was(tapped: tuple[InPlaceNet, DepthTap]) -> None:
    model, tap = tapped
    tap.remove()
    assert run(model, tap, random(5, 4)) == {}
    assert not model.first._forward_hooks


def test_a_layer_that_the_model_does_not_have_is_named() -> None:
    for model in (InPlaceNet(), len):
        with pytest.raises(VictimError, match="has no layer stem, whose output was calibrated with"):
            DepthTap(model, ["stem"])


def test_each_thread_gets_the_numbers_of_its_own_run(tapped: tuple[InPlaceNet, DepthTap]) -> None:
    model, tap = tapped
    results: dict[int, bool] = {}

    def work(samples: int) -> None:
        inputs = torch.full((samples, 4), float(samples))
        expected = run(model, tap, inputs)["first"]
        results[samples] = all(torch.equal(run(model, tap, inputs)["first"], expected) for _ in range(50))
        results[samples] &= len(expected) == samples

    threads: list[threading.Thread] = [threading.Thread(target=work, args=(samples,)) for samples in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == dict.fromkeys(range(1, 9), True)
