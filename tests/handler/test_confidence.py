"""Entropy and gap of the victim's answer, and how its raw output is read: known answers, and no free rows."""

import math

import pytest
import torch
from torch import Tensor

from calpow.handler.leakage.confidence import Entropy, Gap
from calpow.handler.leakage.output import NoDistribution, OutputKind, log_distribution, recognise
from calpow.handler.leakage.score import Metric, Need, Seen

METRICS: list[Metric] = [Entropy(10), Gap()]
LOGITS = torch.randn(40, 5, generator=torch.Generator().manual_seed(0)) * 3


def seen(probabilities: Tensor) -> Seen:
    logs = log_distribution(probabilities, OutputKind.probabilities)
    return Seen(torch.zeros(len(probabilities), 1), log_probabilities=logs)


@pytest.mark.parametrize(
    ("row", "entropy", "gap"),
    [
        ([1.0, 0.0, 0.0, 0.0], 0.0, 0.0),
        ([0.25] * 4, math.log(4), 1.0),
        ([0.5, 0.5, 0.0, 0.0], math.log(2), 1.0),
        ([0.1, 0.7, 0.2, 0.0], -(0.1 * math.log(0.1) + 0.7 * math.log(0.7) + 0.2 * math.log(0.2)), 0.5),
    ],
)
def test_known_answers(row: list[float], entropy: float, gap: float) -> None:
    batch = seen(torch.tensor([row], dtype=torch.float64))
    assert Entropy(3).price(batch).costs.item() == pytest.approx(entropy, abs=1e-12)
    assert Gap().price(batch).costs.item() == pytest.approx(gap, abs=1e-12)


@pytest.mark.parametrize("metric", METRICS)
def test_costs_and_labels_have_the_promised_types_and_are_the_victims_answers(metric: Metric) -> None:
    priced = metric.price(Seen(LOGITS, log_probabilities=LOGITS.double().log_softmax(1)))
    assert (priced.costs.dtype, priced.costs.shape) == (torch.float64, (40,))
    assert priced.labels.tolist() == LOGITS.argmax(1).tolist()
    assert metric.needs is Need.PROBABILITIES


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_a_sample_costs_the_same_alone_and_in_a_batch(metric: Metric, dtype: torch.dtype) -> None:
    def costs(output: Tensor) -> list[float]:
        logs = log_distribution(output.to(dtype), OutputKind.logits)
        return list(metric.price(Seen(output, log_probabilities=logs)).costs.tolist())

    assert costs(LOGITS) == [costs(row[None])[0] for row in LOGITS]
    assert costs(LOGITS.T.contiguous().T) == costs(LOGITS)


@pytest.mark.parametrize("metric", METRICS)
def test_a_metric_without_what_it_needs_says_so(metric: Metric) -> None:
    with pytest.raises(ValueError, match="probabilities"):
        metric.price(Seen(LOGITS))


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


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("kind", list(OutputKind))
def test_a_spoiled_row_is_the_dearest_and_spoils_no_other(bad: float, kind: OutputKind) -> None:
    output = LOGITS.softmax(1)
    clean = log_distribution(output, kind)
    output[3, 2] = bad
    logs = log_distribution(output, kind)
    others = [index for index in range(40) if index != 3]
    assert torch.equal(logs[others], clean[others])
    batch = Seen(LOGITS, log_probabilities=logs)
    assert Entropy(5).price(batch).costs[3].item() == pytest.approx(math.log(5))
    assert Gap().price(batch).costs[3].item() == pytest.approx(1.0)


def test_a_row_of_zeros_is_no_certain_answer() -> None:
    assert Entropy(4).price(seen(torch.zeros(1, 4))).costs.item() == pytest.approx(math.log(4))
