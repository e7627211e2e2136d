"""The calls of a victim's model on payloads, as its handler makes them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor

from calpow.archiver.data.payloads import BadPayloads, CallSource, Payload, part_advice, read_row
from calpow.archiver.errors import FolderError
from calpow.archiver.progress import track
from calpow.handler.errors import BadPayload
from calpow.handler.leakage.batches import input_rows
from calpow.handler.leakage.input_range import check_numbers
from calpow.handler.leakage.output import as_rows, recognise
from calpow.handler.leakage.recording import Call
from calpow.handler.leakage.specs import OutputKind

# Where none of the first payloads is usable, the fault is the handler's, or the whole folder's.
MOST_BAD_AT_FIRST = 8


def recorded_calls(
    victim: CallSource,
    payloads: Sequence[Payload],
    progress: str = "",
    bad: BadPayloads | None = None,
    known: Mapping[Payload, Sequence[Call]] = MappingProxyType({}),
) -> Iterator[tuple[Payload, Sequence[Call]]]:
    """Yield each payload with the model's calls when the handler answers it.

    `progress` names the progress of a long phase. The handler does not run on payloads whose calls are `known`.
    Payloads that a worker would refuse are added to `bad`; without it, FolderError is raised for all of them together,
    after the last one.
    """
    collected = BadPayloads() if bad is None else bad
    for payload in track(payloads, progress, "payload") if progress else payloads:
        try:
            calls = known.get(payload) or victim.calls(read_row(payload))
            for call in calls:
                check_numbers(call.arguments)
        except (BadPayload, FolderError) as problem:
            advice = part_advice(victim, payload) if isinstance(problem, BadPayload) and not collected.reasons else ""
            collected.add(payload, f"{problem}{advice}", problem)
            if not collected.usable and len(collected.reasons) == MOST_BAD_AT_FIRST:
                raise FolderError(
                    f"the victim answers none of {MOST_BAD_AT_FIRST} payloads: {collected.reasons[0]}"
                ) from problem
            continue
        collected.usable = True
        yield payload, calls
    if bad is None or not bad.usable:
        collected.check(len(payloads))


def some_calls(victim: CallSource, payloads: Sequence[Payload], most: int, seed: int) -> list[Call]:
    """Return the model's calls on up to `most` payloads, chosen at random.

    Payloads that the victim cannot read are passed over: a pass over all of them lists these together. Raises
    FolderError when it can read none.
    """
    chosen = some_payloads(payloads, most, seed)
    return [call for _, calls in recorded_calls(victim, chosen, bad=BadPayloads()) for call in calls]


def some_payloads(payloads: Sequence[Payload], most: int, seed: int) -> list[Payload]:
    """Return up to `most` payloads, chosen at random, in their order."""
    chosen = np.random.default_rng(seed).permutation(len(payloads))[:most]
    return [payloads[index] for index in sorted(chosen)]


def read_payloads(
    victim: CallSource, payloads: Sequence[Payload], prepare: Callable[[Call], object]
) -> dict[Payload, Sequence[Call]]:
    """Return the model's calls by payload, recorded with the taps that `prepare` puts on the model.

    `prepare` is given the first call; its payload is then run again. Payloads that the victim cannot read are passed
    over, as by `some_calls`. Raises FolderError when it can read none.
    """
    read: dict[Payload, Sequence[Call]] = {}
    for payload, calls in recorded_calls(victim, payloads, "reading", BadPayloads()):
        if not read:
            prepare(calls[0])
            read[payload] = victim.calls(read_row(payload))
        else:
            read[payload] = calls
    return read


def output_kind(calls: Sequence[Call], classes: int, *, graded: bool) -> OutputKind:
    """Recognise the raw output of the victim's model; a bare class counts as a certain one unless `graded`.

    Raises NoDistribution when it is not a distribution over the classes.
    """
    return recognise([call.output for call in calls if call.output is not None], classes, graded=graded)


def shared_shape(calls: Sequence[Call], kind: OutputKind, classes: int) -> tuple[int, ...] | None:
    """Return the shape of one input if all calls have one tensor of it, else None."""
    rows = [input_rows(call.arguments, len(as_rows(call.output, kind, classes))) for call in calls]
    shapes = {None if inputs is None else tuple(inputs.shape[1:]) for inputs in rows}
    return shapes.pop() if len(shapes) == 1 else None


def shared_dtype(calls: Sequence[Call]) -> str:
    """Return torch's name of the type of the calls' only tensors, or an empty text where they have several."""
    types = {None if call.arguments.only_tensor is None else call.arguments.only_tensor.dtype for call in calls}
    dtype = types.pop() if len(types) == 1 else None
    return "" if dtype is None else str(dtype).removeprefix("torch.")


def is_index(dtype: str) -> bool:
    """Return whether numbers of this type are likely to be indices, of words say, and not quantities."""
    return dtype in ("int64", "int32", "int16")


def joined_inputs(calls: Sequence[Call], kind: OutputKind, classes: int) -> Tensor:
    """Return the inputs `[n, *input_shape]` of all calls, which have one shape."""
    rows = [input_rows(call.arguments, len(as_rows(call.output, kind, classes))) for call in calls]
    return torch.cat([inputs for inputs in rows if inputs is not None])
