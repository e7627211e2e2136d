"""A slow victim is run with the threads and in the layout that take least time, and answers alike."""

import time
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from calpow.archiver.calibration import victim_pace
from calpow.archiver.calibration.victim_pace import arranged, choose_layout, choose_threads, keeping_threads
from calpow.handler.leakage.model_inputs import ModelInputs
from calpow.handler.leakage.recording import Recorder

IMAGES = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(0))
SLOW = 0.02


class LayoutNet(nn.Module):
    """Model of images that takes seconds by their layout, and may answer differently with the channels last."""

    def __init__(self, seconds: dict[bool, float], answer: Callable[[Tensor, bool], Tensor]) -> None:
        super().__init__()
        self._seconds = seconds
        self._answer = answer

    def forward(self, images: Tensor) -> Tensor:
        """Return the mean of each channel `[n, channels]`."""
        last = not images.is_contiguous()
        end = time.process_time() + self._seconds[last]
        while time.process_time() < end:
            pass
        return self._answer(images.mean(dim=(2, 3)), last)


def layout_of(seconds: dict[bool, float], answer: Callable[[Tensor, bool], Tensor] = lambda means, _: means) -> object:
    return choose_layout(Recorder(LayoutNet(seconds, answer)), ModelInputs.of(IMAGES))


def refused(means: Tensor, last: bool) -> Tensor:
    if last:
        raise RuntimeError("view size is not compatible with input tensor's size and stride")
    return means


def asserting(means: Tensor, last: bool) -> Tensor:
    assert not last, "images must be contiguous"
    return means


def one_at_a_time(means: Tensor, last: bool) -> Tensor:
    return means.view(1, 4)


def unlikely(means: Tensor, last: bool) -> Tensor:
    """Return logarithms of probabilities, one of which is 0."""
    answer = means + 0.01 * last
    answer[0, 0] = -torch.inf
    return answer


def test_images_take_the_layout_that_a_slow_model_answers_sooner() -> None:
    assert layout_of({False: 2 * SLOW, True: SLOW}) is torch.channels_last
    assert layout_of({False: SLOW, True: 2 * SLOW}) is torch.contiguous_format


def test_images_keep_their_layout_where_the_model_is_fast_or_answers_differently_in_another() -> None:
    faster = {False: 2 * SLOW, True: SLOW}
    assert layout_of({False: 0.0, True: 0.0}) is torch.contiguous_format
    for other in (refused, asserting, one_at_a_time, unlikely, lambda means, last: means.argmax(1) + last):
        assert layout_of(faster, other) is torch.contiguous_format
    assert layout_of(faster, lambda means, _: means.argmax(1) > 1) is torch.channels_last
    assert layout_of(faster, lambda means, last: means + 0.01 * last) is torch.contiguous_format
    assert layout_of(faster, lambda means, last: means * (1 + 1e-6 * last)) is torch.channels_last


def test_what_is_no_batch_of_coloured_images_has_one_layout() -> None:
    for inputs in (IMAGES[0], IMAGES[:, :1], IMAGES.to(torch.uint8), torch.rand(3, 4)):
        recorder = Recorder(nn.Identity())
        assert choose_layout(recorder, ModelInputs.of(inputs)) is torch.contiguous_format


def test_arranged_images_are_equal_and_others_are_left_alone() -> None:
    pair = ModelInputs((IMAGES, torch.rand(3, 4)), {})
    images, rows = arranged(pair, torch.channels_last).tensors
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(images, IMAGES)
    assert rows is pair.tensors[1]
    assert arranged(pair, torch.contiguous_format) is pair


@pytest.mark.parametrize(("alone", "together", "expected"), [(5 * SLOW, SLOW, 2), (SLOW, 4 * SLOW, 1), (0.0, 0.0, 3)])
def test_a_slow_model_runs_with_one_thread_or_one_for_each_core(
    monkeypatch: pytest.MonkeyPatch, alone: float, together: float, expected: int
) -> None:
    monkeypatch.setattr(victim_pace, "_cores", lambda: 2)
    with keeping_threads():
        torch.set_num_threads(3)
        choose_threads(lambda: time.sleep(together if torch.get_num_threads() == 2 else alone))
        assert torch.get_num_threads() == expected


def test_the_number_of_threads_is_restored() -> None:
    before = torch.get_num_threads()
    with keeping_threads():
        torch.set_num_threads(before + 1)
    assert torch.get_num_threads() == before
