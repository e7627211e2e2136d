"""Entropy and gap of the victim's answer: known answers, and no free rows."""

import math

import pytest
import torch
from torch import Tensor

from calpow.handler.leakage.confidence import Entropy, Gap
from calpow.handler.leakage.output import log_distribution
from calpow.handler.leakage.score import SampleBatch, Score, VictimOutput
from calpow.handler.leakage.specs import OutputKind

SCORES: list[Score] = [Entropy(10), Gap()]
LOGITS = torch.randn(40, 5, generator=torch.Generator().manual_seed(0)) * 3


def batch_of(probabilities: Tensor) -> SampleBatch:
    logs = log_distribution(probabilities, OutputKind.probabilities)
    return SampleBatch(torch.zeros(len(probabilities), 1), log_probabilities=logs)


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
    batch = batch_of(torch.tensor([row], dtype=torch.float64))
    assert Entropy(3).price(batch).costs.item() == pytest.approx(entropy, abs=1e-12)
    assert Gap().price(batch).costs.item() == pytest.approx(gap, abs=1e-12)


@pytest.mark.parametrize("score", SCORES)
def test_costs_and_labels_have_the_promised_types_and_are_the_victims_answers(score: Score) -> None:
    priced = score.price(SampleBatch(LOGITS, log_probabilities=LOGITS.double().log_softmax(1)))
    assert (priced.costs.dtype, priced.costs.shape) == (torch.float64, (40,))
    assert priced.labels.tolist() == LOGITS.argmax(1).tolist()
    assert score.needs is VictimOutput.PROBABILITIES


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_a_sample_costs_the_same_alone_and_in_a_batch(score: Score, dtype: torch.dtype) -> None:
    def costs(output: Tensor) -> list[float]:
        logs = log_distribution(output.to(dtype), OutputKind.logits)
        return list(score.price(SampleBatch(output, log_probabilities=logs)).costs.tolist())

    assert costs(LOGITS) == [costs(row[None])[0] for row in LOGITS]
    assert costs(LOGITS.T.contiguous().T) == costs(LOGITS)


@pytest.mark.parametrize("score", SCORES)
def test_a_score_without_what_it_needs_says_so(score: Score) -> None:
    with pytest.raises(ValueError, match="probabilities"):
        score.price(SampleBatch(LOGITS))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("kind", list(OutputKind))
def test_a_spoiled_row_is_the_dearest_and_spoils_no_other(bad: float, kind: OutputKind) -> None:
    output = LOGITS.softmax(1)[:, :1] if kind.is_binary else LOGITS.softmax(1)
    clean = log_distribution(output, kind)
    output[3, -1] = bad
    logs = log_distribution(output, kind)
    others = [index for index in range(40) if index != 3]
    assert torch.equal(logs[others], clean[others])
    batch = SampleBatch(LOGITS, log_probabilities=logs)
    assert Entropy(5).price(batch).costs[3].item() == pytest.approx(math.log(logs.shape[1]))
    assert Gap().price(batch).costs[3].item() == pytest.approx(1.0)


def test_a_row_of_zeros_is_no_certain_answer() -> None:
    assert Entropy(4).price(batch_of(torch.zeros(1, 4))).costs.item() == pytest.approx(math.log(4))
