"""Metrics, the victim they look at and the files they need, put together: for a worker, and for calibration alike."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from calpow.handler.calibration import Chosen, Shape
from calpow.handler.ensemble import Ensemble
from calpow.handler.leakage.base import Metric, Priced, Seen
from calpow.handler.leakage.combined import Combined
from calpow.handler.leakage.neighbours import Neighbours
from calpow.handler.leakage.output import OutputKind
from calpow.handler.leakage.registry import ON_FEATURES, Sources, make_metric
from calpow.handler.limits import Limits
from calpow.handler.looking import Onlooker
from calpow.handler.victim import Victim


@dataclass(frozen=True)
class Artefacts:
    """The files that metrics need, loaded; None for those that no metric asks for."""

    ensemble: Ensemble | None = None
    neighbours: Neighbours | None = None


@dataclass(frozen=True)
class Meter:
    """What prices inputs: `look` shows them to the victim, `metric` prices what is seen, `metrics` one by one.

    `limits` are those of legitimate inputs.
    """

    metrics: tuple[Metric, ...]
    metric: Metric
    look: Callable[[Tensor], Seen]
    limits: Limits

    def price(self, inputs: Tensor) -> Priced:
        """Price inputs `[n, *input_shape]`: costs `[n, metrics]`, the highest for those beyond the limits."""
        priced = self.metric.price(self.look(inputs))
        beyond = self.limits.exceeded(inputs)
        if not beyond.any():
            return priced
        highest = torch.tensor([metric.highest for metric in self.metrics], dtype=torch.float64)
        return Priced(torch.where(beyond.unsqueeze(1), highest, priced.costs), priced.labels)


def make_meter(
    victim: Victim,
    shape: Shape,
    output: OutputKind | None,
    chosen: Sequence[Chosen],
    limits: Limits,
    artefacts: Artefacts,
) -> Meter:
    """Put metrics together. Raises GateMisconfigured when something is missing or the victim shows too little."""
    onlooker = Onlooker(victim, output, shape.input_shape, features=any(each.name in ON_FEATURES for each in chosen))
    model = victim.model
    sources = Sources(
        classes=shape.classes,
        teachers=artefacts.ensemble.votes if artefacts.ensemble else None,
        neighbours=artefacts.neighbours.votes if artefacts.neighbours else None,
        tap=onlooker.tap,
        model=model if isinstance(model, nn.Module) else None,
    )
    metrics = tuple(make_metric(each.name, each.settings, sources) for each in chosen)
    combined = Combined(metrics, answers=output is not None)
    return Meter(metrics, combined, onlooker.look(combined.needs), limits)
