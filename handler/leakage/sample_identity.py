"""Identities of the samples that a victim's model is called on: exact digests, and sketches of near-copies."""

import marshal
import pickle
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from calpow.handler.leakage.batches import id_rows, input_rows
from calpow.handler.leakage.model_inputs import ModelInputs
from calpow.handler.leakage.recording import Call
from calpow.handler.leakage.sketches import Sketcher, Sketches
from calpow.handler.leakage.specs import InputRange
from calpow.handler.ledger.history import DIGEST_BYTES, SampleIdentity

Array = NDArray[Any]


class SampleIdentifier:
    """Computes the identities of samples.

    `key` of 1 to 64 bytes is known only to those who have the victim. Who knew it could search for two inputs of the
    same digest, an ordinary one and one that he would steal the answer to.
    """

    def __init__(self, key: bytes, legitimate: InputRange) -> None:
        self._key = key
        self._sketcher = Sketcher(legitimate)

    def identities(self, calls: Sequence[Call], counts: Sequence[int], purpose: str) -> list[SampleIdentity]:
        """Return the identities of the samples of calls, `counts` of each.

        `purpose` is what their answers are for. Digests are equal for equal samples, also where other samples are in
        the call, and for no others. Where the arguments do not show the rows of the samples, a sample is all that the
        call has and its number. Where they cannot be read, digests and sketches are empty.
        """
        identities: list[SampleIdentity] = []
        for call, count in zip(calls, counts, strict=True):
            digests = self._digests(call.arguments, count, purpose)
            identities += map(SampleIdentity, digests, self._sketches(call.arguments, count))
        return identities

    def _digests(self, arguments: ModelInputs, count: int, purpose: str) -> list[bytes]:
        try:
            tensors = arguments.tensors
            start = purpose.encode() + b"\0" + _structure(arguments)
            arrays = [_array(tensor) for tensor in tensors]
        except Exception:  # of a type that torch, marshal or pickle does not read
            return [b""] * count
        types = [str(tensor.dtype) for tensor in tensors]
        if not _has_rows(arrays, count):
            bags = _bags(arrays, count)
            if bags is not None:
                return [self._digest(start, types[:-1], bag) for bag in bags]
            whole = self._digest(start, types, arrays)
            return [self._digest(whole + number.to_bytes(8, "big"), (), ()) for number in range(count)]
        ends = _ends(arguments, arrays) if len(arrays) > 1 else None
        if ends is not None:
            return [self._digest(start, types, _row(arrays, number, end)) for number, end in enumerate(ends)]
        begun = self._begun(start, types, [array.shape[1:] for array in arrays])
        return [_finished(begun.copy(), [array[number] for array in arrays]) for number in range(count)]

    def _digest(self, start: bytes, types: Sequence[str], arrays: Sequence[Array]) -> bytes:
        return _finished(self._begun(start, types, [array.shape for array in arrays]), arrays)

    def _begun(self, start: bytes, types: Sequence[str], shapes: Sequence[tuple[int, ...]]) -> blake2b:
        """Return the state of a digest of everything but the numbers."""
        forms = [(kind, *shape) for kind, shape in zip(types, shapes, strict=True)]
        return blake2b(b"%d %s %r" % (len(start), start, forms), digest_size=DIGEST_BYTES, key=self._key)

    def _sketches(self, arguments: ModelInputs, count: int) -> list[bytes]:
        rows = input_rows(arguments, count)
        if rows is None:
            rows = id_rows(arguments, count)
        sketches: Sketches | None = None if rows is None else self._sketcher.sketches(rows)
        return [b""] * count if sketches is None else [sketch.tobytes() for sketch in sketches]


def _finished(digest: blake2b, arrays: Sequence[Array]) -> bytes:
    for array in arrays:
        digest.update(array.data)
    return digest.digest()


def _structure(arguments: ModelInputs) -> bytes:
    """Return bytes of the arguments without the numbers of their tensors, which only equal ones share."""
    if not arguments.named and len(arguments.arguments) == 1 and isinstance(arguments.arguments[0], Tensor):
        return b""
    shown = _shown((arguments.arguments, arguments.named))
    try:
        return marshal.dumps(shown, 2)  # type: ignore[arg-type]  # raises for what it cannot write
    except ValueError:
        return pickle.dumps(shown)


def _shown(value: object) -> object:
    if isinstance(value, Tensor):
        return ...
    if isinstance(value, Mapping):
        return ("mapping", [(name, _shown(entry)) for name, entry in value.items()])
    if isinstance(value, list | tuple):
        return ("sequence", [_shown(entry) for entry in value])
    return ("value", value)


def _array(tensor: Tensor) -> Array:
    """Return the numbers of a tensor as a contiguous array. Raises TypeError or RuntimeError for other tensors."""
    numbers = tensor.detach().cpu().contiguous()
    return (numbers.view(torch.int16) if numbers.dtype is torch.bfloat16 else numbers).numpy()


def _has_rows(arrays: Sequence[Array], count: int) -> bool:
    """Return whether every array has a row for each sample.

    Where none has a second axis, they may as well be the words of all samples and where each one begins.
    """
    shapes = [array.shape for array in arrays]
    return {shape[:1] for shape in shapes} == {(count,)} and max(map(len, shapes)) > 1


def _bags(arrays: Sequence[Array], count: int) -> list[list[Array]] | None:
    """Return the words of each sample, of all words and the places where samples begin, as an EmbeddingBag takes them.

    What else there is, weights of the words say, is cut at the same places. None for other arrays.
    """
    if len(arrays) < 2:
        return None
    *others, starts = arrays
    if starts.shape != (count,) or starts.dtype.kind not in "iu" or starts[0] != 0:
        return None
    length = len(others[0]) if others[0].ndim else 0
    ends = [*starts[1:].tolist(), length]
    if any(array.shape != (length,) for array in others) or (np.diff([*starts.tolist(), length]) < 0).any():
        return None
    return [[array[start:end] for array in others] for start, end in zip(starts.tolist(), ends, strict=True)]


def _row(arrays: Sequence[Array], number: int, end: int) -> list[Array]:
    length = max(array.shape[1] for array in arrays if array.ndim > 1)
    return [array[number, :end] if array.ndim > 1 and array.shape[1] == length else array[number] for array in arrays]


def _ends(arguments: ModelInputs, arrays: Sequence[Array]) -> list[int] | None:
    """Return where the sample of each row ends and padding begins; None where that is not shown.

    A mask shows it, if all numbers beyond are 0 or 1 as padding is. A sample is then the same in any batch.
    """
    mask = _mask(arguments)
    if mask is None or any(array.ndim > 1 and array.shape[1] != mask.shape[1] for array in arrays):
        return None
    columns = np.arange(1, mask.shape[1] + 1)
    ends = (columns * (mask != 0)).max(axis=1, initial=0)
    padding = columns[np.newaxis, :] > ends[:, np.newaxis]
    for array in arrays:
        if array.ndim > 1 and not np.isin(array[padding], (0, 1)).all():
            return None
    return [int(end) for end in ends]


def _mask(arguments: ModelInputs) -> Array | None:
    """Return the mask `[n, length]` of arguments that are named as those of transformers are, or None."""
    values = [*arguments.arguments, *arguments.named.values()]
    for named in (arguments.named, *(value for value in values if isinstance(value, Mapping))):
        mask = named.get("attention_mask")
        if isinstance(mask, Tensor) and mask.dim() == 2 and not mask.is_floating_point():
            return mask.cpu().numpy()
    return None
