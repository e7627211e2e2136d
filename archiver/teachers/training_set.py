"""The training set of teachers: the victim's features or inputs, or what a frozen trunk computes from the inputs."""

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from calpow.archiver.data.payloads import BadPayloads, CallSource, Payload
from calpow.archiver.errors import TrainingError
from calpow.archiver.progress import progress
from calpow.archiver.teachers.checkpoints import Checkpoints
from calpow.archiver.teachers.references.observations import (
    COUNTS,
    PAYLOADS,
    TOKENS,
    TrainingObserver,
    count_tokens,
    join,
    observed_rows,
)
from calpow.archiver.victim.recorded_calls import recorded_calls
from calpow.handler.leakage.batches import features_of, input_rows
from calpow.handler.leakage.output import as_rows
from calpow.handler.leakage.recording import Call
from calpow.handler.leakage.specs import OutputKind
from calpow.handler.leakage.teachers.ensemble import LARGEST_BATCH

# Payloads between two checkpoints.
PART = 512


@dataclass(frozen=True)
class TrainingSet:
    """The trunk's features of each sample, `values` float32 `[n, ...]`, and its payload, `payloads` int64 `[n]`.

    `observed` holds the numbers of some samples as a TrainingObserver takes them, with their payloads as PAYLOADS,
    int64 `[m]`; `tokens` the whole numbers in all inputs as TOKENS, and their counts as COUNTS, both int64 `[t]`.
    """

    values: Tensor
    payloads: Tensor
    observed: Mapping[str, Tensor]
    tokens: Mapping[str, Tensor]


@dataclass(frozen=True)
class ValueSource:
    """Takes what the trunk needs from a call of the victim's model: inputs of one shape, or the victim's features.

    `shape` is that of one input, None for features, of which there are `width`; `kind` and `classes` say how to read
    the model's output.
    """

    trunk: nn.Module
    shape: tuple[int, ...] | None
    width: int
    kind: OutputKind
    classes: int

    def values(self, call: Call, payload: Payload) -> Tensor:
        """Return float32 `[n, ...]` for the n samples of a call. Raises TrainingError, which names the payload."""
        samples = len(as_rows(call.output, self.kind, self.classes))
        if self.shape is None:
            features = features_of(call, samples)
            if features.shape[1] != self.width:
                raise TrainingError(
                    f"{payload.path}: the victim shows {features.shape[1]} features of it and {self.width} of others:"
                    " take another --trunk"
                )
            return features
        inputs = input_rows(call.arguments, samples)
        if inputs is None or tuple(inputs.shape[1:]) != self.shape:
            form = "several tensors" if inputs is None else f"an input of shape {tuple(inputs.shape[1:])}"
            raise TrainingError(
                f"{payload.path}: the victim's handler makes {form} of it and of {self.shape} of others: teachers on"
                " this trunk need one shape; take --trunk victim"
            )
        return inputs.to(torch.float32)


def read_training_set(
    victim: CallSource,
    payloads: Sequence[Payload],
    digests: Sequence[str],
    source: ValueSource,
    observer: TrainingObserver,
    checkpoints: Checkpoints,
) -> TrainingSet:
    """Run every payload through the victim's handler and the trunk, in parts; those in `checkpoints` are done.

    `digests` are the payloads' SHA-256. A part is stored by those of its payloads that can be used, so that it need not
    be read again when the others have been removed. Raises FolderError, and TrainingError for values that teachers
    cannot learn from.
    """
    parts, order = list[Mapping[str, Tensor]](), list[int]()
    observed = list[Mapping[str, Tensor]]()
    # The victim was examined before: it can read some.
    bad = BadPayloads(usable=True)
    with progress("payloads", "payload", len(payloads)) as advance:
        for part in _parts(digests):
            saved = checkpoints.load(_part_name([digests[index] for index in part]))
            if saved is None:
                pairs = [(payloads[index], digests[index]) for index in part]
                saved, usable = _read_part(victim, pairs, source, observer, bad)
                checkpoints.save(_part_name([digests[part[place]] for place in usable]), saved)
            parts.append(saved)
            order += part
            rows = observed_rows(saved)
            if rows:
                observed.append({**rows, PAYLOADS: torch.tensor(part)[rows[PAYLOADS]]})
            advance(len(part))
    bad.check(len(payloads))
    joined = torch.cat([part["values"] for part in parts])
    if bool((joined == joined[:1]).all()):
        raise TrainingError(
            "the victim's handler and the trunk make the same numbers of every payload: teachers cannot tell them"
            " apart; mend the handler, or take another --trunk"
        )
    counts = torch.cat([part["counts"] for part in parts])
    tokens = {name: torch.cat([part[name] for part in parts]) for name in (TOKENS, COUNTS)}
    return TrainingSet(joined, torch.tensor(order).repeat_interleave(counts), join(observed), tokens)


def _parts(digests: Sequence[str]) -> list[list[int]]:
    """Return the payloads of each part, by their digests: the others stay together when some are removed."""
    count = 1 << max(0, round(math.log2(max(1, len(digests)) / PART)))
    parts: list[list[int]] = [[] for _ in range(count)]
    for index, digest in enumerate(digests):
        parts[int(digest[:8], 16) % count].append(index)
    return [part for part in parts if part]


def _part_name(digests: Sequence[str]) -> str:
    return "samples-" + hashlib.sha256("\n".join(digests).encode()).hexdigest()[:16]


def _read_part(
    victim: CallSource,
    payloads: Sequence[tuple[Payload, str]],
    source: ValueSource,
    observer: TrainingObserver,
    bad: BadPayloads,
) -> tuple[dict[str, Tensor], list[int]]:
    """Return the tensors of a part and the places of its payloads that can be used; the others are added to `bad`.

    `payloads` are pairs with their digests.
    """
    place_of = {payload.path: place for place, (payload, _) in enumerate(payloads)}
    parts, counts, usable = list[Tensor](), list[int](), list[int]()
    observed, tokens = list[Mapping[str, Tensor]](), list[Tensor]()
    for payload, calls in recorded_calls(victim, [payload for payload, _ in payloads], bad=bad):
        values = torch.cat([source.values(call, payload) for call in calls])
        if not bool(torch.isfinite(values).all()):
            raise TrainingError(
                f"{payload.path}: the victim's handler makes NaN or infinite numbers of it: mend or remove it"
            )
        parts.append(values.cpu())
        counts.append(len(values))
        tokens.append(observer.tokens(calls))
        place = place_of[payload.path]
        if payloads[place][1] in observer.chosen:
            observed.append(observer.observe(calls, len(usable)))
        usable.append(place)
    extras = join(observed) | count_tokens(tokens)
    if not parts:
        return {"values": torch.empty(0), "counts": torch.empty(0, dtype=torch.int64), **extras}, []
    features = torch.cat([trunk_values(source.trunk, batch) for batch in torch.split(torch.cat(parts), LARGEST_BATCH)])
    if not bool(torch.isfinite(features).all()):
        raise TrainingError("the trunk makes NaN or infinite features of the payloads: take another --trunk")
    return {"values": features, "counts": torch.tensor(counts), **extras}, usable


def trunk_values(trunk: nn.Module, inputs: Tensor) -> Tensor:
    """Return the trunk's features of a batch, on the CPU."""
    device = next((tensor.device for tensor in _tensors(trunk)), torch.device("cpu"))
    with torch.inference_mode():
        values: Tensor = trunk(inputs.to(device, torch.float32)).cpu()
    return values


def _tensors(module: nn.Module) -> Iterable[Tensor]:
    yield from module.parameters()
    yield from module.buffers()
