"""The scores that an owner can choose from by name, and the functions that create them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum

from torch import Tensor

from calpow.handler.errors import GateMisconfigured
from calpow.handler.leakage.confidence import Entropy, Gap
from calpow.handler.leakage.features import FeatureTap
from calpow.handler.leakage.gnmax.accountant import Accountant
from calpow.handler.leakage.odin import Odin, Perturbation
from calpow.handler.leakage.score import Score
from calpow.handler.leakage.votes import VoteScore

Settings = Mapping[str, float]
Votes = Callable[[Tensor], Tensor]


class ScoreName(Enum):
    """The scores by their names."""

    pate = "pate"
    entropy = "entropy"
    gap = "gap"
    pknn = "pknn"
    odin = "odin"
    odin_moved = "odin-moved"


# Scores of the victim's probabilities, and scores of its features.
ON_PROBABILITIES = frozenset({ScoreName.entropy, ScoreName.gap})
ON_FEATURES = frozenset({ScoreName.pknn, ScoreName.odin, ScoreName.odin_moved})


@dataclass(frozen=True)
class ScoreSpec:
    """A score by its name, with the settings that it was calibrated with."""

    name: ScoreName
    settings: Settings


@dataclass(frozen=True)
class ScoreSources:
    """Parts that scores are computed from; None for those that are missing.

    `teachers` maps inputs `[n, ...]` to vote counts int64 `[n, classes]`, `neighbours` maps features `[n, f]` to them;
    `tap` is on `model`, the victim's.
    """

    classes: int
    teachers: Votes | None = None
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
    return VoteScore.of_teachers(sources.teachers, _accountant(settings))


def _pknn(settings: Settings, sources: ScoreSources) -> Score:
    if sources.neighbours is None:
        raise GateMisconfigured("metric pknn needs reference points: give the --neighbours of calpow neighbours")
    return VoteScore.of_neighbours(sources.neighbours, _accountant(settings))


def _accountant(settings: Settings) -> Accountant:
    """Return an accountant of RDP where an order is set, else of each query's epsilon at delta."""
    teachers, sigma = int(settings["teachers"]), settings["sigma"]
    if sigma <= 0 or teachers < 1:
        raise GateMisconfigured("the vote's sigma and teachers must be more than 0: run calpow calibrate again")
    if "order" in settings:
        return Accountant.rdp_at(settings["order"], sigma, teachers)
    return Accountant.epsilon_at(settings["delta"], sigma, teachers)


def _odin(settings: Settings, sources: ScoreSources) -> Score:
    return Odin(_tap(sources).weight)


def _odin_moved(settings: Settings, sources: ScoreSources) -> Score:
    tap = _tap(sources)
    if sources.model is None or tap.layer is None:
        raise GateMisconfigured("metric odin-moved follows gradients, and the victim is no eager model: take odin")
    return Odin(tap.weight, Perturbation(sources.model, tap, settings["magnitude"]))


def _tap(sources: ScoreSources) -> FeatureTap:
    if sources.tap is None:
        raise GateMisconfigured("metric odin needs the victim's representation, and it shows none")
    return sources.tap


_MAKERS: Mapping[ScoreName, Callable[[Settings, ScoreSources], Score]] = {
    ScoreName.pate: _pate,
    ScoreName.entropy: lambda _, sources: Entropy(sources.classes),
    ScoreName.gap: lambda _, __: Gap(),
    ScoreName.pknn: _pknn,
    ScoreName.odin: _odin,
    ScoreName.odin_moved: _odin_moved,
}
