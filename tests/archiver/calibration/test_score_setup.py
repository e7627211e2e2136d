"""The scores of a calibration, set up for a victim of any form."""

import pytest
import torch
from torch import Tensor, nn

from calpow.archiver.calibration import score_setup
from calpow.archiver.calibration.score_setup import (
    calls_for_attackers,
    reference_attacks,
    score_specs,
    shown_scores,
)
from calpow.archiver.calibration.synthetic_inputs.attackers import attackers_for
from calpow.archiver.calibration.synthetic_inputs.legitimate_values import TensorKind
from calpow.archiver.data.payloads import PayloadFolder
from calpow.handler.errors import BadPayload, BareClass, CalibrationError, VictimError
from calpow.handler.leakage.meter import Artefacts
from calpow.handler.leakage.model_inputs import ModelInputs
from calpow.handler.leakage.specs import InputRange, OutputKind, VictimShape
from calpow.handler.leakage.teachers.ensemble import Ensemble
from tests.support.ensembles import ensemble_card, references
from tests.support.open_victims import FirstTensorNet, PooledNet, Read, numbers
from tests.support.score_setups import ROWS, alone, set_up

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
    suitable = attackers_for({TensorKind.of((4,), kind)})
    assert attacks.keys() == {attacker.name for attacker in suitable}
    legitimate = setup.meter.price_calls([setup.meter.recorder.replay(call.arguments) for call in calls])
    for attack in attacks.values():
        assert attack.costs.shape == (40, 2)
        assert not torch.equal(attack.costs, legitimate.costs)


def test_attackers_of_a_slow_victim_send_fewer_queries_made_of_all_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    setup, calls = set_up(FirstTensorNet(), alone(ROWS), "entropy")
    assert calls_for_attackers(calls, setup) == calls
    monkeypatch.setattr(score_setup, "ATTACK_SECONDS", 0.0)
    monkeypatch.setattr(score_setup, "LEAST_ATTACKED", 5)
    few = calls_for_attackers(calls, setup)
    assert len(few) == 5
    assert (few[0], few[-1]) == (calls[0], calls[-1])
    assert {len(attack.costs) for attack in reference_attacks(few, setup, 0).values()} == {5}


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


def test_without_an_order_all_scores_are_set_up_that_the_victim_shows() -> None:
    setup, _ = set_up(FirstTensorNet(), alone(ROWS))
    assert [spec.label for spec in setup.scores] == ["energy", "norm"]

    class Probable(nn.Module):
        def forward(self, rows: Tensor) -> Tensor:
            return torch.softmax(3 * rows, dim=1)

    setup, _ = set_up(Probable(), alone(ROWS))
    assert [spec.label for spec in setup.scores] == ["entropy"]


def taught(**changes: object) -> Ensemble:
    """Return teachers with references, of which some are changed."""
    return Ensemble(ensemble_card(), Tensor.numpy, torch.device("cpu"), references(**changes))


def test_files_of_teachers_and_neighbours_show_more_scores() -> None:
    shape = VictimShape(3, (1, 8, 8), "float32", "layer")
    names = shown_scores(shape, OutputKind.logits, Artefacts(taught(token_costs=torch.zeros(9))))
    assert names == ["energy", "pate", "vote-entropy", "norm", "prototypes", "mahalanobis", "density", "tokens"]
    bare = taught(prototypes={}, gaussians={}, mixture=None)
    assert shown_scores(shape, OutputKind.logits, Artefacts(bare)) == ["energy", "pate", "vote-entropy", "norm"]


def test_pate_comes_first_and_scores_of_layers_are_taken_at_each_of_them() -> None:
    artefacts = Artefacts(taught())
    specs = score_specs(["norm", "prototypes", "mahalanobis@conv"], artefacts, lambda _: {})
    assert [spec.label for spec in specs] == ["pate", "norm", "prototypes", "prototypes@conv", "mahalanobis@conv"]
    assert [spec.label for spec in score_specs(["energy"], Artefacts(), lambda _: {})] == ["energy"]


def test_huge_features_have_the_highest_cost_and_huge_inputs_are_refused() -> None:
    class Huge(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = FirstTensorNet().layer

        def forward(self, rows: Tensor) -> Tensor:
            logits: Tensor = self.layer(rows * torch.where(rows > 5, 1e38, 1.0))
            return logits.clamp(-9, 9)

    setup, _ = set_up(Huge(), alone(ROWS), "norm", "energy")
    odd = setup.meter.price_calls([setup.meter.recorder.ask(torch.full((1, 4), 9.0))])
    assert odd.costs.tolist() == [setup.highest.tolist()]
    with pytest.raises(BadPayload, match="takes numbers up to"):
        setup.meter.price_calls([setup.meter.recorder.ask(torch.full((1, 4), 3e38))])


def test_features_that_change_shape_are_refused_in_one_line() -> None:
    class Branching(nn.Module):
        """Reads an inner layer only where the first number is small."""

        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)
            self.other = nn.Linear(2, 4)

        def forward(self, rows: Tensor) -> Tensor:
            large = float(rows[0, 0]) > 5
            logits: Tensor = self.other(rows[:, :2]) if large else self.layer(rows)
            return logits

    setup, _ = set_up(Branching(), alone(ROWS), "norm")
    with pytest.raises(VictimError, match=r"\Athe victim did not use its last layer as it did when it was loaded\Z"):
        setup.meter.price_calls([setup.meter.recorder.ask(torch.full((1, 4), 9.0))])
