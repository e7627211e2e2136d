"""Meters of an untrained MnistNet with teachers and references of random numbers, to time what scores take."""

import copy
import functools
import operator
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import nn

from calpow.archiver.teachers.networks import MNISTNET_SHAPE
from calpow.archiver.teachers.partitions import most_teachers
from calpow.handler.leakage.batches import BatchMaker, Teachers
from calpow.handler.leakage.input_range import RangeCheck
from calpow.handler.leakage.meter import Meter
from calpow.handler.leakage.model_inputs import ModelInputs
from calpow.handler.leakage.recording import Recorder
from calpow.handler.leakage.references import LAST, Gaussians, Mixture, References
from calpow.handler.leakage.registry import ScoreSources, make_score
from calpow.handler.leakage.score import VictimOutput
from calpow.handler.leakage.specs import InputRange, OutputKind, ScoreName, ScoreSpec, VictimShape
from calpow.handler.leakage.tapping import find_depths, find_features
from calpow.handler.leakage.teachers.ensemble import Ensemble, EnsembleCard
from calpow.handler.leakage.teachers.heads import HeadEnsemble, Heads, HeadVotes
from calpow.handler.leakage.teachers.trunks import VICTIM
from tests.support.ensembles import digests, ensemble_card

CLASSES, AXES, PROTOTYPES, COMPONENTS = 10, 64, 1000, 20
TEACHERS = most_teachers(CLASSES)
POOLED_PIXELS, POOL = 196, 2

# The scores of a meter, from the names of the layers that it knows; LAST is one of them.
ScoreSpecs = Callable[[Iterable[str]], Sequence[ScoreSpec]]


def make_timed_meter(
    model: nn.Module,
    scores: ScoreSpecs,
    classes: int = CLASSES,
    prototypes: int = PROTOTYPES,
    teachers: int | None = None,
) -> Meter:
    """Return a meter of an image model of so many classes, with so many prototypes a layer, and teachers.

    `teachers` None are as many as there are by default.
    """
    recorder, example = Recorder(model), ModelInputs.of(torch.rand(1, *MNISTNET_SHAPE))
    tap, depths = find_features(recorder, example), find_depths(recorder, example)
    shown = recorder.replay(example)
    assert shown.features is not None
    widths = {name: shown.depths[name].shape[1] for name in depths} | {LAST: shown.features.shape[1]}
    references = References(
        layers=depths,
        axes={name: torch.randn(width, min(width, AXES)) for name, width in widths.items()},
        prototypes={name: torch.randn(prototypes, min(width, AXES)) for name, width in widths.items()},
        gaussians={name: _gaussians(AXES if name == LAST else width, classes) for name, width in widths.items()},
        mixture=_mixture(),
        token_costs=None,
    )
    axes = references.axes[LAST]
    voters = most_teachers(classes) if teachers is None else teachers
    heads = Heads(torch.randn(AXES, voters * classes), torch.randn(voters * classes))
    ensemble = Ensemble(
        _card(classes, voters), HeadVotes(HeadEnsemble(nn.Identity(), heads, classes)), torch.device("cpu")
    )
    sources = ScoreSources(classes, OutputKind.logits, references, has_teachers=True)
    shape = VictimShape(classes, MNISTNET_SHAPE, layer=tap.name)
    made = tuple(make_score(spec, sources) for spec in scores(widths))
    needs = functools.reduce(operator.or_, [score.needs for score in made], VictimOutput.PROJECTION)
    batches = BatchMaker(
        shape, OutputKind.logits, needs, depths, axes, Teachers(ensemble.votes, VictimOutput.PROJECTION)
    )
    return Meter(recorder, made, RangeCheck(InputRange((0.0,), (1.0,))), batches)


def sharing_weights(model: nn.Module) -> nn.Module:
    """Return a model of the same weights, which holds no hooks."""
    return copy.deepcopy(model, {id(weights): weights for weights in model.parameters()})


def pate(teachers: int = TEACHERS) -> ScoreSpec:
    """Return the paper's score, the privacy cost of so many votes."""
    return ScoreSpec(ScoreName.pate, {"teachers": teachers, "sigma": 10.0, "delta": 1e-5})


def five_scores(layers: Iterable[str]) -> list[ScoreSpec]:
    """Return five scores, which read the output of the network and two depths."""
    distances = [ScoreSpec(ScoreName.mahalanobis, {}, layer) for layer in layers if layer != LAST]
    return [pate(), ScoreSpec(ScoreName.energy, {}), ScoreSpec(ScoreName.prototypes, {}), *distances]


def every_score(layers: Iterable[str], teachers: int = TEACHERS) -> list[ScoreSpec]:
    """Return the scores that are computed of images by default."""
    on_layers = [
        ScoreSpec(name, {}, layer) for layer in layers for name in (ScoreName.prototypes, ScoreName.mahalanobis)
    ]
    votes = [pate(teachers), ScoreSpec(ScoreName.vote_entropy, {"teachers": teachers})]
    return [
        *votes,
        *[ScoreSpec(name, {}) for name in (ScoreName.energy, ScoreName.norm, ScoreName.density)],
        *on_layers,
    ]


def _card(classes: int, teachers: int) -> EnsembleCard:
    return ensemble_card(
        classes=classes,
        class_names=tuple(map(str, range(classes))),
        input_shape=None,
        trunk=VICTIM,
        width=AXES,
        teachers=teachers,
        partition_sizes=(classes,) * teachers,
        partition_digests=digests(teachers),
    )


def _gaussians(width: int, classes: int) -> Gaussians:
    return Gaussians(torch.randn(width, width), torch.randn(classes, width))


def _mixture() -> Mixture:
    return Mixture(
        pool=POOL,
        centre=torch.rand(POOLED_PIXELS),
        axes=torch.randn(POOLED_PIXELS, AXES),
        whitening=torch.randn(COMPONENTS, AXES, AXES),
        means=torch.randn(COMPONENTS, AXES),
        log_weights=torch.rand(COMPONENTS),
    )
