"""The metrics an owner can choose from, and how each is made."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum

from torch import Tensor

from calpow.handler.errors import GateMisconfigured
from calpow.handler.leakage.confidence import Entropy, Gap
from calpow.handler.leakage.features import FeatureTap
from calpow.handler.leakage.gnmax.accountant import Accountant
from calpow.handler.leakage.odin import Odin, Perturbation
from calpow.handler.leakage.pate import Pate
from calpow.handler.leakage.pknn import Pknn
from calpow.handler.leakage.score import Metric

Settings = Mapping[str, float]
Votes = Callable[[Tensor], Tensor]


class MetricName(Enum):
    """The metrics by their names."""

    pate = "pate"
    entropy = "entropy"
    gap = "gap"
    pknn = "pknn"
    odin = "odin"
    odin_moved = "odin-moved"


# Metrics that look at the victim's probabilities, and at its representation.
ON_PROBABILITIES = frozenset({MetricName.entropy, MetricName.gap})
ON_FEATURES = frozenset({MetricName.pknn, MetricName.odin, MetricName.odin_moved})


@dataclass(frozen=True)
class Sources:
    """What metrics are made of; None for what there is not.

    `teachers` maps inputs `[n, ...]` to votes int64 `[n, classes]`, `neighbours` features `[n, f]`; `tap` is on
    `model`, the victim's.
    """

    classes: int
    teachers: Votes | None = None
    neighbours: Votes | None = None
    tap: FeatureTap | None = None
    model: Callable[[Tensor], Tensor] | None = None


def make_metric(name: MetricName, settings: Settings, sources: Sources) -> Metric:
    """A metric with the settings it was calibrated with. Raises GateMisconfigured when something is missing."""
    try:
        return _MAKERS[name](settings, sources)
    except KeyError as missing:
        raise GateMisconfigured(
            f"metric {name.value} lacks its setting {missing}: run calpow calibrate again"
        ) from None


def _pate(settings: Settings, sources: Sources) -> Metric:
    if sources.teachers is None:
        raise GateMisconfigured("metric pate needs teachers: give the --ensemble of calpow teachers")
    return Pate(sources.teachers, _accountant(settings))


def _pknn(settings: Settings, sources: Sources) -> Metric:
    if sources.neighbours is None:
        raise GateMisconfigured("metric pknn needs reference points: give the --neighbours of calpow neighbours")
    return Pknn(sources.neighbours, _accountant(settings))


def _accountant(settings: Settings) -> Accountant:
    """RDP at the order that is set, else each query's epsilon at delta."""
    teachers, sigma = int(settings["teachers"]), settings["sigma"]
    if sigma <= 0 or teachers < 1:
        raise GateMisconfigured("the vote's sigma and teachers must be more than 0: run calpow calibrate again")
    if "order" in settings:
        return Accountant.rdp_at(settings["order"], sigma, teachers)
    return Accountant.epsilon_at(settings["delta"], sigma, teachers)


def _odin(settings: Settings, sources: Sources) -> Metric:
    return Odin(_tap(sources).weight)


def _odin_moved(settings: Settings, sources: Sources) -> Metric:
    tap = _tap(sources)
    if sources.model is None or tap.layer is None:
        raise GateMisconfigured("metric odin-moved follows gradients, and the victim is no eager model: take odin")
    return Odin(tap.weight, Perturbation(sources.model, tap, settings["magnitude"]))


def _tap(sources: Sources) -> FeatureTap:
    if sources.tap is None:
        raise GateMisconfigured("metric odin needs the victim's representation, and it shows none")
    return sources.tap


_MAKERS: Mapping[MetricName, Callable[[Settings, Sources], Metric]] = {
    MetricName.pate: _pate,
    MetricName.entropy: lambda _, sources: Entropy(sources.classes),
    MetricName.gap: lambda _, __: Gap(),
    MetricName.pknn: _pknn,
    MetricName.odin: _odin,
    MetricName.odin_moved: _odin_moved,
}
