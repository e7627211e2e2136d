"""The range that legitimate inputs stay in: beyond it, models grow sure of anything.

A network whose input is multiplied by ten is certain of its answer, and its teachers agree on it: whoever sends numbers
instead of pictures could have the oddest queries at the price of the plainest.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

# Of the legitimate range, on either side: honest users' extremes go a little beyond those that were measured.
MARGIN = 0.5
# Inputs of more numbers share one range; so do all where few were seen.
MOST_PLACES = 4096
FEWEST_INPUTS = 100


@dataclass(frozen=True)
class Limits:
    """Least and largest number of legitimate inputs: by channel of `[channels, height, width]`, else by place.

    One of each for inputs of more than MOST_PLACES numbers, and where fewer than FEWEST_INPUTS were seen.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]

    @classmethod
    def of(cls, inputs: Tensor) -> "Limits":
        """The limits of legitimate inputs `[n, *input_shape]`."""
        numbers = _real(inputs)
        if numbers.dim() == 4:
            low, high = numbers.amin(dim=(0, 2, 3)), numbers.amax(dim=(0, 2, 3))
        elif numbers[0].numel() <= MOST_PLACES and len(numbers) >= FEWEST_INPUTS:
            low, high = numbers.flatten(1).amin(dim=0), numbers.flatten(1).amax(dim=0)
        else:
            low, high = numbers.amin().reshape(1), numbers.amax().reshape(1)
        return cls(tuple(low.tolist()), tuple(high.tolist()))

    def exceeded(self, inputs: Tensor) -> Tensor:
        """Which of inputs `[n, *input_shape]` go well beyond the limits: bool `[n]` on the CPU."""
        numbers = _real(inputs)
        least, most = self._bounds.to(numbers)
        shared = len(self.low) == 1
        if shared or (numbers.dim() == 4 and len(self.low) == numbers.shape[1]):
            # A channel's extremes tell of all its numbers, in a sixth of the time.
            planes = numbers.flatten(1).unsqueeze(1) if shared else numbers.flatten(2)
            outside = (planes.amin(dim=2) < least) | (planes.amax(dim=2) > most)
        else:
            outside = (numbers.flatten(1) < least) | (numbers.flatten(1) > most)
        found: Tensor = outside.any(dim=1).cpu()
        return found

    @cached_property
    def _bounds(self) -> Tensor:
        """Least and largest number that is let pass, `[2, len(low)]`."""
        low, high = torch.tensor([self.low, self.high], dtype=torch.float64)
        spans = high - low
        # A number that was the same in all that was seen may still vary.
        room = MARGIN * torch.maximum(spans, spans.mean())
        return torch.stack([low - room, high + room])


def _real(inputs: Tensor) -> Tensor:
    """Inputs `[n, ...]` as real numbers of a floating-point type, complex ones as pairs."""
    numbers = torch.view_as_real(inputs) if inputs.is_complex() else inputs
    return numbers if numbers.is_floating_point() else numbers.to(torch.float64)
