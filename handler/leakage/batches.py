"""Batches of samples, put together from recorded calls of the victim's model."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

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

    votes: Callable[[Tensor], Tensor]
    voted_on: VictimOutput


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
        self._inputs = VictimOutput.INPUTS in needs or shape.input_shape is not None
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
        outputs = [self.rows(call)]
        check_numbers(call.arguments)
        self._joined_inputs([call], outputs)
        self._joined_ids([call], outputs)
        self._joined_features([call], outputs)
        self._joined_depths([call], outputs)

    def make(self, calls: Sequence[Call], outputs: Sequence[Tensor]) -> SampleBatch:
        """Return the samples of all calls, whose outputs are given as `rows`.

        Raises BadPayload for inputs that cannot be priced, and VictimError for calls without what the scores need.
        """
        inputs, features = self._joined_inputs(calls, outputs), self._joined_features(calls, outputs)
        output = joined(outputs)
        numbers = output_numbers(output)
        projected = None if features is None or self._axes is None else torch.mm(features, self._axes)
        return SampleBatch(
            answers=answers(numbers, self.kind),
            inputs=inputs,
            ids=self._joined_ids(calls, outputs),
            log_probabilities=log_distribution(output, self.kind) if self._probabilities else None,
            logits=numbers.astype(np.float32, copy=False) if self._logits else None,
            features=features,
            lengths=None if features is None else row_lengths(array_of(features)),
            projected=projected,
            depths=self._joined_depths(calls, outputs),
            votes=None if self._teachers is None else self._votes(self._teachers, inputs, features, projected),
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
        return array_of(teachers.votes(voted_on))

    def _joined_inputs(self, calls: Sequence[Call], outputs: Sequence[Tensor]) -> Tensor | None:
        shape = self.shape.input_shape
        if shape is None:
            return None
        pairs = zip(calls, outputs, strict=True)
        return joined([_inputs(call.arguments, len(output), shape) for call, output in pairs])

    def _joined_ids(self, calls: Sequence[Call], outputs: Sequence[Tensor]) -> Sequence[Tensor]:
        if not self._ids:
            return ()
        return [_ids(call.arguments, len(output)) for call, output in zip(calls, outputs, strict=True)]

    def _joined_features(self, calls: Sequence[Call], outputs: Sequence[Tensor]) -> Tensor | None:
        if not self._features:
            return None
        return joined([features_of(call, len(output)) for call, output in zip(calls, outputs, strict=True)])

    def _joined_depths(self, calls: Sequence[Call], outputs: Sequence[Tensor]) -> Mapping[str, Tensor]:
        if not self._layers:
            return {}
        counts = [len(output) for output in outputs]
        return {
            layer: joined([depth_of(call, layer, count) for call, count in zip(calls, counts, strict=True)])
            for layer in self._layers
        }


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
    if features is not None and len(features) == samples:
        return features
    if features is not None and features.numel() == samples:
        return features.reshape(samples, 1)  # the output stands for them, one number a sample
    raise VictimError("the victim did not use its last layer as it did when it was loaded")


def depth_of(call: Call, layer: str, samples: int) -> Tensor:
    """Return the numbers float32 `[n, f]` of an inner layer in a call on n samples. Raises VictimError without them."""
    numbers = call.depths.get(layer)
    if numbers is None or len(numbers) != samples:
        raise VictimError(f"the victim did not use its layer {layer} as it did when it was calibrated")
    return numbers


def joined(parts: Sequence[Tensor]) -> Tensor:
    """Return the tensors one after the other."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))


def _rows(inputs: Tensor, samples: int) -> Tensor | None:
    if inputs.layout != torch.strided or inputs.is_quantized or inputs.is_nested:
        return None
    if inputs.dim() >= 2 and len(inputs) == samples:
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
