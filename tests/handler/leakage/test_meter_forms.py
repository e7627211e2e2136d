"""The meter of models with inputs and outputs of any form: types, tuples and dicts, sequences, single numbers."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from calpow.handler.errors import BadPayload, GateMisconfigured
from calpow.handler.leakage.input_range import check_numbers
from calpow.handler.leakage.meter import Meter, make_meter
from calpow.handler.leakage.model_inputs import ModelInputs
from calpow.handler.leakage.recording import Recorder
from calpow.handler.leakage.specs import InputRange, OutputKind, ScoreName, ScoreSpec, VictimShape
from tests.support.ensembles import vector_ensemble
from tests.support.meters import ANY, INPUTS, NO_RANGE, ON_VECTORS, SETTINGS, AnswerNet, MeterParts, vector_parts
from tests.support.open_victims import FirstTensorNet, PooledNet


@pytest.fixture(scope="module")
def parts() -> MeterParts:
    return vector_parts()


KINDS = [
    *(torch.float16, torch.bfloat16, torch.float64),
    *(torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool),
]


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_of_every_type_are_priced_as_the_same_numbers_in_float32(parts: MeterParts, kind: torch.dtype) -> None:
    numbers = torch.tensor([[1, 0, 0, 0], [0, 1, 1, 0], [1, 1, 1, 1]]).to(kind)
    specs = [ScoreSpec(name, SETTINGS[name]) for name in (ScoreName.pate, ScoreName.entropy)]
    shape = VictimShape(4, (4,), str(kind).removeprefix("torch."))
    meter = parts.meter_of(Recorder(AnswerNet(lambda inputs: inputs.float() * 8)), specs, shape=shape)
    assert torch.equal(meter.price(numbers).costs, meter.price(numbers.float()).costs)


def test_outputs_in_half_precision_are_priced(parts: MeterParts) -> None:
    model = nn.Linear(4, 4).to(torch.bfloat16).eval()
    shape = VictimShape(4, (4,), "bfloat16", ".")
    specs = [ScoreSpec(name, SETTINGS[name]) for name in ON_VECTORS if name is not ScoreName.odin_moved]
    meter = parts.meter_of(Recorder(model), specs, shape=shape)
    priced = meter.price(INPUTS.bfloat16())
    assert priced.costs.dtype == torch.float64
    assert bool(priced.costs.isfinite().all())


# Inputs of several shapes or several tensors.
ANY_SHAPE = VictimShape(4, None, "", "layer")
STRUCTURES: dict[str, Callable[[Tensor], ModelInputs]] = {
    "tuple": lambda rows: ModelInputs(((rows, torch.ones(len(rows), 1)),), {}),
    "dict": lambda rows: ModelInputs(({"rows": rows, "mask": torch.ones(len(rows), 4, dtype=torch.int64)},), {}),
    "names": lambda rows: ModelInputs((), {"rows": rows, "mask": torch.full((len(rows), 4), -torch.inf)}),
}


def structured(parts: MeterParts, *names: ScoreName, input_range: InputRange = NO_RANGE) -> Meter:
    """The meter of a model of several tensors, with teachers on its features."""
    artefacts = replace(parts.artefacts, ensemble=vector_ensemble(on_features=True))
    specs = [ScoreSpec(name, SETTINGS[name]) for name in names]
    return make_meter(Recorder(FirstTensorNet()), ANY_SHAPE, OutputKind.logits, specs, input_range, artefacts)


ON_ANY_SHAPE = [ScoreName.pate, ScoreName.entropy, ScoreName.gap, ScoreName.pknn, ScoreName.odin]


@pytest.mark.parametrize("name", STRUCTURES)
def test_several_tensors_are_priced_by_the_victims_features_and_answers(parts: MeterParts, name: str) -> None:
    meter = structured(parts, *ON_ANY_SHAPE)
    together = meter.price_calls([meter.recorder.replay(STRUCTURES[name](INPUTS))])
    alone = [meter.price_calls([meter.recorder.replay(STRUCTURES[name](row.unsqueeze(0)))]) for row in INPUTS]
    assert together.costs.shape == (12, len(ON_ANY_SHAPE))
    assert torch.allclose(together.costs, torch.cat([sample.costs for sample in alone]), atol=1e-6)
    assert together.labels.tolist() == INPUTS.argmax(1).tolist()


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e30])
def test_numbers_that_are_nan_or_huge_in_any_tensor_are_refused(parts: MeterParts, value: float) -> None:
    meter = structured(parts, ScoreName.entropy)
    for name, structure in STRUCTURES.items():
        inputs = structure(INPUTS)
        last = inputs.tensors[-1]
        odd = [INPUTS, last.float().index_fill(0, torch.tensor(3), value)] if name != "dict" else [INPUTS * value, last]
        with pytest.raises(BadPayload, match=r"takes numbers up to 1e\+09 only"):
            meter.price_calls([meter.recorder.replay(inputs.replaced(odd))])


def test_sequences_of_any_length_are_priced_and_their_numbers_share_a_range(parts: MeterParts) -> None:
    specs = [ScoreSpec(name, SETTINGS[name]) for name in ON_ANY_SHAPE]
    artefacts = replace(parts.artefacts, ensemble=vector_ensemble(on_features=True))
    sequences = [torch.rand(1, length, 4, generator=torch.Generator().manual_seed(length)) for length in (3, 8, 5)]
    shared = InputRange((0.0,), (1.0,))
    meter = make_meter(Recorder(PooledNet()), ANY_SHAPE, OutputKind.logits, specs, shared, artefacts)
    priced = meter.price_calls([meter.recorder.ask(sequence) for sequence in sequences])
    odd = [sequences[0], 10 * sequences[1], sequences[2]]
    dear = meter.price_calls([meter.recorder.ask(sequence) for sequence in odd])
    assert dear.costs[1].tolist() == [score.highest for score in meter.scores]
    assert torch.equal(dear.costs[[0, 2]], priced.costs[[0, 2]])
    assert not torch.equal(priced.costs[1], dear.costs[1])


def test_scores_on_inputs_are_refused_where_inputs_have_no_one_shape(parts: MeterParts) -> None:
    for name in (ScoreName.pate, ScoreName.odin_moved):
        with pytest.raises(GateMisconfigured, match="train teachers with --trunk victim"):
            make_meter(
                Recorder(FirstTensorNet()),
                ANY_SHAPE,
                OutputKind.logits,
                [ScoreSpec(name, SETTINGS[name])],
                ANY,
                parts.artefacts,
            )


def test_one_sample_without_an_axis_of_the_batch_is_priced_as_a_batch_of_one(parts: MeterParts) -> None:
    meter = parts.meter(ScoreName.pate, ScoreName.entropy, ScoreName.odin)
    calls = [parts.recorder.replay(ModelInputs.of(row)) for row in INPUTS]
    assert torch.allclose(meter.price_calls(calls).costs, meter.price(INPUTS).costs, atol=1e-6)


@pytest.mark.parametrize("kind", [OutputKind.binary_logit, OutputKind.binary_probability])
@pytest.mark.parametrize("form", ["row", "flat", "scalar"])
def test_one_number_of_two_classes_is_priced_as_both_would_be(parts: MeterParts, kind: OutputKind, form: str) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(4, 1).eval()

    def answer(inputs: Tensor) -> Tensor:
        numbers: Tensor = layer(inputs) * 8
        numbers = numbers if kind is OutputKind.binary_logit else numbers.sigmoid()
        return numbers if form == "row" else numbers.flatten() if form == "flat" else numbers.reshape(())

    pair = Recorder(AnswerNet(lambda inputs: torch.cat([torch.zeros(len(inputs), 1), layer(inputs) * 8], dim=1)))
    specs = [ScoreSpec(ScoreName.entropy, {}), ScoreSpec(ScoreName.gap, {})]
    shape = VictimShape(2, (4,))
    single = parts.meter_of(Recorder(AnswerNet(answer)), specs, shape=shape, output=kind)
    samples = INPUTS if form != "scalar" else INPUTS[:1]
    expected = parts.meter_of(pair, specs, shape=shape).price(samples)
    priced = single.price(samples)
    assert torch.allclose(priced.costs, expected.costs, atol=1e-5)
    assert torch.equal(priced.labels, expected.labels)


def test_the_last_layer_of_a_binary_model_has_a_direction_for_each_class(parts: MeterParts) -> None:
    layer = nn.Linear(4, 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 0.0, 0.0, 0.0]]))
    shape = VictimShape(2, (4,), layer=".")
    specs = [ScoreSpec(name, SETTINGS[name]) for name in (ScoreName.odin, ScoreName.odin_moved)]
    meter = parts.meter_of(Recorder(layer), specs, shape=shape, output=OutputKind.binary_logit)
    priced = meter.price(torch.tensor([[3.0, 0, 0, 0], [-3.0, 0, 0, 0], [0.0, 1.0, 0, 0]]))
    assert priced.costs[:, 0].tolist() == pytest.approx([0.0, 0.0, 1.0])
    assert priced.labels.tolist()[:2] == [1, 0]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e30])
def test_features_that_overflow_cost_the_most(parts: MeterParts, value: float) -> None:
    """Teachers agree on NaN and infinity, which would make them the plainest of queries."""
    meter = structured(parts, ScoreName.pate, ScoreName.entropy)
    call = meter.recorder.replay(STRUCTURES["tuple"](INPUTS))
    assert call.features is not None
    odd = call._replace(features=call.features.index_fill(0, torch.tensor(3), value))
    priced, expected = meter.price_calls([odd]).costs, meter.price_calls([call]).costs
    assert priced[3].tolist() == [score.highest for score in meter.scores]
    others = [index for index in range(12) if index != 3]
    assert torch.equal(priced[others], expected[others])


# Old versions of torch have not all of them.
RARE_TYPES = [name for name in ("uint16", "uint32", "uint64", "float16", "float8_e4m3fn") if hasattr(torch, name)]
LAYOUTS = [name for name in ("strided", "jagged") if hasattr(torch, name)]


@pytest.mark.parametrize("name", RARE_TYPES)
def test_numbers_of_rare_types_are_looked_at_too(name: str) -> None:
    check_numbers(ModelInputs.of(torch.tensor([1, 0]).to(getattr(torch, name))))
    with pytest.raises(BadPayload):
        check_numbers(ModelInputs.of(torch.tensor([1.0, math.nan]).to(torch.float16)))


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("name", LAYOUTS)
def test_numbers_of_nested_tensors_are_looked_at(name: str) -> None:
    options = {} if name == "strided" else {"layout": getattr(torch, name)}
    parts = [torch.zeros(2), torch.ones(3)]
    check_numbers(ModelInputs.of(torch.nested.nested_tensor(parts, **options)))
    parts[1][2] = math.nan
    with pytest.raises(BadPayload):
        check_numbers(ModelInputs.of(torch.nested.nested_tensor(parts, **options)))
