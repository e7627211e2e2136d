"""The range of legitimate inputs. Queries beyond it cost the most, because models are sure of anything there.

A network whose input is multiplied by ten is certain of its answer, and its teachers agree on it: a client who sends
numbers instead of pictures could have the oddest queries at the price of the plainest. Decision 0016.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

# Tolerated on either side, as a share of the legitimate range: honest users' extremes go a little beyond those that
# were measured.
MARGIN = 0.5
# Inputs of more numbers share one range; so do all where few were measured.
MOST_PLACES = 4096
FEWEST_INPUTS = 100


@dataclass(frozen=True)
class InputRange:
    """Least and largest number of legitimate inputs: by channel of `[channels, height, width]`, else by place.

    There is one pair for inputs of more than MOST_PLACES numbers, and when fewer than FEWEST_INPUTS were measured.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]

    @classmethod
    def of(cls, inputs: Tensor) -> "InputRange":
        """Return the range of legitimate inputs `[n, *input_shape]`."""
        numbers = _real(inputs)
        if numbers.dim() == 4:
            low, high = numbers.amin(dim=(0, 2, 3)), numbers.amax(dim=(0, 2, 3))
        elif numbers[0].numel() <= MOST_PLACES and len(numbers) >= FEWEST_INPUTS:
            low, high = numbers.flatten(1).amin(dim=0), numbers.flatten(1).amax(dim=0)
        else:
            low, high = numbers.amin().reshape(1), numbers.amax().reshape(1)
        return cls(tuple(low.tolist()), tuple(high.tolist()))

    def exceeded(self, inputs: Tensor) -> Tensor:
        """Return which of inputs `[n, *input_shape]` go well beyond the range: bool `[n]` on the CPU."""
        numbers = _real(inputs)
        least, most = self._bounds.to(numbers)
        shared = len(self.low) == 1
        if shared or (numbers.dim() == 4 and len(self.low) == numbers.shape[1]):
            # A channel's extremes stand for all its numbers, in a sixth of the time.
            planes = numbers.flatten(1).unsqueeze(1) if shared else numbers.flatten(2)
            outside = (planes.amin(dim=2) < least) | (planes.amax(dim=2) > most)
        else:
            outside = (numbers.flatten(1) < least) | (numbers.flatten(1) > most)
        exceeded: Tensor = outside.any(dim=1).cpu()
        return exceeded

    @cached_property
    def _bounds(self) -> Tensor:
        """Least and largest number that is tolerated, `[2, len(low)]`."""
        low, high = torch.tensor([self.low, self.high], dtype=torch.float64)
        spans = high - low
        # A number that never varied when it was measured may still vary.
        room = MARGIN * torch.maximum(spans, spans.mean())
        return torch.stack([low - room, high + room])


def _real(inputs: Tensor) -> Tensor:
    """Return inputs `[n, ...]` as real numbers of a floating-point type, complex ones as pairs."""
    numbers = torch.view_as_real(inputs) if inputs.is_complex() else inputs
    return numbers if numbers.is_floating_point() else numbers.to(torch.float64)
