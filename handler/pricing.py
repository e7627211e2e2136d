"""From payloads to prices: the victim's own preprocess, then the leakage metric, one call for a whole batch."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from calpow.handler.errors import BadPayload, PricingUnavailable
from calpow.handler.leakage.base import Metric, Priced


class BatchPricer:
    """Prices payloads of any type that `preprocess` turns into input tensors of one shape."""

    def __init__(self, preprocess: Callable[[object], Tensor], metric: Metric, input_shape: tuple[int, ...]) -> None:
        self._preprocess = preprocess
        self._metric = metric
        self._input_shape = input_shape

    def price(self, payloads: Sequence[object]) -> list[Priced | BadPayload]:
        """One entry a payload, in order: its samples' costs, or why it cannot be read.

        Raises PricingUnavailable when memory or the device gives out.
        """
        try:
            inputs = [self._tensor(payload) for payload in payloads]
            readable = [each for each in inputs if isinstance(each, Tensor)]
            priced = iter(self._price(readable))
        except (MemoryError, RuntimeError) as problem:
            raise PricingUnavailable(f"cannot price a batch of {len(payloads)}: {problem}") from problem
        return [next(priced) if isinstance(each, Tensor) else each for each in inputs]

    def _tensor(self, payload: object) -> Tensor | BadPayload:
        """One payload's samples, `[samples, *input_shape]`. One at a time, so that a bad one fails alone."""
        try:
            made = self._preprocess(payload)
        except BadPayload as problem:
            return problem
        if tuple(made.shape[1:]) != self._input_shape:
            return BadPayload(f"the model takes inputs of shape {self._input_shape}, not {tuple(made.shape[1:])}")
        if not bool(torch.isfinite(made).all()):
            return BadPayload("the model takes finite numbers only")
        return made

    def _price(self, inputs: Sequence[Tensor]) -> list[Priced]:
        if not inputs:
            return []
        priced = self._metric.price(torch.cat(list(inputs)))
        sizes = [len(each) for each in inputs]
        return [
            Priced(costs, labels)
            for costs, labels in zip(torch.split(priced.costs, sizes), torch.split(priced.labels, sizes), strict=True)
        ]
