"""Metrics, the victim they look at and the files they need, put together: for a worker, and for calibration alike."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from calpow.handler.errors import BadPayload, GateMisconfigured, PricingUnavailable, VictimError
from calpow.handler.leakage.combined import Combined
from calpow.handler.leakage.ensemble import Ensemble
from calpow.handler.leakage.features import FeatureTap
from calpow.handler.leakage.input_range import Limits
from calpow.handler.leakage.neighbours import Neighbours
from calpow.handler.leakage.output import OutputKind, log_distribution
from calpow.handler.leakage.registry import ON_FEATURES, Sources, make_metric
from calpow.handler.leakage.score import Metric, Need, Priced, Seen
from calpow.handler.policy.calibration_file import Chosen, Shape
from calpow.handler.recording import Call, Recorder
from calpow.puzzle.errors import CalpowError

log = logging.getLogger(__name__)

LARGEST_NUMBER = 1e9


@dataclass(frozen=True)
class Artefacts:
    """The files that metrics need, loaded; None for those that no metric asks for."""

    ensemble: Ensemble | None = None
    neighbours: Neighbours | None = None


@dataclass(frozen=True)
class Meter:
    """Prices what the victim's model was asked: `metric` all at once, `metrics` one by one.

    `limits` are those of legitimate inputs, `input_shape` is one input's, `kind` tells how to read the model's output.
    """

    recorder: Recorder
    metrics: tuple[Metric, ...]
    metric: Metric
    limits: Limits
    input_shape: tuple[int, ...]
    kind: OutputKind

    def price(self, inputs: Tensor) -> Priced:
        """Ask the model about inputs `[n, *input_shape]` and price them; for inputs that no request brought."""
        return self.price_calls([self.recorder.ask(inputs)])

    def price_calls(self, calls: Sequence[Call]) -> Priced:
        """Price the samples of a pass: costs `[n, metrics]` in the order of the calls and of their rows.

        Samples beyond the limits, and those of which a score is not finite, cost the most. Raises BadPayload for inputs
        that no price can be had for, VictimError for a model that does not answer as it was calibrated, and
        PricingUnavailable when memory or the device gives out.
        """
        seen = self._seen(calls)
        try:
            with torch.inference_mode():
                priced = self.metric.price(seen)
                return self._bounded(priced, seen.inputs)
        except (MemoryError, RuntimeError, CalpowError) as problem:
            raise PricingUnavailable(f"cannot price a query: {type(problem).__name__}: {problem}") from problem

    def _seen(self, calls: Sequence[Call]) -> Seen:
        inputs = [_input(call) for call in calls]
        for each in inputs:
            if tuple(each.shape[1:]) != self.input_shape:
                shape = tuple(each.shape[1:])
                raise BadPayload(f"the model takes inputs of shape {self.input_shape}, not {shape}")
            if not _is_moderate(each):
                raise BadPayload(f"the model takes numbers up to {LARGEST_NUMBER:g} only")
        outputs = [_output(call, len(each)) for call, each in zip(calls, inputs, strict=True)]
        features = None
        if Need.FEATURES in self.metric.needs:
            features = _joined([_features(call) for call in calls])
        return Seen(_joined(inputs), log_distribution(_joined(outputs), self.kind), features)

    def _bounded(self, priced: Priced, inputs: Tensor) -> Priced:
        most = (self.limits.exceeded(inputs).unsqueeze(1)) | ~priced.costs.isfinite()
        if not most.any():
            return priced
        highest = torch.tensor([metric.highest for metric in self.metrics], dtype=torch.float64)
        return Priced(torch.where(most, highest, priced.costs), priced.labels)


def make_meter(
    recorder: Recorder,
    device: torch.device,
    shape: Shape,
    output: OutputKind,
    chosen: Sequence[Chosen],
    limits: Limits,
    artefacts: Artefacts,
) -> Meter:
    """Put metrics together. Raises GateMisconfigured when something is missing or the victim shows too little."""
    if any(each.name in ON_FEATURES for each in chosen):
        recorder.tap = recorder.tap or find_features(recorder, shape.input_shape, device)
    sources = Sources(
        classes=shape.classes,
        teachers=artefacts.ensemble.votes if artefacts.ensemble else None,
        neighbours=artefacts.neighbours.votes if artefacts.neighbours else None,
        tap=recorder.tap,
        model=recorder.model,
    )
    metrics = tuple(make_metric(each.name, each.settings, sources) for each in chosen)
    return Meter(recorder, metrics, Combined(metrics), limits, tuple(shape.input_shape), output)


def find_features(recorder: Recorder, input_shape: tuple[int, ...], device: torch.device) -> FeatureTap:
    """Find the model's last linear layer by a blank run. Raises GateMisconfigured where its features cannot be had."""
    blank = torch.rand(2, *input_shape, generator=torch.Generator().manual_seed(0)).to(device)

    def run() -> Tensor:
        with torch.inference_mode():
            output = recorder.model(blank.clone())
        if not isinstance(output, Tensor):
            raise VictimError("the victim's model does not answer with a tensor")
        return output

    try:
        tap = FeatureTap(recorder.model, run)
        tap(run)
    except (RuntimeError, VictimError) as problem:
        raise GateMisconfigured(f"the victim's representation cannot be taken: {problem}") from problem
    return tap


def _input(call: Call) -> Tensor:
    if call.inputs is None:
        raise VictimError("the victim's model is not asked with one tensor: such models cannot be priced yet")
    if call.inputs.dim() < 2 or call.inputs.layout != torch.strided or call.inputs.is_quantized:
        raise VictimError("the victim's model is not asked with a batch of plain numbers: it cannot be priced")
    return call.inputs


def _output(call: Call, samples: int) -> Tensor:
    if call.output is None or call.output.dim() != 2 or len(call.output) != samples:
        found = "no tensor" if call.output is None else f"numbers of shape {tuple(call.output.shape)}"
        raise VictimError(
            f"the victim answered {samples} samples with {found}: it must give one row of classes a sample"
        )
    return call.output


def _features(call: Call) -> Tensor:
    if call.features is None:
        raise VictimError("the victim did not use its last layer as it did when it was loaded")
    return call.features


def _joined(parts: Sequence[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))


def _is_moderate(numbers: Tensor) -> bool:
    """Whether no number is NaN, infinite or huge; the extremes show it, in an eighth of the time of torch.isfinite.

    Huge numbers overflow in the teachers, who then agree on nonsense: the cheapest price for the oddest query.
    """
    if numbers.numel() == 0:
        return True
    parts = torch.view_as_real(numbers) if numbers.is_complex() else numbers
    return all(abs(extreme.item()) <= LARGEST_NUMBER for extreme in parts.aminmax())
