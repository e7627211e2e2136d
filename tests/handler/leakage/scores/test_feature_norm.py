"""The length of the last features."""

import numpy as np
import pytest
import torch

from calpow.handler.leakage.score import SampleBatch
from calpow.handler.leakage.scores.feature_norm import FeatureNorm
from tests.support.batches import batch_at


def test_it_is_the_length_of_the_last_features() -> None:
    assert FeatureNorm().costs(batch_at("", torch.tensor([[3.0, -4.0], [0.0, 0.0]]))).tolist() == [5.0, 0.0]


def test_without_features_there_is_none() -> None:
    with pytest.raises(ValueError, match="features"):
        FeatureNorm().costs(SampleBatch(answers=np.zeros(1, np.int64)))
