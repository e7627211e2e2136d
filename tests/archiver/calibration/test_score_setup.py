"""The scores of a calibration, set up for a victim of any form."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from calpow.archiver.calibration.order import CalibrationOrder
from calpow.archiver.calibration.score_setup import ScoreSetup, reference_attacks, set_up_scores, vote_settings
from calpow.archiver.data.payloads import PayloadFolder
from calpow.archiver.victim.victim_archive import OpenVictim
from calpow.handler.errors import BareClass, CalibrationError
from calpow.handler.leakage.model_inputs import ModelInputs
from calpow.handler.leakage.recording import Call
from calpow.handler.leakage.specs import InputRange, OutputKind
from tests.support.open_victims import FirstTensorNet, PooledNet, Read, numbers, open_with

ROWS = torch.rand(40, 4, generator=torch.Generator().manual_seed(0)) + torch.eye(4).repeat(10, 1)
FOLDER = PayloadFolder(("0", "1", "2", "3"), ())


def order(*metrics: str) -> CalibrationOrder:
    return CalibrationOrder(Path("victim.mar"), Path("data"), Path("c.json"), metrics=metrics)


def calls_of(victim: OpenVictim, inputs: Sequence[ModelInputs]) -> list[Call]:
    return [victim.recorder.replay(arguments) for arguments in inputs]


def set_up(
    model: nn.Module, inputs: Sequence[ModelInputs], *metrics: str, folder: PayloadFolder = FOLDER
) -> tuple[ScoreSetup, list[Call]]:
    victim = open_with(model, lambda text: ModelInputs.of(numbers(text)))
    calls = calls_of(victim, inputs)
    return set_up_scores(order(*metrics), victim, folder, calls), calls


def alone(rows: Tensor) -> list[ModelInputs]:
    return [ModelInputs.of(row.unsqueeze(0)) for row in rows]


def test_the_settings_of_votes_are_in_the_papers_proportion() -> None:
    assert [vote_settings(teachers, None)["sigma"] for teachers in (50, 250)] == [2.0, 10.0]
    assert vote_settings(250, 20.0) == {"teachers": 250.0, "sigma": 10.0, "order": 20.0}


KINDS = [torch.float64, torch.float16, torch.bfloat16, torch.uint8, torch.int64, torch.bool]


@pytest.mark.parametrize("kind", KINDS)
def test_the_type_and_the_range_of_the_inputs_are_found(kind: torch.dtype) -> None:
    rows = ROWS > 0.9 if kind is torch.bool else (ROWS * 9).to(kind)
    setup, calls = set_up(FirstTensorNet(), alone(rows), "entropy", "odin")
    assert (setup.shape.input_shape, setup.shape.input_dtype) == ((4,), str(kind).removeprefix("torch."))
    assert setup.shape.layer == "layer"
    assert setup.output is OutputKind.logits
    assert setup.input_range.low[0] >= 0
    attacks = reference_attacks(calls, setup, 0)
    assert attacks.keys() == {"noise", "blobs", "perturbed", "shuffled", "scaled"}
    legitimate = setup.meter.price_calls([setup.meter.recorder.replay(call.arguments) for call in calls])
    for attack in attacks.values():
        assert attack.costs.shape == (40, 2)
        assert not torch.equal(attack.costs, legitimate.costs)


STRUCTURES: dict[str, Read] = {
    "tuple": lambda text: ModelInputs(((numbers(text).unsqueeze(0), torch.ones(1, 1)),), {}),
    "dict": lambda text: ModelInputs(({"rows": numbers(text).unsqueeze(0), "mask": torch.ones(1, 4).long()},), {}),
    "names": lambda text: ModelInputs((), {"rows": numbers(text).unsqueeze(0), "bias": torch.zeros(1, 1)}),
}


@pytest.mark.parametrize("form", STRUCTURES)
def test_several_tensors_have_no_shape_and_no_range_and_are_priced_and_attacked(form: str) -> None:
    read = STRUCTURES[form]
    inputs = [read(",".join(map(str, row))) for row in ROWS.tolist()]
    setup, calls = set_up(FirstTensorNet(), inputs, "gap", "odin")
    assert (setup.shape.input_shape, setup.shape.input_dtype, setup.shape.layer) == (None, "", "layer")
    assert setup.input_range == InputRange((), ())
    attacks = reference_attacks(calls, setup, 0)
    assert {name: len(attack.costs) for name, attack in attacks.items()} == dict.fromkeys(attacks, 40)
    legitimate = setup.meter.price_calls([setup.meter.recorder.replay(call.arguments) for call in calls])
    assert not any(torch.equal(attack.costs, legitimate.costs) for attack in attacks.values())


def test_sequences_of_different_length_have_no_shape_and_share_a_range() -> None:
    sequences = [torch.rand(1, 3 + number % 5, 4) for number in range(40)]
    setup, calls = set_up(PooledNet(), [ModelInputs.of(sequence) for sequence in sequences], "entropy", "odin")
    assert setup.shape.input_shape is None
    assert setup.shape.input_dtype == "float32"
    low, high = setup.input_range.low, setup.input_range.high
    assert len(low) == len(high) == 1
    assert 0 <= low[0] < high[0] <= 1
    attacks = reference_attacks(calls, setup, 0)
    assert torch.equal(attacks["scaled"].costs.amax(dim=0), torch.tensor(setup.highest))
    assert attacks["shuffled"].costs.shape == (40, 2)


def test_samples_without_an_axis_of_the_batch_are_as_good_as_batches_of_one() -> None:
    flat, _ = set_up(FirstTensorNet(), [ModelInputs.of(row) for row in ROWS], "entropy")
    batched, _ = set_up(FirstTensorNet(), alone(ROWS), "entropy")
    assert flat.shape == batched.shape
    assert flat.input_range == batched.input_range


def test_a_model_that_takes_only_one_sample_without_an_axis_of_the_batch_is_attacked() -> None:
    class One(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = FirstTensorNet().layer

        def forward(self, row: Tensor) -> Tensor:
            if row.dim() != 1:
                raise ValueError("one sample at a time")
            logits: Tensor = self.layer(row)
            return logits

    setup, calls = set_up(One(), [ModelInputs.of(row) for row in ROWS], "entropy")
    attacks = reference_attacks(calls, setup, 0)
    assert {len(attack.costs) for attack in attacks.values()} == {40}


def test_arguments_beside_the_only_tensor_are_the_same_in_queries() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = FirstTensorNet().layer

        def forward(self, *, scale: float, rows: Tensor) -> Tensor:
            logits: Tensor = self.layer(scale * rows)
            return logits

    inputs = [ModelInputs((), {"rows": row.unsqueeze(0), "scale": 2.0}) for row in ROWS]
    setup, calls = set_up(Scaled(), inputs, "entropy")
    assert setup.shape.input_shape == (4,)
    assert {len(attack.costs) for attack in reference_attacks(calls, setup, 0).values()} == {40}


class Refusing(nn.Module):
    """A model that refuses inputs beyond those it was trained on."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = FirstTensorNet().layer

    def forward(self, rows: Tensor) -> Tensor:
        if float(rows.max()) > 3:
            raise ValueError("too large")
        logits: Tensor = self.layer(rows)
        return logits


def test_an_attacker_whose_queries_the_model_refuses_is_left_out() -> None:
    setup, calls = set_up(Refusing(), alone(ROWS), "entropy")
    attacks = reference_attacks(calls, setup, 0)
    assert "scaled" not in attacks
    assert {"noise", "perturbed"} < attacks.keys()


@pytest.mark.parametrize("form", ["[n, 1]", "[n]"])
@pytest.mark.parametrize("kind", [OutputKind.binary_logit, OutputKind.binary_probability])
def test_one_number_of_two_classes_is_set_up(form: str, kind: OutputKind) -> None:
    class Single(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.layer = nn.Linear(4, 1)

        def forward(self, rows: Tensor) -> Tensor:
            numbers: Tensor = self.layer(rows)
            numbers = numbers.sigmoid() if kind is OutputKind.binary_probability else numbers
            return numbers if form == "[n, 1]" else numbers.flatten()

    setup, calls = set_up(Single(), alone(4 * ROWS - 3), "entropy", "gap", "odin", folder=PayloadFolder(("0", "1"), ()))
    assert setup.output is kind
    assert (setup.shape.classes, setup.shape.layer) == (2, "layer")
    assert reference_attacks(calls, setup, 0)["noise"].costs.shape == (40, 3)


def test_a_bare_class_is_refused_only_by_scores_of_probabilities() -> None:
    class Bare(nn.Module):
        def forward(self, rows: Tensor) -> Tensor:
            return nn.functional.one_hot(rows.argmax(dim=1), 4).float()

    with pytest.raises(BareClass):
        set_up(Bare(), alone(ROWS), "entropy")
    setup, _ = set_up(Bare(), alone(ROWS), "odin")
    assert setup.output is OutputKind.probabilities


def test_gradients_to_whole_numbers_are_refused_in_one_line() -> None:
    with pytest.raises(CalibrationError, match="odin-moved follows gradients to the input"):
        set_up(FirstTensorNet(), alone((ROWS * 9).long()), "odin-moved")
