"""The scores that an owner can choose from by name, and the functions that create them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from calpow.handler.errors import GateMisconfigured
from calpow.handler.leakage.confidence import Entropy, Gap
from calpow.handler.leakage.features import FeatureTap
from calpow.handler.leakage.gnmax.accountant import Accountant
from calpow.handler.leakage.odin import Odin, Perturbation
from calpow.handler.leakage.score import Score
from calpow.handler.leakage.specs import ScoreName, ScoreSpec, Settings
from calpow.handler.leakage.votes import VoteScore

Votes = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class ScoreSources:
    """Parts that scores are computed from; None for those that are missing.

    `teachers` maps inputs `[n, ...]`, or features `[n, f]` with `teachers_on_features`, to vote counts int64
    `[n, classes]`; `neighbours` maps features to them; `tap` is on `model`, the victim's.
    """

    classes: int
    teachers: Votes | None = None
    teachers_on_features: bool = False
    neighbours: Votes | None = None
    tap: FeatureTap | None = None
    model: Callable[[Tensor], Tensor] | None = None


def make_score(spec: ScoreSpec, sources: ScoreSources) -> Score:
    """Return the score that `spec` describes. Raises GateMisconfigured when a setting or a source is missing."""
    try:
        return _MAKERS[spec.name](spec.settings, sources)
    except KeyError as missing:
        raise GateMisconfigured(
            f"metric {spec.name.value} lacks its setting {missing}: run calpow calibrate again"
        ) from None


def _pate(settings: Settings, sources: ScoreSources) -> Score:
    if sources.teachers is None:
        raise GateMisconfigured("metric pate needs teachers: give the --ensemble of calpow teachers")
    return (
        VoteScore.on_features(sources.teachers, _accountant(settings))
        if sources.teachers_on_features
        else VoteScore.on_inputs(sources.teachers, _accountant(settings))
    )


def _pknn(settings: Settings, sources: ScoreSources) -> Score:
    if sources.neighbours is None:
        raise GateMisconfigured("metric pknn needs reference points: give the --neighbours of calpow neighbours")
    return VoteScore.on_features(sources.neighbours, _accountant(settings))


def _accountant(settings: Settings) -> Accountant:
    """Return an accountant of RDP where an order is set, else of each query's epsilon at delta."""
    teachers, sigma = int(settings["teachers"]), settings["sigma"]
    if sigma <= 0 or teachers < 1:
        raise GateMisconfigured("the vote's sigma and teachers must be more than 0: run calpow calibrate again")
    if "order" in settings:
        return Accountant.rdp_at(settings["order"], sigma, teachers)
    return Accountant.epsilon_at(settings["delta"], sigma, teachers)


def _odin(settings: Settings, sources: ScoreSources) -> Score:
    return Odin(_class_weights(sources))


def _odin_moved(settings: Settings, sources: ScoreSources) -> Score:
    tap = _tap(sources)
    if sources.model is None or tap.layer is None:
        raise GateMisconfigured("metric odin-moved follows gradients, and the victim is no eager model: take odin")
    return Odin(_class_weights(sources), Perturbation(sources.model, tap, settings["magnitude"]))


def _tap(sources: ScoreSources) -> FeatureTap:
    if sources.tap is None:
        raise GateMisconfigured("metric odin needs the victim's representation, and it shows none")
    return sources.tap


def _class_weights(sources: ScoreSources) -> Tensor | None:
    """Return the weights `[classes, f]` of the last layer. One row of two classes stands for the second."""
    weight = _tap(sources).weight
    return torch.cat([-weight, weight]) if weight is not None and len(weight) == 1 else weight


_MAKERS: Mapping[ScoreName, Callable[[Settings, ScoreSources], Score]] = {
    ScoreName.pate: _pate,
    ScoreName.entropy: lambda _, sources: Entropy(sources.classes),
    ScoreName.gap: lambda _, __: Gap(),
    ScoreName.pknn: _pknn,
    ScoreName.odin: _odin,
    ScoreName.odin_moved: _odin_moved,
}
