"""The range of legitimate inputs. Queries beyond it get the highest scores, because models are sure of anything there.

A network whose input is multiplied by ten is certain of its answer, and its teachers agree on it: a client who sends
numbers instead of pictures could have the oddest queries at the price of the plainest. Decision 0016.
"""

from collections.abc import Sequence
from dataclasses import replace
from math import inf, nan

import torch
from torch import Tensor

from calpow.handler.errors import BadPayload
from calpow.handler.leakage.model_inputs import ModelInputs
from calpow.handler.leakage.sketches import measure_spacing
from calpow.handler.leakage.specs import InputRange

# Tolerated on either side, as a share of the legitimate range: honest users' extremes go a little beyond those that
# were measured.
MARGIN = 0.5
LARGEST_NUMBER = 1e9
# Inputs of more numbers share one range; so do all where few were measured.
MOST_PLACES = 4096
FEWEST_INPUTS = 100


def measure_range(inputs: Tensor) -> InputRange:
    """Return the range of legitimate inputs `[n, *input_shape]`, and their spacing where it is by place.

    Numbers share one range where there are more than MOST_PLACES of them, where fewer than FEWEST_INPUTS were measured,
    and where they are integers: the number of a word has no place of its own in a text.
    """
    numbers = _real(inputs)
    if numbers.dim() == 4:
        return _range(numbers.transpose(0, 1).flatten(1))
    if inputs.is_floating_point() and numbers[0].numel() <= MOST_PLACES and len(numbers) >= FEWEST_INPUTS:
        by_place = _range(numbers.flatten(1).T)
        return replace(by_place, spacing=measure_spacing(inputs, by_place))
    return _range(numbers.reshape(1, -1))


def _range(numbers: Tensor) -> InputRange:
    """Return the range of each row of numbers `[k, n]`."""
    # Unlike aminmax, these take half precision in torch 2.0.
    return InputRange(tuple(numbers.amin(dim=1).tolist()), tuple(numbers.amax(dim=1).tolist()))


def measure_shared_range(parts: Sequence[Tensor]) -> InputRange:
    """Return the range that all numbers of legitimate inputs share, which may differ in shape and are not empty."""
    extremes = [_real(inputs).aminmax() for inputs in parts if inputs.numel()]
    low, high = (torch.stack([extreme[side] for extreme in extremes]) for side in (0, 1))
    return InputRange((float(low.min()),), (float(high.max()),))


class RangeCheck:
    """Tells which inputs go well beyond the legitimate range; none does where there is no range."""

    def __init__(self, legitimate: InputRange) -> None:
        self._places = len(legitimate.low)
        low, high = torch.tensor([legitimate.low, legitimate.high], dtype=torch.float64)
        spans = high - low
        # A number that never varied when it was measured may still vary.
        room = MARGIN * torch.maximum(spans, spans.mean()) if self._places else spans
        self._bounds = torch.stack([low - room, high + room])
        # All numbers between these lie within the range of every place.
        self._inner = (float((low - room).amax()), float((high + room).amin())) if self._places else (-inf, inf)

    def holds(self, extremes: tuple[float, float]) -> bool:
        """Return whether no input whose least and largest number are these can go beyond the range."""
        return self._inner[0] <= extremes[0] and extremes[1] <= self._inner[1]

    def exceeded(self, inputs: Tensor) -> Tensor:
        """Return which of inputs `[n, *input_shape]` go well beyond the range: bool `[n]` on the CPU."""
        numbers = _real(inputs)
        if not self._places or not numbers[:1].numel():
            return torch.zeros(len(numbers), dtype=torch.bool)
        least, most = self._bounds.to(numbers)
        shared = self._places == 1
        if shared or (numbers.dim() == 4 and self._places == numbers.shape[1]):
            # A channel's extremes stand for all its numbers, in a sixth of the time.
            planes = numbers.flatten(1).unsqueeze(1) if shared else numbers.flatten(2)
            outside = (planes.amin(dim=2) < least) | (planes.amax(dim=2) > most)
        else:
            outside = (numbers.flatten(1) < least) | (numbers.flatten(1) > most)
        exceeded: Tensor = outside.any(dim=1).cpu()
        return exceeded


def _real(inputs: Tensor) -> Tensor:
    """Return inputs `[n, ...]` as real numbers of a floating-point type, complex ones as pairs."""
    numbers = torch.view_as_real(inputs) if inputs.is_complex() else inputs
    return numbers if numbers.is_floating_point() else numbers.to(torch.float64)


def check_numbers(arguments: ModelInputs) -> tuple[float, float]:
    """Return the least and the largest number of a call's arguments, (inf, -inf) where they hold none.

    Raises BadPayload for numbers that are NaN, infinite or huge. Huge numbers overflow in the teachers, who then agree
    on nonsense: the cheapest price for the oddest query. The masks of transformers hold minus infinity, or the least
    number of their type, in tensors beside the input: of several tensors, only NaN and huge positive numbers are
    refused.
    """
    tensors = arguments.tensors
    least = -LARGEST_NUMBER if len(tensors) == 1 else -inf
    lowest, highest = inf, -inf
    for tensor in tensors:
        low, high = _extremes(tensor)
        # NaN compares as false.
        if not (low >= least and high <= LARGEST_NUMBER):
            raise BadPayload(f"the model takes numbers up to {LARGEST_NUMBER:g} only")
        lowest, highest = min(lowest, low), max(highest, high)
    return lowest, highest


def _extremes(numbers: Tensor) -> tuple[float, float]:
    """Return the least and the largest number, which are NaN where any number is.

    They show in an eighth of torch.isfinite's time whether all are finite.
    """
    if numbers.is_nested:
        parts = [_extremes(part) for part in numbers.unbind()]
        if any(low != low for low, _ in parts):
            return nan, nan
        return min((low for low, _ in parts), default=inf), max((high for _, high in parts), default=-inf)
    if numbers.numel() == 0 or numbers.layout != torch.strided or numbers.is_quantized:
        return inf, -inf
    if numbers.dtype is torch.bool:
        return 0.0, 1.0
    parts_of_numbers = torch.view_as_real(numbers) if numbers.is_complex() else numbers
    try:
        low, high = parts_of_numbers.aminmax()
    except RuntimeError:  # not of this type: half precision in torch 2.0, unsigned integers of 16 bits and more
        low, high = parts_of_numbers.to(torch.float64).aminmax()
    return low.item(), high.item()
