"""From payloads to prices: the victim's preprocess, then the meter, one call for a whole batch."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from calpow.handler.errors import BadPayload, PricingUnavailable
from calpow.handler.leakage.base import Priced
from calpow.puzzle.errors import CalpowError

# Bounds what one request can make the worker price, in memory and time.
MOST_SAMPLES = 4096
LARGEST_NUMBER = 1e9


class BatchPricer:
    """Prices payloads of any type that `preprocess` turns into input tensors of one shape."""

    def __init__(
        self,
        preprocess: Callable[[object], Tensor],
        price: Callable[[Tensor], Priced],
        input_shape: tuple[int, ...],
    ) -> None:
        """`price` is Meter.price, for inputs `[n, *input_shape]`."""
        self._preprocess = preprocess
        self._price_inputs = price
        self._input_shape = input_shape

    def price(self, payloads: Sequence[object]) -> list[Priced | BadPayload | PricingUnavailable]:
        """One entry a payload, in order: its samples' costs, why it cannot be read, or why it cannot be priced now."""
        inputs = [self._tensor(payload) for payload in payloads]
        readable = [each for each in inputs if isinstance(each, Tensor)]
        priced = iter(self._price(readable))
        return [next(priced) if isinstance(each, Tensor) else each for each in inputs]

    def _tensor(self, payload: object) -> Tensor | BadPayload | PricingUnavailable:
        """One payload's samples, `[samples, *input_shape]`. One at a time, so that a bad one fails alone."""
        try:
            made = self._preprocess(payload)
        except (BadPayload, PricingUnavailable) as problem:
            return problem
        if tuple(made.shape[1:]) != self._input_shape:
            return BadPayload(f"the model takes inputs of shape {self._input_shape}, not {tuple(made.shape[1:])}")
        if len(made) > MOST_SAMPLES:
            return BadPayload(f"a request may hold {MOST_SAMPLES:,} samples, this one holds {len(made):,}")
        if not _is_moderate(made):
            return BadPayload(f"the model takes numbers up to {LARGEST_NUMBER:g} only")
        return made

    def _price(self, inputs: Sequence[Tensor]) -> Sequence[Priced | BadPayload | PricingUnavailable]:
        if not inputs:
            return []
        try:
            return self._price_together(inputs)
        except (MemoryError, RuntimeError, CalpowError) as problem:
            if len(inputs) > 1:
                # Whoever cannot be priced must not spoil the others' prices: each by itself.
                return [self._price([each])[0] for each in inputs]
            if isinstance(problem, BadPayload):
                return [problem]
            return [PricingUnavailable(f"cannot price a payload: {type(problem).__name__}")]

    def _price_together(self, inputs: Sequence[Tensor]) -> list[Priced]:
        together = inputs[0] if len(inputs) == 1 else torch.cat(list(inputs))
        priced = self._price_inputs(together)
        sizes = [len(each) for each in inputs]
        return [
            Priced(costs, labels)
            for costs, labels in zip(torch.split(priced.costs, sizes), torch.split(priced.labels, sizes), strict=True)
        ]


def _is_moderate(numbers: Tensor) -> bool:
    """Whether no number is NaN, infinite or huge; the extremes show it, in an eighth of the time of torch.isfinite.

    Huge numbers overflow in the teachers, who then agree on nonsense: the cheapest price for the oddest query.
    """
    parts = torch.view_as_real(numbers) if numbers.is_complex() else numbers
    return all(abs(extreme.item()) <= LARGEST_NUMBER for extreme in parts.aminmax())
