"""Threads and memory layout in which a slow victim answers many samples soonest, on this machine at this moment.

Decision 0067.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from calpow.handler.leakage.model_inputs import ModelInputs
from calpow.handler.leakage.recording import Recorder

# A model that answers sooner has little to gain, and is run as torch runs it by default.
SLOW_SECONDS = 0.01
PASSES = 4
# Another way is taken if it takes less than this share of the time.
GAIN = 0.95
# One that takes this many times as long as another is tried no more.
HOPELESS = 5.0
# By how much of the largest number an output may differ in another layout: float32 is exact to a ten-millionth.
ROUNDING = 1e-4

Run = Callable[[], object]
Clock = Callable[[], float]


@contextmanager
def keeping_threads() -> Iterator[None]:
    """Context manager that restores torch's number of threads."""
    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)


def choose_threads(run: Run) -> None:
    """Set torch's number of threads to one, or to one for each core if that makes a slow `run` faster.

    Where other programs use the cores, threads that wait for each other take many times as long as one alone.
    OMP_NUM_THREADS does not matter: it is for the server, which is timed in processes of its own.
    """
    cores = _cores()
    run()
    if cores > 1 and _seconds(run, time.perf_counter) >= SLOW_SECONDS:
        runs = [_with_threads(run, threads) for threads in (1, cores)]
        torch.set_num_threads((1, cores)[_soonest(runs, time.perf_counter)])


def choose_layout(recorder: Recorder, arguments: ModelInputs) -> torch.memory_format:
    """Return the layout of images in which the model answers such arguments soonest, and alike.

    With the channels last, convolutions on a CPU take two thirds of the time. It is for one batch of images of
    floating-point numbers; others, and those of fast models, stay as they are.
    """
    tensor = arguments.only_tensor
    if tensor is None or tensor.device.type != "cpu" or not _is_coloured(tensor):
        return torch.contiguous_format
    try:
        return _sooner_layout(recorder, arguments)
    except Exception:  # a model may take one image at a time, or the numbers of an image in one order
        return torch.contiguous_format


def _sooner_layout(recorder: Recorder, arguments: ModelInputs) -> torch.memory_format:
    """Return the layout for a batch of images. Raises what the model raises."""
    expected = recorder.replay(arguments).output
    # Processor time: the same threads do the same work, and other programs matter little.
    clock = time.process_time
    if _seconds(lambda: recorder.replay(arguments), clock) < SLOW_SECONDS:
        return torch.contiguous_format
    last = arranged(arguments, torch.channels_last)
    found = recorder.replay(last).output
    if expected is None or found is None or not _is_alike(found, expected):
        return torch.contiguous_format
    runs = [lambda: recorder.replay(arguments), lambda: recorder.replay(last)]
    return (torch.contiguous_format, torch.channels_last)[_soonest(runs, clock)]


def arranged(arguments: ModelInputs, layout: torch.memory_format) -> ModelInputs:
    """Return arguments with images in this layout; the numbers are the same."""
    if layout is torch.contiguous_format:
        return arguments
    return arguments.map(lambda tensor: tensor.contiguous(memory_format=layout) if tensor.dim() == 4 else tensor)


def _cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _is_coloured(tensor: Tensor) -> bool:
    """Return whether a tensor `[n, channels, height, width]` has real numbers in more than one channel."""
    return tensor.is_floating_point() and tensor.dim() == 4 and tensor.size(1) > 1 and len(tensor) > 0


def _is_alike(found: Tensor, expected: Tensor) -> bool:
    if (found.shape, found.dtype) != (expected.shape, expected.dtype):
        return False
    if not expected.is_floating_point():
        return torch.equal(found, expected)
    finite = expected[expected.isfinite()].abs()
    largest = float(finite.max()) if len(finite) else 0.0
    return torch.allclose(found, expected, rtol=0.0, atol=ROUNDING * largest, equal_nan=True)


def _soonest(runs: Sequence[Run], clock: Clock) -> int:
    """Return the position of the run that takes least time, or of the first if no other is clearly faster.

    They take turns, so that other load on the machine affects all of them alike.
    """
    spent, left = [0.0] * len(runs), list(range(len(runs)))
    for _ in range(PASSES):
        for place in left:
            spent[place] += _seconds(runs[place], clock)
        least = min(spent[place] for place in left)
        left = [place for place in left if spent[place] <= HOPELESS * least]
    best = min(left, key=lambda place: spent[place])
    return best if best == left[0] or spent[best] < GAIN * spent[left[0]] else left[0]


def _with_threads(run: Run, threads: int) -> Run:
    def run_so() -> None:
        torch.set_num_threads(threads)
        run()

    return run_so


def _seconds(run: Run, clock: Clock) -> float:
    begun = clock()
    run()
    return clock() - begun
