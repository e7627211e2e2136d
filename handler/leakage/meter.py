"""The meter, which prices the samples of a pass by the calibrated scores; used by workers and by calibration alike."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from calpow.handler.errors import BadPayload, GateMisconfigured, PricingUnavailable, VictimError
from calpow.handler.leakage.ensemble import Ensemble
from calpow.handler.leakage.features import FeatureTap
from calpow.handler.leakage.input_range import InputRange
from calpow.handler.leakage.neighbours import Neighbours
from calpow.handler.leakage.output import OutputKind, log_distribution
from calpow.handler.leakage.recording import Call, Recorder
from calpow.handler.leakage.registry import ON_FEATURES, ScoreSources, ScoreSpec, make_score
from calpow.handler.leakage.score import SampleBatch, Score, ScoredSamples, VictimOutput, VictimShape
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

    `input_range` is that of legitimate inputs, `input_shape` is one input's; `kind` says how to read the model's
    output.
    """

    recorder: Recorder
    scores: tuple[Score, ...]
    input_range: InputRange
    input_shape: tuple[int, ...]
    kind: OutputKind

    def price(self, inputs: Tensor) -> ScoredSamples:
        """Call the model on inputs `[n, *input_shape]` of no request, and price them as `price_calls` does."""
        return self.price_calls([self.recorder.ask(inputs)])

    def price_calls(self, calls: Sequence[Call]) -> ScoredSamples:
        """Return the costs `[n, scores]` and the classes of the samples of a pass, in the order of calls and rows.

        The class is that of the victim's own answer, not of the teachers' vote: on odd queries, the vote goes to a
        class on which the teachers often disagree, where the query seems ordinary (decision 0014). Samples beyond the
        input range, and those with a score that is not finite, cost the most.

        Raises BadPayload for inputs that cannot be priced, VictimError for a model that does not answer as it was
        calibrated, and PricingUnavailable when memory or the device is exhausted.
        """
        batch, log_probabilities = self._batch(calls)
        try:
            with torch.inference_mode():
                costs = torch.stack([score.price(batch).costs for score in self.scores], dim=1)
                return ScoredSamples(self._bounded(costs, batch.inputs), log_probabilities.argmax(dim=1).cpu())
        except (MemoryError, RuntimeError, CalpowError) as error:
            raise PricingUnavailable(f"cannot price a query: {type(error).__name__}: {error}") from error

    def _batch(self, calls: Sequence[Call]) -> tuple[SampleBatch, Tensor]:
        """Return the samples of all calls, and the log-probabilities float64 `[n, classes]` of the answers to them."""
        inputs = [_input(call) for call in calls]
        for numbers in inputs:
            shape = tuple(numbers.shape[1:])
            if shape != self.input_shape:
                raise BadPayload(f"the model takes inputs of shape {self.input_shape}, not {shape}")
            if not _is_moderate(numbers):
                raise BadPayload(f"the model takes numbers up to {LARGEST_NUMBER:g} only")
        outputs = [_output(call, len(numbers)) for call, numbers in zip(calls, inputs, strict=True)]
        features = None
        if any(VictimOutput.FEATURES in score.needs for score in self.scores):
            features = _joined([_features(call) for call in calls])
        log_probabilities = log_distribution(_joined(outputs), self.kind)
        return SampleBatch(_joined(inputs), log_probabilities, features), log_probabilities

    def _bounded(self, costs: Tensor, inputs: Tensor) -> Tensor:
        odd = self.input_range.exceeded(inputs).unsqueeze(1) | ~costs.isfinite()
        if not odd.any():
            return costs
        highest = torch.tensor([score.highest for score in self.scores], dtype=torch.float64)
        return torch.where(odd, highest, costs)


def make_meter(
    recorder: Recorder,
    device: torch.device,
    shape: VictimShape,
    output: OutputKind,
    specs: Sequence[ScoreSpec],
    input_range: InputRange,
    artefacts: Artefacts,
) -> Meter:
    """Return the meter of the scores that `specs` describe.

    Raises GateMisconfigured when a file or a setting is missing, or the victim's features cannot be taken.
    """
    if any(spec.name in ON_FEATURES for spec in specs):
        recorder.tap = recorder.tap or find_features(recorder, shape.input_shape, device)
    sources = ScoreSources(
        classes=shape.classes,
        teachers=artefacts.ensemble.votes if artefacts.ensemble else None,
        neighbours=artefacts.neighbours.votes if artefacts.neighbours else None,
        tap=recorder.tap,
        model=recorder.model,
    )
    scores = tuple(make_score(spec, sources) for spec in specs)
    return Meter(recorder, scores, input_range, tuple(shape.input_shape), output)


def find_features(recorder: Recorder, input_shape: tuple[int, ...], device: torch.device) -> FeatureTap:
    """Return a tap on the model's last linear layer, which a run on random inputs finds.

    Raises GateMisconfigured when its features cannot be taken.
    """
    inputs = torch.rand(2, *input_shape, generator=torch.Generator().manual_seed(0)).to(device)

    def run() -> Tensor:
        with torch.inference_mode():
            output = recorder.model(inputs.clone())
        if not isinstance(output, Tensor):
            raise VictimError("the victim's model does not answer with a tensor")
        return output

    try:
        tap = FeatureTap(recorder.model, run)
        tap(run)
    except (RuntimeError, VictimError) as error:
        raise GateMisconfigured(f"the victim's representation cannot be taken: {error}") from error
    return tap


def _input(call: Call) -> Tensor:
    if call.inputs is None:
        raise VictimError("the victim's model is not asked with one tensor: such models cannot be priced yet")
    if call.inputs.dim() < 2 or call.inputs.layout != torch.strided or call.inputs.is_quantized:
        raise VictimError("the victim's model is not asked with a batch of plain numbers: it cannot be priced")
    return call.inputs


def _output(call: Call, samples: int) -> Tensor:
    if call.output is None or call.output.dim() != 2 or len(call.output) != samples:
        answer = "no tensor" if call.output is None else f"numbers of shape {tuple(call.output.shape)}"
        raise VictimError(
            f"the victim answered {samples} samples with {answer}: it must give one row of classes a sample"
        )
    return call.output


def _features(call: Call) -> Tensor:
    if call.features is None:
        raise VictimError("the victim did not use its last layer as it did when it was loaded")
    return call.features


def _joined(parts: Sequence[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))


def _is_moderate(numbers: Tensor) -> bool:
    """Return whether no number is NaN, infinite or huge. The extremes show it in an eighth of torch.isfinite's time.

    Huge numbers overflow in the teachers, who then agree on nonsense: the cheapest price for the oddest query.
    """
    if numbers.numel() == 0:
        return True
    parts = torch.view_as_real(numbers) if numbers.is_complex() else numbers
    return all(abs(extreme.item()) <= LARGEST_NUMBER for extreme in parts.aminmax())
