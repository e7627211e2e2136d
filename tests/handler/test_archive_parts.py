"""Parts of an archive that do not fit the victim are refused in one line."""

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from calpow.handler import archive_parts
from calpow.handler.archive_parts import load_parts
from calpow.handler.config import GateConfig
from calpow.handler.errors import GateMisconfigured
from calpow.handler.leakage.model_inputs import ModelInputs
from calpow.handler.leakage.specs import ScoreName, ScoreSpec, VictimShape
from tests.support.calibrations import calibrated_policy
from tests.support.open_victims import FirstTensorNet, numbers, open_with


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ({"input_shape": (10**13,)}, "no input has the shape"),
        ({"input_shape": (2**70,)}, "no input has the shape"),
        ({"input_dtype": "load"}, "and the type load of the calibration"),
        ({"input_shape": (5,)}, "the victim does not take inputs of shape"),
        ({"classes": 3}, "the victim has 4 classes, the calibration 3"),
        ({"layer": "other"}, "has no linear layer other"),
    ],
)
def test_a_calibration_of_other_inputs_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shape: Mapping[str, Any], words: str
) -> None:
    policy = calibrated_policy(
        shape=VictimShape(**{"classes": 4, "input_shape": (4,), "layer": "layer", **shape}),
        parts={},
        scores=(ScoreSpec(ScoreName.odin, {}),),
    )
    monkeypatch.setattr(archive_parts, "load_policy", lambda path: policy)
    config = cast(GateConfig, SimpleNamespace(parts={}, victim_fingerprint=policy.victim_sha256))
    victim = open_with(FirstTensorNet(), lambda text: ModelInputs.of(numbers(text))).victim
    with pytest.raises(GateMisconfigured) as refusal:
        load_parts(tmp_path, victim, config)
    assert words in str(refusal.value)
    assert "\n" not in str(refusal.value)
