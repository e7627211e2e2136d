"""The meter, which prices the samples of a pass by the calibrated scores; used by workers and by calibration alike."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from calpow.handler.errors import BadPayload, GateMisconfigured, PricingUnavailable, VictimError
from calpow.handler.leakage.features import FeatureTap, find_layer
from calpow.handler.leakage.input_range import RangeCheck
from calpow.handler.leakage.model_inputs import ModelInputs
from calpow.handler.leakage.neighbours import Neighbours
from calpow.handler.leakage.output import as_rows, log_distribution
from calpow.handler.leakage.recording import Call, Recorder, first_tensor
from calpow.handler.leakage.registry import ScoreSources, make_score
from calpow.handler.leakage.score import SampleBatch, Score, ScoredSamples, VictimOutput
from calpow.handler.leakage.specs import ON_FEATURES, InputRange, OutputKind, ScoreName, ScoreSpec, VictimShape
from calpow.handler.leakage.teachers.ensemble import Ensemble
from calpow.puzzle.errors import CalpowError

LARGEST_NUMBER = 1e9


@dataclass(frozen=True)
class Artefacts:
    """The files that scores need, loaded; None for those that no score needs."""

    ensemble: Ensemble | None = None
    neighbours: Neighbours | None = None


@dataclass(frozen=True)
class Meter:
    """Prices the samples that the victim's model was called on, with a column of costs for each of `scores`.

    `range_check` knows the range of legitimate inputs; `kind` says how to read the model's output.
    """

    recorder: Recorder
    scores: tuple[Score, ...]
    range_check: RangeCheck
    shape: VictimShape
    kind: OutputKind

    def price(self, inputs: Tensor) -> ScoredSamples:
        """Call the model on inputs `[n, *input_shape]` of no request, and price them as `price_calls` does."""
        return self.price_calls([self.recorder.ask(inputs)])

    def price_calls(self, calls: Sequence[Call]) -> ScoredSamples:
        """Return the costs `[n, scores]` and the classes of the samples of a pass, in the order of calls and rows.

        The class is that of the victim's own answer, not of the teachers' vote: on odd queries, the vote goes to a
        class on which the teachers often disagree, where the query seems ordinary (decision 0014). Samples beyond the
        input range, and those with a score or with features that are not finite, cost the most.

        Raises BadPayload for inputs that cannot be priced, VictimError for a model that does not answer as it was
        calibrated, and PricingUnavailable when memory or the device is exhausted.
        """
        batch, log_probabilities = self._batch(calls)
        try:
            with torch.inference_mode():
                costs = torch.stack([score.price(batch).costs for score in self.scores], dim=1)
                exceeded = self._exceeded(calls, batch)
                return ScoredSamples(self._bounded(costs, exceeded), log_probabilities.argmax(dim=1).cpu())
        except (MemoryError, RuntimeError, CalpowError) as error:
            raise PricingUnavailable(f"cannot price a query: {type(error).__name__}: {error}") from error

    def samples(self, call: Call) -> int:
        """Return the number of samples of a call. Raises VictimError when its output is not what it was calibrated."""
        return len(as_rows(call.output, self.kind, self.shape.classes))

    def check(self, call: Call) -> None:
        """Raise BadPayload or VictimError when the samples of a call cannot be priced."""
        self._batch([call])

    def _batch(self, calls: Sequence[Call]) -> tuple[SampleBatch, Tensor]:
        """Return the samples of all calls, and the log-probabilities float64 `[n, classes]` of the answers to them."""
        outputs = [as_rows(call.output, self.kind, self.shape.classes) for call in calls]
        for call in calls:
            check_numbers(call.arguments)
        inputs = None
        if self.shape.input_shape is not None:
            pairs = zip(calls, outputs, strict=True)
            inputs = _joined([_inputs(call.arguments, len(output), self.shape.input_shape) for call, output in pairs])
        features = None
        if any(VictimOutput.FEATURES in score.needs for score in self.scores):
            features = _joined([features_of(call, len(output)) for call, output in zip(calls, outputs, strict=True)])
        log_probabilities = log_distribution(_joined(outputs), self.kind)
        return SampleBatch(inputs, log_probabilities, features), log_probabilities

    def _exceeded(self, calls: Sequence[Call], batch: SampleBatch) -> Tensor:
        """Return which samples go well beyond the input range, or overflow in the victim: bool `[n]` on the CPU."""
        beyond = self._out_of_range(calls, batch)
        if batch.features is None:
            return beyond
        # Teachers agree on NaN and infinity, as they do on huge inputs.
        lengths: Tensor = torch.linalg.vector_norm(batch.features, dim=1)
        return beyond | lengths.isfinite().logical_not().cpu()

    def _out_of_range(self, calls: Sequence[Call], batch: SampleBatch) -> Tensor:
        if batch.inputs is not None:
            return self.range_check.exceeded(batch.inputs)
        parts = []
        for call in calls:
            samples = self.samples(call)
            inputs = input_rows(call.arguments, samples)
            none = torch.zeros(samples, dtype=torch.bool)
            parts.append(none if inputs is None else self.range_check.exceeded(inputs))
        return _joined(parts)

    def _bounded(self, costs: Tensor, exceeded: Tensor) -> Tensor:
        odd = ~costs.isfinite() | exceeded.unsqueeze(1)
        if not odd.any():
            return costs
        highest = torch.tensor([score.highest for score in self.scores], dtype=torch.float64)
        return torch.where(odd, highest, costs)


def make_meter(
    recorder: Recorder,
    shape: VictimShape,
    output: OutputKind,
    specs: Sequence[ScoreSpec],
    input_range: InputRange,
    artefacts: Artefacts,
) -> Meter:
    """Return the meter of the scores that `specs` describe.

    Raises GateMisconfigured when a file or a setting is missing, or the victim's features cannot be taken.
    """
    ensemble, neighbours = artefacts.ensemble, artefacts.neighbours
    on_features = ensemble is not None and ensemble.on_features
    if any(spec.name in ON_FEATURES or (spec.name is ScoreName.pate and on_features) for spec in specs):
        tap_features(recorder, shape.layer)
    sources = ScoreSources(
        classes=shape.classes,
        teachers=ensemble.votes if ensemble else None,
        teachers_on_features=on_features,
        neighbours=neighbours.votes if neighbours else None,
        tap=recorder.tap,
        model=recorder.model,
    )
    scores = tuple(make_score(spec, sources) for spec in specs)
    if shape.input_shape is None and any(VictimOutput.INPUTS in score.needs for score in scores):
        raise GateMisconfigured(
            "the victim's model takes inputs of several shapes or several tensors: train teachers with --trunk victim,"
            " or take metrics of the victim's answers and features"
        )
    return Meter(recorder, scores, RangeCheck(input_range), shape, output)


def tap_features(recorder: Recorder, layer: str) -> FeatureTap:
    """Put a tap on the layer of the recorder's model that has this name, and return it. Raises GateMisconfigured."""
    if recorder.tap is None or recorder.tap.name != layer:
        try:
            recorder.tap = FeatureTap(recorder.model, layer)
        except VictimError as error:
            raise GateMisconfigured(f"the victim's representation cannot be taken: {error}") from error
    return recorder.tap


def find_features(recorder: Recorder, example: ModelInputs) -> FeatureTap:
    """Put a tap on the model's last linear layer, which a call with example arguments finds, and return it.

    Raises GateMisconfigured when its features cannot be taken.
    """

    def run() -> Tensor | None:
        given = example.copied()
        return first_tensor(recorder.model(*given.arguments, **given.named))

    try:
        return tap_features(recorder, find_layer(recorder.model, run))
    except RuntimeError as error:
        raise GateMisconfigured(f"the victim's representation cannot be taken: {error}") from error


def input_rows(arguments: ModelInputs, samples: int) -> Tensor | None:
    """Return the only tensor of a call on n samples as `[n, ...]`; None where there are several, or other numbers."""
    inputs = arguments.only_tensor
    if inputs is None or inputs.layout != torch.strided or inputs.is_quantized or inputs.is_nested:
        return None
    if inputs.dim() >= 2 and len(inputs) == samples:
        return inputs
    # One sample without the axis of a batch.
    return inputs.unsqueeze(0) if samples == 1 and inputs.dim() >= 1 else None


def features_of(call: Call, samples: int) -> Tensor:
    """Return the features float32 `[n, f]` of a call on n samples. Raises VictimError when it has none."""
    features = call.features
    if features is not None and len(features) == samples:
        return features
    if features is not None and features.numel() == samples:
        return features.reshape(samples, 1)  # the output stands for them, one number a sample
    raise VictimError("the victim did not use its last layer as it did when it was loaded")


def _inputs(arguments: ModelInputs, samples: int, shape: tuple[int, ...]) -> Tensor:
    inputs = input_rows(arguments, samples)
    if inputs is None:
        raise VictimError("the victim's model is not called with one batch of plain numbers, as it was calibrated")
    if tuple(inputs.shape[1:]) != shape:
        raise BadPayload(f"the model takes inputs of shape {shape}, not {tuple(inputs.shape[1:])}")
    return inputs


def _joined(parts: Sequence[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))


def check_numbers(arguments: ModelInputs) -> None:
    """Raise BadPayload when an argument holds numbers that are NaN, infinite or huge.

    Huge numbers overflow in the teachers, who then agree on nonsense: the cheapest price for the oddest query. The
    masks of transformers hold minus infinity, or the least number of their type, in tensors beside the input: of
    several tensors, only NaN and huge positive numbers are refused.
    """
    tensors = arguments.tensors
    least = -LARGEST_NUMBER if len(tensors) == 1 else -torch.inf
    if not all(_is_moderate(tensor, least) for tensor in tensors):
        raise BadPayload(f"the model takes numbers up to {LARGEST_NUMBER:g} only")


def _is_moderate(numbers: Tensor, least: float) -> bool:
    """Return whether all numbers lie between `least` and LARGEST_NUMBER.

    The extremes, which are NaN where any number is, show it in an eighth of torch.isfinite's time.
    """
    if numbers.is_nested:
        return all(_is_moderate(part, least) for part in numbers.unbind())
    if numbers.numel() == 0 or numbers.dtype is torch.bool:
        return True
    if numbers.layout != torch.strided or numbers.is_quantized:
        return True
    parts = torch.view_as_real(numbers) if numbers.is_complex() else numbers
    try:
        low, high = parts.aminmax()
    except RuntimeError:  # not of this type: half precision in torch 2.0, unsigned integers of 16 bits and more
        low, high = parts.to(torch.float64).aminmax()
    return bool(low.item() >= least and high.item() <= LARGEST_NUMBER)
