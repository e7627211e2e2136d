"""The meter, which prices the samples of a pass by the calibrated scores; used by workers and by calibration alike."""

import functools
import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from calpow.handler.errors import GateMisconfigured, PricingUnavailable, VictimError
from calpow.handler.leakage.batches import BatchMaker, Teachers, input_rows
from calpow.handler.leakage.input_range import RangeCheck, check_numbers
from calpow.handler.leakage.neighbours import Neighbours
from calpow.handler.leakage.recording import Call, Recorder
from calpow.handler.leakage.references import LAST, References
from calpow.handler.leakage.registry import ScoreSources, make_score
from calpow.handler.leakage.score import SampleBatch, Score, ScoredSamples, VictimOutput
from calpow.handler.leakage.specs import InputRange, OutputKind, ScoreSpec, VictimShape
from calpow.handler.leakage.tapping import tap_depths, tap_features
from calpow.handler.leakage.teachers.ensemble import Ensemble
from calpow.puzzle.errors import CalpowError


@dataclass(frozen=True)
class Artefacts:
    """The files that scores need, loaded; None for those that no score needs."""

    ensemble: Ensemble | None = None
    neighbours: Neighbours | None = None

    @property
    def references(self) -> References | None:
        """Statistics of the training data, which are stored with the teachers."""
        return None if self.ensemble is None else self.ensemble.references


@dataclass(frozen=True)
class Meter:
    """Prices the samples that the victim's model was called on, with a column of costs for each of `scores`.

    `range_check` knows the range of legitimate inputs; `batches` puts together what the scores need.
    """

    recorder: Recorder
    scores: tuple[Score, ...]
    range_check: RangeCheck
    batches: BatchMaker

    def price(self, inputs: Tensor) -> ScoredSamples:
        """Call the model on inputs `[n, *input_shape]` of no request, and price them as `price_calls` does."""
        return self.price_calls([self.recorder.ask(inputs)])

    def price_calls(self, calls: Sequence[Call]) -> ScoredSamples:
        """Return the costs `[n, scores]` and the classes of the samples of a pass, in the order of calls and rows.

        The class is that of the victim's own answer, not of the teachers' vote: on odd queries, the vote goes to a
        class on which the teachers often disagree, where the query seems ordinary (decision 0014). Samples beyond the
        input range, and those with a score or with features that are not finite, get the highest scores.

        Raises BadPayload for inputs that cannot be priced, VictimError for a model that does not answer as it was
        calibrated, and PricingUnavailable when memory or the device is exhausted.
        """
        try:
            # A number that overflows says so itself: `_costs` looks for those that are not finite.
            with torch.inference_mode(), np.errstate(all="ignore"):
                within = [self.range_check.holds(check_numbers(call.arguments)) for call in calls]
                batch = self.batches.make(calls)
                exceeded = None if all(within) else self._exceeded(calls, batch)
                return ScoredSamples(self._costs(batch, exceeded), torch.from_numpy(batch.answers))
        except VictimError:
            raise
        except (MemoryError, RuntimeError, CalpowError) as error:
            raise PricingUnavailable(f"cannot price a query: {type(error).__name__}: {error}") from error

    def samples(self, call: Call) -> int:
        """Return the number of samples of a call. Raises VictimError when its output is not what it was calibrated."""
        return len(self.batches.rows(call))

    def check(self, call: Call) -> None:
        """Raise BadPayload or VictimError when the samples of a call cannot be priced."""
        self.batches.check(call)

    def _costs(self, batch: SampleBatch, exceeded: Tensor | None) -> Tensor:
        """Return the costs float64 `[n, scores]` on the CPU, the highest for samples that are `exceeded` `[n]`."""
        table = np.empty((len(self.scores) + 1, len(batch.answers)))
        for row, score in zip(table, self.scores, strict=False):
            row[:] = score.costs(batch)
        # Teachers agree on NaN and infinity, as they do on huge inputs; the length of such features is not finite.
        table[-1] = 0.0 if batch.lengths is None else batch.lengths
        costs = table[:-1]
        if exceeded is not None or not math.isfinite(np.add.reduce(table, axis=None)):
            odd = ~np.isfinite(table)
            spoiled = odd[:-1] | odd[-1]
            if exceeded is not None:
                spoiled |= exceeded.numpy()
            costs = np.where(spoiled, np.array([[score.highest] for score in self.scores]), costs)
        return torch.from_numpy(costs.T)

    def _exceeded(self, calls: Sequence[Call], batch: SampleBatch) -> Tensor:
        """Return which samples go well beyond the input range: bool `[n]` on the CPU."""
        if batch.inputs is not None:
            return self.range_check.exceeded(batch.inputs)
        parts = []
        for call in calls:
            samples = self.samples(call)
            inputs = input_rows(call.arguments, samples)
            none = torch.zeros(samples, dtype=torch.bool)
            parts.append(none if inputs is None else self.range_check.exceeded(inputs))
        return torch.cat(parts)


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
    references, neighbours = artefacts.references, artefacts.neighbours
    axes = None if references is None else references.axes.get(LAST)
    teachers = _teachers(artefacts.ensemble, axes)
    on_features = teachers is not None and teachers.voted_on is not VictimOutput.INPUTS
    if any(spec.on_features or (spec.on_votes and on_features) for spec in specs):
        tap_features(recorder, shape.layer)
    layers = tuple(dict.fromkeys(spec.layer for spec in specs if spec.layer))
    if layers:
        tap_depths(recorder, layers)
    sources = ScoreSources(
        classes=shape.classes,
        output=output,
        references=references,
        has_teachers=teachers is not None,
        neighbours=neighbours.votes if neighbours else None,
        tap=recorder.tap,
        model=recorder.model,
    )
    scores = tuple(make_score(spec, sources) for spec in specs)
    needs = functools.reduce(operator.or_, [score.needs for score in scores], VictimOutput(0))
    if teachers is not None and VictimOutput.VOTES in needs:
        needs |= teachers.voted_on
    if shape.input_shape is None and VictimOutput.INPUTS in needs:
        raise GateMisconfigured(
            "the victim's model takes inputs of several shapes or several tensors: train teachers with --trunk victim,"
            " or take scores of the victim's answers and features"
        )
    return Meter(recorder, scores, RangeCheck(input_range), BatchMaker(shape, output, needs, layers, axes, teachers))


def _teachers(ensemble: Ensemble | None, axes: Tensor | None) -> Teachers | None:
    if ensemble is None:
        return None
    if not ensemble.on_features:
        return Teachers(ensemble.votes, VictimOutput.INPUTS)
    return Teachers(ensemble.votes, VictimOutput.FEATURES if axes is None else VictimOutput.PROJECTION)
