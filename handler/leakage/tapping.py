"""Taps on a recorder's model: on its last linear layer, whose input are the features, and on inner layers."""

from collections.abc import Sequence

from torch import Tensor

from calpow.handler.errors import GateMisconfigured, VictimError
from calpow.handler.leakage.model_inputs import ModelInputs
from calpow.handler.leakage.recording import Recorder, first_tensor
from calpow.handler.leakage.taps.depths import DepthTap
from calpow.handler.leakage.taps.features import FeatureTap, find_layer
from calpow.handler.leakage.taps.stages import choose_depths


def tap_features(recorder: Recorder, layer: str) -> FeatureTap:
    """Put a tap on the layer of the recorder's model that has this name, and return it. Raises GateMisconfigured."""
    if recorder.tap is None or recorder.tap.name != layer:
        try:
            recorder.tap = FeatureTap(recorder.model, layer)
        except VictimError as error:
            raise GateMisconfigured(f"the victim's representation cannot be taken: {error}") from error
    return recorder.tap


def find_features(recorder: Recorder, example: ModelInputs) -> FeatureTap:
    """Put a tap on the model's last linear layer, which a call with example arguments finds, and return it.

    Raises GateMisconfigured when its features cannot be taken.
    """

    def run() -> Tensor | None:
        given = example.copied()
        return first_tensor(recorder.model(*given.arguments, **given.named))

    try:
        return tap_features(recorder, find_layer(recorder.model, run))
    except RuntimeError as error:
        raise GateMisconfigured(f"the victim's representation cannot be taken: {error}") from error


def tap_depths(recorder: Recorder, names: Sequence[str]) -> None:
    """Put a tap on the modules of the recorder's model that have these names, beside those that are tapped already.

    Raises GateMisconfigured when one does not exist.
    """
    tapped = () if recorder.depths is None else recorder.depths.names
    if set(names) <= set(tapped):
        return
    try:
        tap = DepthTap(recorder.model, list(dict.fromkeys([*tapped, *names])))
    except VictimError as error:
        raise GateMisconfigured(f"the victim's inner layers cannot be looked into: {error}") from error
    if recorder.depths is not None:
        recorder.depths.remove()
    recorder.depths = tap


def find_depths(recorder: Recorder, example: ModelInputs) -> tuple[str, ...]:
    """Put a tap on two inner layers of the model at most, as `choose_depths` does; return their names.

    Calls with example arguments find them, after `find_features`. Raises GateMisconfigured when the model fails.
    """

    def run() -> Tensor | None:
        given = example.copied()
        return first_tensor(recorder.model(*given.arguments, **given.named))

    try:
        names = choose_depths(recorder.model, run, "" if recorder.tap is None else recorder.tap.name)
    except RuntimeError as error:
        raise GateMisconfigured(f"the victim's inner layers cannot be looked into: {error}") from error
    tap_depths(recorder, names)
    return names
