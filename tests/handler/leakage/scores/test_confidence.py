"""Entropy and gap of the victim's answer: known answers, and no free rows."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from calpow.handler.leakage.output import log_distribution
from calpow.handler.leakage.score import SampleBatch, Score, VictimOutput
from calpow.handler.leakage.scores.confidence import Energy, Entropy, Gap
from calpow.handler.leakage.specs import OutputKind
from tests.support.batches import costs_of

SCORES: list[Score] = [Entropy(10), Gap()]
LOGITS = torch.randn(40, 5, generator=torch.Generator().manual_seed(0)) * 3


def batch_of(probabilities: Tensor) -> SampleBatch:
    return logs_of(log_distribution(probabilities, OutputKind.probabilities))


def logs_of(logs: Tensor) -> SampleBatch:
    return SampleBatch(answers=logs.argmax(1).numpy(), log_probabilities=logs)


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
    assert Entropy(3).costs(batch).item() == pytest.approx(entropy, abs=1e-12)
    assert Gap().costs(batch).item() == pytest.approx(gap, abs=1e-12)


@pytest.mark.parametrize("score", SCORES)
def test_there_is_a_cost_a_sample(score: Score) -> None:
    costs = score.costs(logs_of(LOGITS.double().log_softmax(1)))
    assert (costs.dtype, costs.shape) == (np.dtype(np.float64), (40,))
    assert score.needs is VictimOutput.PROBABILITIES


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_a_sample_costs_the_same_alone_and_in_a_batch(score: Score, dtype: torch.dtype) -> None:
    def costs(output: Tensor) -> list[float]:
        logs = log_distribution(output.to(dtype), OutputKind.logits)
        return list(score.costs(logs_of(logs)).tolist())

    assert costs(LOGITS) == [costs(row[None])[0] for row in LOGITS]
    assert costs(LOGITS.T.contiguous().T) == costs(LOGITS)


@pytest.mark.parametrize("score", SCORES)
def test_a_score_without_what_it_needs_says_so(score: Score) -> None:
    with pytest.raises(ValueError, match="probabilities"):
        score.costs(SampleBatch(answers=LOGITS.argmax(1).numpy()))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("kind", list(OutputKind))
def test_a_spoiled_row_is_the_dearest_and_spoils_no_other(bad: float, kind: OutputKind) -> None:
    output = LOGITS.softmax(1)[:, :1] if kind.is_binary else LOGITS.softmax(1)
    clean = log_distribution(output, kind)
    output[3, -1] = bad
    logs = log_distribution(output, kind)
    others = [index for index in range(40) if index != 3]
    assert torch.equal(logs[others], clean[others])
    batch = logs_of(logs)
    assert Entropy(5).costs(batch)[3].item() == pytest.approx(math.log(logs.shape[1]))
    assert Gap().costs(batch)[3].item() == pytest.approx(1.0)


def test_a_row_of_zeros_is_no_certain_answer() -> None:
    assert Entropy(4).costs(batch_of(torch.zeros(1, 4))).item() == pytest.approx(math.log(4))


def energies(logits: Tensor) -> Tensor:
    batch = SampleBatch(answers=logits.argmax(1).numpy(), logits=logits.numpy())
    return torch.from_numpy(costs_of(Energy(), batch))


def test_the_energy_is_minus_the_logsumexp_of_the_logits() -> None:
    logits = torch.cat([LOGITS, 1000 * LOGITS, LOGITS - 5000])
    assert torch.allclose(energies(logits).double(), -logits.double().logsumexp(1), rtol=1e-6, atol=1e-6)


def test_a_class_that_is_ruled_out_does_not_spoil_the_energy() -> None:
    row = torch.tensor([[-torch.inf, 2.0, 1.0]])
    assert energies(row).item() == pytest.approx(-row.logsumexp(1).item())


@pytest.mark.parametrize("bad", [[torch.nan, 0.0], [torch.inf, 0.0], [-torch.inf, -torch.inf]])
def test_logits_that_say_nothing_have_no_finite_energy(bad: list[float]) -> None:
    assert not energies(torch.tensor([bad])).isfinite().any()
