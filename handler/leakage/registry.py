"""The scores that an owner can choose from by name, and the functions that create them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from calpow.handler.errors import GateMisconfigured
from calpow.handler.leakage.gnmax.accountant import Accountant
from calpow.handler.leakage.references import LAST, References
from calpow.handler.leakage.score import Score
from calpow.handler.leakage.scores.confidence import Energy, Entropy, Gap
from calpow.handler.leakage.scores.density import InputDensity
from calpow.handler.leakage.scores.feature_norm import FeatureNorm
from calpow.handler.leakage.scores.mahalanobis import MahalanobisDistance
from calpow.handler.leakage.scores.odin import Odin, Perturbation
from calpow.handler.leakage.scores.prototypes import PrototypeDistance
from calpow.handler.leakage.scores.token_rarity import TokenRarity
from calpow.handler.leakage.scores.votes import VoteEntropy, VoteScore
from calpow.handler.leakage.specs import OutputKind, ScoreName, ScoreSpec, Settings
from calpow.handler.leakage.taps.features import FeatureTap

Votes = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class ScoreSources:
    """Parts that scores are computed from; None for those that are missing.

    `neighbours` maps features `[n, f]` to vote counts int64 `[n, classes]`; `tap` is on `model`, the victim's.
    """

    classes: int
    output: OutputKind
    references: References | None = None
    has_teachers: bool = False
    neighbours: Votes | None = None
    tap: FeatureTap | None = None
    model: Callable[[Tensor], Tensor] | None = None


def make_score(spec: ScoreSpec, sources: ScoreSources) -> Score:
    """Return the score that `spec` describes. Raises GateMisconfigured when a setting or a source is missing."""
    try:
        return _MAKERS[spec.name](spec, sources)
    except KeyError as missing:
        raise GateMisconfigured(
            f"score {spec.name.value} lacks its setting {missing}: run calpow calibrate again"
        ) from None


def _pate(spec: ScoreSpec, sources: ScoreSources) -> Score:
    _check_teachers(spec, sources)
    return VoteScore.of_teachers(_accountant(spec.settings))


def _vote_entropy(spec: ScoreSpec, sources: ScoreSources) -> Score:
    _check_teachers(spec, sources)
    return VoteEntropy(sources.classes, int(spec.settings["teachers"]))


def _check_teachers(spec: ScoreSpec, sources: ScoreSources) -> None:
    if not sources.has_teachers:
        raise GateMisconfigured(f"score {spec.name.value} needs teachers: give the --ensemble of calpow teachers")


def _energy(spec: ScoreSpec, sources: ScoreSources) -> Score:
    if sources.output is not OutputKind.logits:
        raise GateMisconfigured("score energy needs logits, and the victim answers with probabilities: leave it out")
    return Energy()


def _prototypes(spec: ScoreSpec, sources: ScoreSources) -> Score:
    references = _references(spec, sources)
    axes, prototypes = references.axes.get(spec.layer), references.prototypes.get(spec.layer)
    if axes is None or prototypes is None:
        raise _no_reference(spec)
    return PrototypeDistance(spec.layer, axes, prototypes)


def _mahalanobis(spec: ScoreSpec, sources: ScoreSources) -> Score:
    gaussians = _references(spec, sources).gaussians.get(spec.layer)
    if gaussians is None:
        raise _no_reference(spec)
    return MahalanobisDistance(spec.layer, gaussians)


def _density(spec: ScoreSpec, sources: ScoreSources) -> Score:
    mixture = _references(spec, sources).mixture
    if mixture is None:
        raise GateMisconfigured("score density is for tables and small images, and these are others: leave it out")
    return InputDensity(mixture)


def _tokens(spec: ScoreSpec, sources: ScoreSources) -> Score:
    token_costs = _references(spec, sources).token_costs
    if token_costs is None:
        raise GateMisconfigured("score tokens is for whole numbers, and these inputs are others: leave it out")
    return TokenRarity(token_costs)


def _references(spec: ScoreSpec, sources: ScoreSources) -> References:
    if sources.references is None:
        raise GateMisconfigured(
            f"score {spec.name.value} compares with the training data: give the --ensemble of calpow teachers"
        )
    return sources.references


def _no_reference(spec: ScoreSpec) -> GateMisconfigured:
    layer = "the last features" if spec.layer == LAST else f"layer {spec.layer}"
    return GateMisconfigured(
        f"score {spec.name.value} has nothing to compare {layer} with: train teachers, and calibrate again"
    )


def _pknn(spec: ScoreSpec, sources: ScoreSources) -> Score:
    if sources.neighbours is None:
        raise GateMisconfigured("score pknn needs reference points: give the --neighbours of calpow neighbours")
    return VoteScore.on_features(sources.neighbours, _accountant(spec.settings))


def _accountant(settings: Settings) -> Accountant:
    """Return an accountant of RDP where an order is set, else of each query's epsilon at delta."""
    teachers, sigma = int(settings["teachers"]), settings["sigma"]
    if sigma <= 0 or teachers < 1:
        raise GateMisconfigured("the vote's sigma and teachers must be more than 0: run calpow calibrate again")
    if "order" in settings:
        return Accountant.rdp_at(settings["order"], sigma, teachers)
    return Accountant.epsilon_at(settings["delta"], sigma, teachers)


def _odin(spec: ScoreSpec, sources: ScoreSources) -> Score:
    return Odin(_class_weights(sources))


def _odin_moved(spec: ScoreSpec, sources: ScoreSources) -> Score:
    tap = _tap(sources)
    if sources.model is None or tap.layer is None:
        raise GateMisconfigured("score odin-moved follows gradients, and the victim is no eager model: take odin")
    return Odin(_class_weights(sources), Perturbation(sources.model, tap, spec.settings["magnitude"]))


def _tap(sources: ScoreSources) -> FeatureTap:
    if sources.tap is None:
        raise GateMisconfigured("score odin needs the victim's representation, and it shows none")
    return sources.tap


def _class_weights(sources: ScoreSources) -> Tensor | None:
    """Return the weights `[classes, f]` of the last layer. One row of two classes stands for the second."""
    weight = _tap(sources).weight
    return torch.cat([-weight, weight]) if weight is not None and len(weight) == 1 else weight


_MAKERS: Mapping[ScoreName, Callable[[ScoreSpec, ScoreSources], Score]] = {
    ScoreName.pate: _pate,
    ScoreName.vote_entropy: _vote_entropy,
    ScoreName.entropy: lambda _, sources: Entropy(sources.classes),
    ScoreName.gap: lambda _, __: Gap(),
    ScoreName.energy: _energy,
    ScoreName.norm: lambda _, __: FeatureNorm(),
    ScoreName.prototypes: _prototypes,
    ScoreName.mahalanobis: _mahalanobis,
    ScoreName.density: _density,
    ScoreName.tokens: _tokens,
    ScoreName.pknn: _pknn,
    ScoreName.odin: _odin,
    ScoreName.odin_moved: _odin_moved,
}
