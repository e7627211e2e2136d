"""The range of legitimate inputs. Queries beyond it cost the most, because models are sure of anything there.

A network whose input is multiplied by ten is certain of its answer, and its teachers agree on it: a client who sends
numbers instead of pictures could have the oddest queries at the price of the plainest. Decision 0016.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from calpow.handler.leakage.specs import InputRange

# Tolerated on either side, as a share of the legitimate range: honest users' extremes go a little beyond those that
# were measured.
MARGIN = 0.5
# Inputs of more numbers share one range; so do all where few were measured.
MOST_PLACES = 4096
FEWEST_INPUTS = 100


def measure_range(inputs: Tensor) -> InputRange:
    """Return the range of legitimate inputs `[n, *input_shape]`.

    Numbers share one range where there are more than MOST_PLACES of them, where fewer than FEWEST_INPUTS were measured,
    and where they are integers: the number of a word has no place of its own in a text.
    """
    numbers = _real(inputs)
    if numbers.dim() == 4:
        low, high = numbers.amin(dim=(0, 2, 3)), numbers.amax(dim=(0, 2, 3))
    elif inputs.is_floating_point() and numbers[0].numel() <= MOST_PLACES and len(numbers) >= FEWEST_INPUTS:
        low, high = numbers.flatten(1).amin(dim=0), numbers.flatten(1).amax(dim=0)
    else:
        low, high = numbers.amin().reshape(1), numbers.amax().reshape(1)
    return InputRange(tuple(low.tolist()), tuple(high.tolist()))


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
