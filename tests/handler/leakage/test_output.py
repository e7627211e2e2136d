"""Raw outputs: every kind is recognised, and an output that is no distribution is refused."""

import pytest
import torch
from torch import Tensor

from calpow.handler.errors import BareClass, NoDistribution, VictimError
from calpow.handler.leakage.output import as_rows, log_distribution, recognise
from calpow.handler.leakage.specs import OutputKind

LOGITS = torch.randn(40, 5, generator=torch.Generator().manual_seed(0)) * 3
NUMBERS = LOGITS[:, :1]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_each_kind_of_output_is_recognised_and_says_the_same(dtype: torch.dtype) -> None:
    outputs = {
        OutputKind.logits: LOGITS.to(dtype),
        OutputKind.probabilities: LOGITS.softmax(1).to(dtype),
        OutputKind.log_probabilities: LOGITS.double().log_softmax(1).to(dtype),
    }
    if dtype is torch.bfloat16:  # its logarithms do not sum to one
        del outputs[OutputKind.log_probabilities]
    for kind, output in outputs.items():
        assert recognise([output], 5) is kind
        logs = log_distribution(output, kind)
        assert logs.dtype == torch.float64
        assert logs.exp().sum(1).tolist() == pytest.approx([1.0] * 40, abs=1e-12)
        assert torch.allclose(
            logs.exp(), LOGITS.double().softmax(1), atol=1e-6 if torch.finfo(dtype).bits > 16 else 2e-2
        )


@pytest.mark.parametrize(
    ("output", "words"),
    [
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
        recognise([output], 5)
    assert "\n" not in str(refusal.value)


def test_outputs_of_several_calls_are_recognised_together() -> None:
    assert recognise([LOGITS.softmax(1)[:1], LOGITS.softmax(1)[1:]], 5) is OutputKind.probabilities
    assert recognise([LOGITS.softmax(1)[:1], LOGITS[1:]], 5) is OutputKind.logits


def test_outputs_of_one_sample_without_an_axis_of_the_batch_are_recognised() -> None:
    assert recognise(list(LOGITS), 5) is OutputKind.logits
    assert recognise(list(LOGITS.softmax(1)), 5) is OutputKind.probabilities
    assert recognise(list(LOGITS[:, :2].softmax(1)), 2) is OutputKind.probabilities


def test_outputs_of_several_widths_are_refused_in_one_line() -> None:
    with pytest.raises(NoDistribution, match="shapes") as refusal:
        recognise([LOGITS, LOGITS[:, :4]], 5)
    assert "\n" not in str(refusal.value)


def test_logarithms_of_probabilities_that_vanish_are_probabilities() -> None:
    assert recognise([(LOGITS * 100).softmax(1).log()], 5) is OutputKind.log_probabilities


def test_a_class_without_probabilities_is_told_from_other_outputs() -> None:
    with pytest.raises(BareClass):
        recognise([torch.eye(5)], 5)
    with pytest.raises(NoDistribution) as refusal:
        recognise([LOGITS.sigmoid()], 5)
    assert not isinstance(refusal.value, BareClass)


@pytest.mark.parametrize("outputs", [[NUMBERS], [NUMBERS[:, 0]], list(NUMBERS), list(NUMBERS[:, 0])])
def test_one_number_a_sample_stands_for_two_classes(outputs: list[Tensor]) -> None:
    assert recognise(outputs, 2) is OutputKind.binary_logit
    assert recognise([output.sigmoid() for output in outputs], 2) is OutputKind.binary_probability


def test_pairs_of_numbers_are_not_taken_for_single_ones() -> None:
    assert recognise([LOGITS[:, :2]], 2) is OutputKind.logits
    assert recognise([LOGITS[:2, :2], LOGITS[2:3, :2]], 2) is OutputKind.logits


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        (torch.full((8, 1), 0.3), "same for every input"),
        (torch.tensor([[0.1], [float("nan")]]), "NaN"),
        (torch.tensor([[0.1], [-float("inf")]]), "infinity"),
    ],
)
def test_single_numbers_that_tell_nothing_are_refused(numbers: Tensor, words: str) -> None:
    with pytest.raises(NoDistribution, match=words):
        recognise([numbers], 2)


def test_a_single_number_that_is_only_0_or_1_is_a_bare_class() -> None:
    with pytest.raises(BareClass):
        recognise([(NUMBERS > 0).float()], 2)


def test_a_single_number_is_high_for_the_second_class() -> None:
    numbers = torch.tensor([[-2.0], [0.5]])
    shares = numbers.double().sigmoid()
    expected = torch.cat([1 - shares, shares], dim=1)
    assert torch.allclose(log_distribution(numbers, OutputKind.binary_logit).exp(), expected)
    assert torch.allclose(log_distribution(shares, OutputKind.binary_probability).exp(), expected)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_a_spoiled_single_number_is_no_certain_answer(number: float) -> None:
    for kind in (OutputKind.binary_logit, OutputKind.binary_probability):
        logs = log_distribution(torch.tensor([[number], [0.5]]), kind)
        assert logs[0].exp().tolist() == pytest.approx([0.5, 0.5])


@pytest.mark.parametrize(
    ("output", "kind", "classes", "shape"),
    [
        (LOGITS, OutputKind.logits, 5, (40, 5)),
        (LOGITS[0], OutputKind.logits, 5, (1, 5)),
        (NUMBERS, OutputKind.binary_logit, 2, (40, 1)),
        (NUMBERS[:, 0], OutputKind.binary_logit, 2, (40, 1)),
        (NUMBERS[0, 0], OutputKind.binary_probability, 2, (1, 1)),
    ],
)
def test_outputs_become_rows(output: Tensor, kind: OutputKind, classes: int, shape: tuple[int, int]) -> None:
    rows = as_rows(output, kind, classes)
    assert rows.shape == shape
    assert torch.equal(rows.flatten(), output.flatten())


@pytest.mark.parametrize(
    ("output", "kind", "words"),
    [
        (None, OutputKind.logits, "no tensor"),
        (LOGITS, OutputKind.logits, r"numbers of shape \(40, 5\): it must give one row of 4 numbers"),
        (LOGITS[0, 0], OutputKind.logits, r"numbers of shape \(\)"),
        (LOGITS[:, 0], OutputKind.logits, r"numbers of shape \(40,\)"),
        (LOGITS, OutputKind.binary_logit, r"it must give one row of 1 numbers"),
    ],
)
def test_outputs_of_another_form_are_told_in_one_line(output: Tensor | None, kind: OutputKind, words: str) -> None:
    with pytest.raises(VictimError, match=words) as refusal:
        as_rows(output, kind, 4)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("outputs", [[], [LOGITS[:1]], [LOGITS[:0], LOGITS[:0]], [LOGITS[0, 0]] * 3])
def test_too_few_rows_are_refused_in_one_line(outputs: list[Tensor]) -> None:
    with pytest.raises(NoDistribution) as refusal:
        recognise(outputs, 5)
    assert "\n" not in str(refusal.value)
