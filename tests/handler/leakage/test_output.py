"""Raw outputs: every kind is recognised, and an output that is no distribution is refused."""

import pytest
import torch
from torch import Tensor

from calpow.handler.errors import BareClass, NoDistribution
from calpow.handler.leakage.output import OutputKind, log_distribution, recognise

LOGITS = torch.randn(40, 5, generator=torch.Generator().manual_seed(0)) * 3


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_each_kind_of_output_is_recognised_and_says_the_same(dtype: torch.dtype) -> None:
    outputs = {
        OutputKind.logits: LOGITS.to(dtype),
        OutputKind.probabilities: LOGITS.softmax(1).to(dtype),
        OutputKind.log_probabilities: LOGITS.log_softmax(1).to(dtype),
    }
    for kind, output in outputs.items():
        assert recognise(output, 5) is kind
        logs = log_distribution(output, kind)
        assert logs.dtype == torch.float64
        assert logs.exp().sum(1).tolist() == pytest.approx([1.0] * 40, abs=1e-12)
        assert torch.allclose(logs.exp(), LOGITS.double().softmax(1), atol=1e-2 if dtype == torch.float16 else 1e-6)


@pytest.mark.parametrize(
    ("output", "words"),
    [
        (LOGITS[0], "of shape"),
        (LOGITS[:, :, None], "of shape"),
        (LOGITS.argmax(1), "of shape"),
        (LOGITS.long(), "type int64"),
        (LOGITS[:, :1], "one number a sample"),
        (LOGITS[:, :4], "4 numbers a sample for 5 classes"),
        (LOGITS.index_fill(0, torch.tensor(3), float("nan")), "NaN"),
        (LOGITS.index_fill(1, torch.tensor(3), float("inf")), "NaN or infinity"),
        (LOGITS.index_fill(1, torch.tensor(3), -float("inf")), "minus infinity"),
        (LOGITS[:1].expand(8, 5), "same for every input"),
        (LOGITS.sigmoid(), "several labels"),
        (torch.eye(5), "bare class"),
    ],
)
def test_an_output_that_is_no_distribution_is_refused_in_one_line(output: Tensor, words: str) -> None:
    with pytest.raises(NoDistribution, match=words) as refusal:
        recognise(output, 5)
    assert "\n" not in str(refusal.value)


def test_logarithms_of_probabilities_that_vanish_are_probabilities() -> None:
    assert recognise((LOGITS * 100).softmax(1).log(), 5) is OutputKind.log_probabilities


def test_a_class_without_probabilities_is_told_from_other_outputs() -> None:
    with pytest.raises(BareClass):
        recognise(torch.eye(5), 5)
    with pytest.raises(NoDistribution) as refusal:
        recognise(LOGITS.sigmoid(), 5)
    assert not isinstance(refusal.value, BareClass)
