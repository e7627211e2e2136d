"""What the victim answered while its queries were priced, kept until they are paid for.

Pricing asks the victim once; the answer that is paid for later is made of that output instead of a second pass, so
that a protected model computes no more than an unprotected one. An output is only ever used for the very numbers it
was computed from.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter

import torch
from torch import Tensor

# Inputs and outputs together, on the victim's device.
MOST_BYTES = 64 << 20


@dataclass(eq=False)
class _Batch:
    """Copies of a batch's inputs `[n, ...]` and outputs `[n, ...]`; `left` of its samples are still remembered."""

    inputs: Tensor
    outputs: Tensor
    left: int = 0

    @property
    def bytes(self) -> int:
        return self.inputs.nbytes + self.outputs.nbytes


class OutputMemory:
    """Remembers the outputs of a function from a batch of tensors to a batch of tensors, sample by sample.

    Batches are copied and compared whole, which takes a fifth of the time that one sample after another does; a batch
    takes its room until the last of its samples is forgotten.
    """

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._bytes = 0
        self._kept: OrderedDict[float, tuple[_Batch, int]] = OrderedDict()

    def keep(self, inputs: Tensor, outputs: Tensor) -> None:
        """Remember `outputs` `[n, ...]` of `inputs` `[n, ...]`; the oldest go where there is no room."""
        if outputs.dim() == 0 or len(outputs) != len(inputs) or not _is_batch(inputs):
            return
        batch = _Batch(inputs.clone(), outputs.clone())
        self._bytes += batch.bytes
        rows = {key: (batch, row) for row, key in enumerate(_keys(inputs))}
        for key in rows:
            self._forget(key)
        self._kept.update(rows)
        batch.left = len(rows)
        while self._bytes > self._most_bytes:
            self._forget(next(iter(self._kept)))

    def recall(self, inputs: Tensor, compute: Callable[[], object]) -> object:
        """The outputs of `inputs` `[n, ...]` if all of them are remembered, and forget them; else what is computed."""
        keys = _keys(inputs) if _is_batch(inputs) else []
        if not keys or not all(key in self._kept for key in keys):
            return compute()
        outputs = []
        begun = 0
        for batch, found in groupby((self._kept[key] for key in keys), key=itemgetter(0)):
            rows = [row for _, row in found]
            if not _same(_rows(batch.inputs, rows), inputs[begun : begun + len(rows)]):
                return compute()
            outputs.append(_rows(batch.outputs, rows))
            begun += len(rows)
        for key in keys:
            self._forget(key)
        # A copy in any case: what the victim makes of it must not change what is still remembered.
        return torch.cat(outputs)

    def _forget(self, key: float) -> None:
        batch, _ = self._kept.pop(key, (None, None))
        if batch is not None:
            batch.left -= 1
            if batch.left == 0:
                self._bytes -= batch.bytes


def _rows(batch: Tensor, rows: list[int]) -> Tensor:
    """These rows; without a copy where they follow each other, as they mostly do."""
    first, last = rows[0], rows[-1] + 1
    return batch[first:last] if rows == list(range(first, last)) else batch[rows]


def _is_batch(inputs: Tensor) -> bool:
    """Whether rows can be told apart by their numbers, and nobody wants gradients of what is made of them."""
    return inputs.dim() >= 2 and inputs.layout == torch.strided and not inputs.is_quantized and not inputs.requires_grad


def _same(kept: Tensor, asked: Tensor) -> bool:
    """Whether both are the same numbers of the same type: 1 and 1.0 need not have the same answer."""
    return kept.dtype == asked.dtype and kept.device == asked.device and torch.equal(kept, asked)


def _keys(inputs: Tensor) -> list[float]:
    """One number a sample, cheap to have; samples that share one are told apart by comparing them."""
    rows = inputs.detach().flatten(1)
    numbers = torch.view_as_real(rows).flatten(1) if rows.is_complex() else rows
    keys: list[float] = numbers.to(torch.float64).sum(dim=1).tolist()
    return keys
