"""Meters of a model on vectors, with teachers and reference points that fit it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from types import SimpleNamespace

import torch
from torch import Tensor, nn

from calpow.handler.leakage.meter import Artefacts, Meter, make_meter
from calpow.handler.leakage.neighbours import Neighbours, NeighboursCard
from calpow.handler.leakage.recording import Recorder, follow_model
from calpow.handler.leakage.references import LAST, Gaussians, Mixture, References
from calpow.handler.leakage.specs import InputRange, OutputKind, ScoreName, ScoreSpec, VictimShape
from tests.support.ensembles import TEACHERS, vector_ensemble
from tests.support.victims.build import vector_net

SHAPE = VictimShape(4, (4,), layer="layer")
# Of a model whose output stands for its features.
UNTAPPED = replace(SHAPE, layer="")
# Beyond these nothing is looked at twice.
ANY = InputRange((-1e9,), (1e9,))
NO_RANGE = InputRange((), ())
INPUTS = torch.rand(12, 4, generator=torch.Generator().manual_seed(0))
VOTE = {"sigma": 0.5, "delta": 1e-5, "teachers": 4.0}
SETTINGS: dict[ScoreName, dict[str, float]] = {
    **{name: {} for name in ScoreName},
    ScoreName.pate: VOTE | {"teachers": float(TEACHERS)},
    ScoreName.vote_entropy: {"teachers": float(TEACHERS)},
    ScoreName.pknn: VOTE,
    ScoreName.odin_moved: {"magnitude": 0.01},
}
# Scores of inputs that are numbers of any kind; token ids are whole.
ON_VECTORS = [name for name in ScoreName if name is not ScoreName.tokens]


def vector_references(classes: int = 4) -> References:
    """Return references for vectors, at the victim's last features and at the output of its module `layer`."""
    generator = torch.Generator().manual_seed(3)

    def rows(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    layers = (LAST, "layer")
    return References(
        layers=("layer",),
        axes={layer: torch.linalg.qr(rows(4, 3)).Q for layer in layers},
        prototypes={layer: 0.5 * rows(6, 3) for layer in layers},
        gaussians={layer: Gaussians(rows(width, 3), rows(classes, 3)) for layer, width in ((LAST, 3), ("layer", 4))},
        mixture=Mixture(1, rows(4), rows(4, 2), rows(5, 2, 2), rows(5, 2), rows(5)),
        token_costs=torch.tensor([0.5, 1.0, 2.0, 4.0]),
    )


@dataclass(frozen=True)
class MeterParts:
    """The followed model of a victim, with teachers and reference points that fit it."""

    recorder: Recorder
    artefacts: Artefacts

    def meter(self, *names: ScoreName) -> Meter:
        """Return the meter of the model by these scores."""
        return self.meter_of(self.recorder, [ScoreSpec(name, SETTINGS[name]) for name in names], shape=SHAPE)

    def meter_of(
        self,
        recorder: Recorder,
        specs: list[ScoreSpec],
        input_range: InputRange = ANY,
        shape: VictimShape = UNTAPPED,
        output: OutputKind = OutputKind.logits,
    ) -> Meter:
        """Return the meter of another model."""
        return make_meter(recorder, shape, output, specs, input_range, self.artefacts)


def vector_parts() -> MeterParts:
    """Return the model on vectors with its teachers and reference points."""
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(40) % 4
    points = torch.nn.functional.one_hot(labels, 4).float() + torch.rand(40, 4, generator=generator)
    card = NeighboursCard(1, ("0", "1", "2", "3"), 40, 4, 4, "0" * 64)
    recorder = follow_model(SimpleNamespace(model=vector_net()), None)
    ensemble = vector_ensemble()
    ensemble.references = vector_references()
    return MeterParts(recorder, Artefacts(ensemble, Neighbours(card, points, labels)))


class AnswerNet(nn.Module):
    """Model that answers by a given function."""

    def __init__(self, answer: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, inputs: Tensor) -> object:
        """Return the function's answer."""
        return self.answer(inputs)
