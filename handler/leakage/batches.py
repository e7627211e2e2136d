"""Batches of samples, put together from recorded calls of the victim's model."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from calpow.handler.errors import BadPayload, VictimError
from calpow.handler.leakage.input_range import check_numbers
from calpow.handler.leakage.model_inputs import ModelInputs
from calpow.handler.leakage.output import answers, as_rows, log_distribution, output_numbers
from calpow.handler.leakage.recording import Call
from calpow.handler.leakage.score import Array, SampleBatch, VictimOutput, array_of, row_lengths
from calpow.handler.leakage.specs import OutputKind, VictimShape


@dataclass(frozen=True)
class Teachers:
    """Teachers' votes: `votes` maps what they vote on, one of INPUTS, FEATURES and PROJECTION, to `[n, classes]`."""

    votes: Callable[[Tensor], Array]
    voted_on: VictimOutput


class _Shown(NamedTuple):
    """The tensors of n samples, of one call or of several put together; None or empty for those not needed."""

    output: Tensor
    inputs: Tensor | None
    ids: list[Tensor]
    features: Tensor | None
    depths: Mapping[str, Tensor]


class BatchMaker:
    """Puts together what scores need of recorded calls of the victim's model."""

    def __init__(
        self,
        shape: VictimShape,
        kind: OutputKind,
        needs: VictimOutput,
        layers: Sequence[str] = (),
        axes: Tensor | None = None,
        teachers: Teachers | None = None,
    ) -> None:
        """`needs` are those of the scores and of the teachers, who vote where VOTES are needed.

        `kind` says how to read the model's output, `layers` are the inner ones that are looked into, and `axes` float32
        `[f, d]` those that features are projected on.
        """
        self.shape = shape
        self.kind = kind
        self._layers = tuple(layers)
        self._axes = axes
        self._teachers = teachers if VictimOutput.VOTES in needs else None
        self._ids = VictimOutput.IDS in needs
        self._probabilities = VictimOutput.PROBABILITIES in needs
        self._logits = VictimOutput.LOGITS in needs
        self._features = bool(needs & (VictimOutput.FEATURES | VictimOutput.PROJECTION))
        self._projection = VictimOutput.PROJECTION in needs

    def rows(self, call: Call) -> Tensor:
        """Return the output of a call as `[n, classes]` or `[n, 1]`. Raises VictimError for one of another form."""
        return as_rows(call.output, self.kind, self.shape.classes)

    def check(self, call: Call) -> None:
        """Raise BadPayload or VictimError when the samples of a call cannot be priced."""
        check_numbers(call.arguments)
        self._shown(call)

    def make(self, calls: Sequence[Call]) -> SampleBatch:
        """Return the samples of all calls, in the order of calls and rows.

        Raises BadPayload for inputs that cannot be priced, and VictimError for calls without what the scores need.
        """
        shown = (
            self._shown(calls[0]) if len(calls) == 1 else _joined([self._shown(call) for call in calls], self._layers)
        )
        output, inputs, ids, features, depths = shown
        numbers = output_numbers(output)
        projected = None if features is None or self._axes is None else torch.mm(features, self._axes)
        return SampleBatch(
            answers=answers(numbers, self.kind),
            inputs=inputs,
            ids=ids,
            log_probabilities=log_distribution(output, self.kind) if self._probabilities else None,
            logits=numbers.astype(np.float32, copy=False) if self._logits else None,
            features=features,
            lengths=None if features is None else row_lengths(array_of(features)),
            projected=projected,
            depths=depths,
            votes=None if self._teachers is None else self._votes(self._teachers, inputs, features, projected),
        )

    def _shown(self, call: Call) -> _Shown:
        output, shape = self.rows(call), self.shape.input_shape
        samples = output.size(0)
        _check_depths(call, self._layers, samples)
        return _Shown(
            output,
            None if shape is None else _inputs(call.arguments, samples, shape),
            [_ids(call.arguments, samples)] if self._ids else [],
            features_of(call, samples) if self._features else None,
            call.depths,
        )

    def _votes(
        self, teachers: Teachers, inputs: Tensor | None, features: Tensor | None, projected: Tensor | None
    ) -> Array:
        if teachers.voted_on is VictimOutput.INPUTS:
            voted_on = inputs
        else:
            voted_on = features if teachers.voted_on is VictimOutput.FEATURES else projected
        if voted_on is None:
            raise VictimError("the victim shows nothing that the teachers could vote on")
        return teachers.votes(voted_on)


def input_rows(arguments: ModelInputs, samples: int) -> Tensor | None:
    """Return the only tensor of a call on n samples as `[n, ...]`; None where there are several, or other numbers."""
    inputs = arguments.only_tensor
    return None if inputs is None else _rows(inputs, samples)


def id_rows(arguments: ModelInputs, samples: int) -> Tensor | None:
    """Return the first tensor of whole numbers of a call on n samples as `[n, ...]`, or None: token ids, in a text."""
    for tensor in arguments.tensors:
        if not (tensor.is_floating_point() or tensor.is_complex() or tensor.dtype is torch.bool):
            rows = _rows(tensor, samples)
            if rows is not None:
                return rows
    return None


def features_of(call: Call, samples: int) -> Tensor:
    """Return the features float32 `[n, f]` of a call on n samples. Raises VictimError when it has none."""
    features = call.features
    if features is not None and features.size(0) == samples:
        return features
    if features is not None and features.numel() == samples:
        return features.reshape(samples, 1)  # the output stands for them, one number a sample
    raise VictimError("the victim did not use its last layer as it did when it was loaded")


def _check_depths(call: Call, layers: Sequence[str], samples: int) -> None:
    """Raise VictimError unless the call shows a row of numbers of each layer for each sample."""
    for layer in layers:
        numbers = call.depths.get(layer)
        if numbers is None or numbers.size(0) != samples:
            raise VictimError(f"the victim did not use its layer {layer} as it did when it was calibrated")


def _joined(parts: Sequence[_Shown], layers: Sequence[str]) -> _Shown:
    return _Shown(
        torch.cat([part.output for part in parts]),
        _cat([part.inputs for part in parts]),
        [ids for part in parts for ids in part.ids],
        _cat([part.features for part in parts]),
        {layer: torch.cat([part.depths[layer] for part in parts]) for layer in layers},
    )


def _cat(parts: Sequence[Tensor | None]) -> Tensor | None:
    tensors = [part for part in parts if part is not None]
    return torch.cat(tensors) if tensors else None


def _rows(inputs: Tensor, samples: int) -> Tensor | None:
    if inputs.layout != torch.strided or inputs.is_quantized or inputs.is_nested:
        return None
    if inputs.dim() >= 2 and inputs.size(0) == samples:
        return inputs
    # One sample without the axis of a batch.
    return inputs.unsqueeze(0) if samples == 1 and inputs.dim() >= 1 else None


def _inputs(arguments: ModelInputs, samples: int, shape: tuple[int, ...]) -> Tensor:
    inputs = input_rows(arguments, samples)
    if inputs is None:
        raise VictimError("the victim's model is not called with one batch of plain numbers, as it was calibrated")
    if inputs.shape[1:] != shape:
        raise BadPayload(f"the model takes inputs of shape {shape}, not {tuple(inputs.shape[1:])}")
    return inputs


def _ids(arguments: ModelInputs, samples: int) -> Tensor:
    ids = id_rows(arguments, samples)
    if ids is None:
        raise VictimError("the victim's model is not called with whole numbers for each sample, as it was calibrated")
    return ids
