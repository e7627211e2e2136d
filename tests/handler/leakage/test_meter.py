"""The meter of a real victim: every score by its name, several side by side, and one line for what does not fit."""

import math
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from calpow.handler.errors import BadPayload, GateMisconfigured, PricingUnavailable, VictimError
from calpow.handler.leakage.meter import Artefacts, Meter, make_meter
from calpow.handler.leakage.model_inputs import ModelInputs
from calpow.handler.leakage.recording import Call, Recorder, follow_model
from calpow.handler.leakage.references import LAST
from calpow.handler.leakage.registry import ScoreSources, make_score
from calpow.handler.leakage.score import ODDEST, Array, SampleBatch
from calpow.handler.leakage.scores.confidence import Entropy, Gap
from calpow.handler.leakage.specs import InputRange, OutputKind, ScoreName, ScoreSpec, VictimShape
from tests.support.ensembles import TEACHERS, vector_ensemble
from tests.support.meters import (
    ANY,
    INPUTS,
    ON_VECTORS,
    SETTINGS,
    SHAPE,
    VOTE,
    AnswerNet,
    MeterParts,
    vector_parts,
    vector_references,
)

ON_REFERENCES = (ScoreName.prototypes, ScoreName.mahalanobis, ScoreName.density, ScoreName.tokens)

LAYERS = (LAST, "layer")


@pytest.fixture(scope="module")
def parts() -> MeterParts:
    return vector_parts()


@pytest.mark.parametrize("name", ON_VECTORS)
def test_every_score_prices_the_victims_inputs_within_its_bounds(parts: MeterParts, name: ScoreName) -> None:
    meter = parts.meter(name)
    priced = meter.price(INPUTS)
    assert (priced.costs.shape, priced.costs.dtype) == ((12, 1), torch.float64)
    assert bool((priced.costs.isfinite() & (priced.costs <= meter.scores[0].highest)).all())
    assert len(set(priced.costs.flatten().tolist())) > 1
    assert priced.labels.tolist() == INPUTS.argmax(1).tolist(), "the victim's own answer, whatever is measured"


def test_scores_side_by_side_are_what_each_is_alone(parts: MeterParts) -> None:
    names = ON_VECTORS
    together = parts.meter(*names).price(INPUTS)
    alone = [parts.meter(name).price(INPUTS).costs for name in names]
    assert torch.allclose(together.costs, torch.cat(alone, dim=1), atol=1e-12)


def test_the_victim_is_asked_once_for_all_scores_and_the_inputs_stay_as_they_are(parts: MeterParts) -> None:
    meter, before, asked = parts.meter(ScoreName.entropy, ScoreName.gap, ScoreName.pknn), INPUTS.clone(), 0
    model = parts.recorder.model

    def count(*_: object) -> None:
        nonlocal asked
        asked += 1

    hook = model.register_forward_pre_hook(count)
    meter.price(INPUTS)
    hook.remove()
    assert asked == 1
    assert torch.equal(INPUTS, before)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        (ScoreName.pate, {"sigma": 1.0, "delta": 1e-5}, "score pate lacks its setting 'teachers'"),
        (ScoreName.pate, {"teachers": 4.0, "delta": 1e-5}, "score pate lacks its setting 'sigma'"),
        (ScoreName.pknn, {"teachers": 4.0, "sigma": 1.0}, "score pknn lacks its setting 'delta'"),
        (ScoreName.pate, {**VOTE, "sigma": 0.0}, "sigma and teachers must be more than 0"),
        (ScoreName.pknn, {**VOTE, "teachers": 0.0}, "sigma and teachers must be more than 0"),
    ],
)
def test_settings_that_are_missing_or_wrong_are_named(
    parts: MeterParts, name: ScoreName, settings: dict[str, float], message: str
) -> None:
    with pytest.raises(GateMisconfigured, match=message) as refusal:
        parts.meter_of(parts.recorder, [ScoreSpec(name, settings)])
    assert "calpow calibrate again" in str(refusal.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (ScoreName.pate, "--ensemble of calpow teachers"),
        (ScoreName.vote_entropy, "score vote-entropy needs teachers: give the --ensemble of calpow teachers"),
        (ScoreName.energy, "score energy needs logits, and the victim answers with probabilities: leave it out"),
        *((name, f"score {name.value} compares with the training data") for name in ON_REFERENCES),
        (ScoreName.pknn, "--neighbours of calpow neighbours"),
        (ScoreName.odin, "representation"),
        (ScoreName.odin_moved, "representation"),
    ],
)
def test_what_a_score_is_computed_from_is_named_when_it_is_missing(name: ScoreName, message: str) -> None:
    with pytest.raises(GateMisconfigured, match=message):
        make_score(ScoreSpec(name, SETTINGS[name]), ScoreSources(4, OutputKind.probabilities))


def spoiled(parts: MeterParts, answer: Callable[[Tensor], object]) -> Meter:
    """The meter of a victim with another model."""
    names = (ScoreName.entropy, ScoreName.pate)
    return parts.meter_of(Recorder(AnswerNet(answer)), [ScoreSpec(name, SETTINGS[name]) for name in names])


def scored(parts: MeterParts, answer: Callable[[Tensor], object]) -> Meter:
    """The meter without teachers, who vote on vectors of four numbers only."""
    return scored_by(parts, answer, ScoreName.entropy)


def scored_by(parts: MeterParts, answer: Callable[[Tensor], object], *names: ScoreName) -> Meter:
    return parts.meter_of(Recorder(AnswerNet(answer)), [ScoreSpec(name, {}) for name in names])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", [name for name in ON_VECTORS if name is not ScoreName.odin_moved])
def test_a_torchscript_model_is_priced_like_an_eager_one(parts: MeterParts, name: ScoreName) -> None:
    handler = SimpleNamespace(model=torch.jit.script(nn.Linear(4, 4).eval()))
    meter = parts.meter_of(follow_model(handler, None), [ScoreSpec(name, SETTINGS[name])])
    priced = meter.price(INPUTS)
    assert priced.labels.tolist() == handler.model(INPUTS).argmax(1).tolist()
    assert bool((priced.costs.isfinite() & (priced.costs <= meter.scores[0].highest)).all())


def test_a_torchscript_model_is_refused_by_the_score_that_needs_gradients(parts: MeterParts) -> None:
    recorder = Recorder(AnswerNet(lambda inputs: inputs * 8))
    with pytest.raises(GateMisconfigured, match="odin-moved follows gradients, and the victim is no eager model"):
        parts.meter_of(recorder, [ScoreSpec(ScoreName.odin_moved, SETTINGS[ScoreName.odin_moved])])


def test_samples_cost_the_same_alone_and_in_company_in_the_order_of_calls_and_rows(parts: MeterParts) -> None:
    meter = parts.meter(ScoreName.pate, ScoreName.entropy, ScoreName.pknn)
    calls = [parts.recorder.ask(part) for part in (INPUTS[:1], INPUTS[1:5], INPUTS[5:])]
    together = meter.price_calls(calls)
    alone = [meter.price(row.unsqueeze(0)) for row in INPUTS]
    assert torch.allclose(together.costs, torch.cat([sample.costs for sample in alone]), atol=1e-6)
    assert together.labels.tolist() == [int(sample.labels) for sample in alone]


def test_an_answer_of_nan_is_the_dearest_and_spoils_no_other(parts: MeterParts) -> None:
    meter = spoiled(parts, lambda inputs: torch.where(inputs[:, :1] > 5, float("nan"), inputs))
    odd = INPUTS.clone()
    odd[3] = 9.0
    priced = meter.price(odd)
    assert priced.costs[3, 0].item() == pytest.approx(meter.scores[0].highest)
    assert bool(priced.costs.isfinite().all())
    assert torch.equal(priced.costs[4:], meter.price(INPUTS).costs[4:])


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_not_finite_counts_as_the_largest_evidence(
    parts: MeterParts, monkeypatch: pytest.MonkeyPatch, score: float
) -> None:
    meter = parts.meter(ScoreName.entropy, ScoreName.gap)
    before = meter.price(INPUTS).costs

    def spoil(gap: Gap, batch: SampleBatch, price: Callable[[Gap, SampleBatch], Array] = Gap.costs) -> Array:
        costs = price(gap, batch)
        return np.where(np.arange(len(costs)) == 2, score, costs)

    monkeypatch.setattr(Gap, "costs", spoil)
    costs = meter.price(INPUTS).costs
    others = torch.arange(len(INPUTS)) != 2
    assert costs[2, 1].item() == meter.scores[1].highest
    assert torch.equal(costs[others], before[others])
    assert costs[2, 0] == before[2, 0]


def test_samples_beyond_the_input_range_cost_the_most_by_every_score_and_others_what_they_do(parts: MeterParts) -> None:
    specs = [ScoreSpec(ScoreName.entropy, {}), ScoreSpec(ScoreName.gap, {})]
    meter = parts.meter_of(parts.recorder, specs, InputRange((-2.0,), (2.0,)))
    odd = INPUTS.clone()
    odd[5, 1] = 30.0
    priced = meter.price(odd)
    assert priced.costs[5].tolist() == [score.highest for score in meter.scores]
    others = torch.arange(len(INPUTS)) != 5
    assert torch.equal(priced.costs[others], meter.price(INPUTS).costs[others])


def test_a_victim_that_works_in_place_changes_neither_prices_nor_inputs(parts: MeterParts) -> None:
    meter = spoiled(parts, lambda inputs: inputs.mul_(8.0).clone())
    before = INPUTS.clone()
    assert torch.equal(meter.price(INPUTS).costs, spoiled(parts, lambda inputs: inputs * 8.0).price(INPUTS).costs)
    assert torch.equal(INPUTS, before)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e30, -2e9])
@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64])
def test_one_number_that_is_not_finite_or_huge_is_enough_to_be_refused(
    parts: MeterParts, value: float, kind: torch.dtype
) -> None:
    inputs = torch.zeros(2, 4, dtype=kind)
    inputs[1, 2] = torch.tensor(value).to(kind)
    with pytest.raises(BadPayload, match=r"takes numbers up to 1e\+09 only"):
        scored(parts, lambda inputs: inputs.abs().float()).price(inputs)


@pytest.mark.parametrize("shape", [(2, 5), (2, 4, 1), (2, 1)])
def test_inputs_of_another_shape_are_refused(parts: MeterParts, shape: tuple[int, ...]) -> None:
    meter = scored(parts, lambda inputs: torch.zeros(len(inputs), 4))
    with pytest.raises(BadPayload, match=r"takes inputs of shape \(4,\), not"):
        meter.price(torch.rand(*shape))


@pytest.mark.parametrize(
    ("answer", "description"),
    [
        (lambda inputs: inputs.tolist(), "no tensor"),
        (lambda inputs: inputs.unsqueeze(2), r"numbers of shape \(12, 4, 1\)"),
        (lambda inputs: inputs[:, 0], r"numbers of shape \(12,\)"),
        (lambda inputs: inputs[:, :3], r"numbers of shape \(12, 3\)"),
    ],
    ids=["list", "three axes", "no batch", "another class"],
)
def test_an_answer_of_another_form_is_told_in_one_line(
    parts: MeterParts, answer: Callable[[Tensor], object], description: str
) -> None:
    with pytest.raises(VictimError, match=f"answered with {description}: it must give one row of 4") as refusal:
        spoiled(parts, answer).price(INPUTS)
    assert not isinstance(refusal.value, BadPayload)
    assert "\n" not in str(refusal.value)


def test_fewer_answers_than_inputs_cannot_be_priced(parts: MeterParts) -> None:
    with pytest.raises(VictimError, match="is not called with one batch of plain numbers") as refusal:
        spoiled(parts, lambda inputs: inputs[1:]).price(INPUTS)
    assert not isinstance(refusal.value, BadPayload)


@pytest.mark.parametrize(
    "arguments",
    [
        ModelInputs((), {}),
        ModelInputs.of(torch.tensor(1.0)),
        ModelInputs.of(torch.ones(4)),
        ModelInputs.of(torch.eye(12).to_sparse()),
        ModelInputs((INPUTS, INPUTS), {}),
        ModelInputs(((INPUTS,),), {}),
    ],
    ids=["none", "number", "row", "sparse", "two", "tuple"],
)
def test_a_call_without_the_batch_of_one_tensor_it_was_calibrated_with_cannot_be_priced(
    parts: MeterParts, arguments: ModelInputs
) -> None:
    with pytest.raises(VictimError, match="is not called with one batch of plain numbers, as it was calibrated"):
        parts.meter(ScoreName.entropy).price_calls([Call(arguments, INPUTS, None)])


def test_features_that_were_not_seen_cannot_be_priced(parts: MeterParts) -> None:
    with pytest.raises(VictimError, match="did not use its last layer as it did when it was loaded"):
        parts.meter(ScoreName.pknn).price_calls([Call(ModelInputs.of(INPUTS), INPUTS, None)])


@pytest.mark.parametrize(
    "problem", [MemoryError(), RuntimeError("CUDA error: out of memory")], ids=["memory", "device"]
)
def test_where_memory_or_the_device_gives_out_there_is_no_price(
    parts: MeterParts, monkeypatch: pytest.MonkeyPatch, problem: Exception
) -> None:
    def fail(*_: object) -> Tensor:
        raise problem

    monkeypatch.setattr(Gap, "costs", fail)
    with pytest.raises(PricingUnavailable, match=type(problem).__name__):
        parts.meter(ScoreName.gap).price(INPUTS)


def test_of_several_scores_the_victims_answer_is_the_class_and_each_has_its_column(parts: MeterParts) -> None:
    logs = torch.randn(12, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64).log_softmax(1)
    meter = scored_by(parts, lambda inputs: logs[: len(inputs)], ScoreName.gap, ScoreName.entropy)
    samples = meter.price(INPUTS)
    batch = SampleBatch(answers=logs.argmax(1).numpy(), log_probabilities=logs)
    assert np.allclose(samples.costs, np.stack([Gap().costs(batch), Entropy(4).costs(batch)], axis=1))
    assert samples.labels.tolist() == logs.argmax(1).tolist()


def test_scores_of_inner_layers_have_columns_of_their_own(parts: MeterParts) -> None:
    specs = [ScoreSpec(name, {}, layer) for name in (ScoreName.prototypes, ScoreName.mahalanobis) for layer in LAYERS]
    costs = parts.meter_of(parts.recorder, specs, shape=SHAPE).price(INPUTS).costs
    assert costs.shape == (12, 4)
    assert len({tuple(column) for column in costs.T.tolist()}) == 4


def test_a_layer_without_references_is_named(parts: MeterParts) -> None:
    for name in (ScoreName.prototypes, ScoreName.mahalanobis):
        with pytest.raises(GateMisconfigured, match="has no layer stem"):
            parts.meter_of(parts.recorder, [ScoreSpec(name, {}, "stem")])
        references = replace(vector_references(), prototypes={}, gaussians={})
        sources = ScoreSources(4, OutputKind.logits, references)
        for layer, words in (("layer", "layer layer"), ("", "the last features")):
            with pytest.raises(GateMisconfigured, match=f"has nothing to compare {words} with"):
                make_score(ScoreSpec(name, {}, layer), sources)


def test_scores_that_do_not_suit_the_inputs_say_so(parts: MeterParts) -> None:
    sources = ScoreSources(4, OutputKind.logits, replace(vector_references(), mixture=None, token_costs=None))
    for name, words in ((ScoreName.density, "tables and small images"), (ScoreName.tokens, "whole numbers")):
        with pytest.raises(GateMisconfigured, match=f"score {name.value} is for {words}"):
            make_score(ScoreSpec(name, {}), sources)


def test_token_ids_of_any_length_are_priced(parts: MeterParts) -> None:
    def answer(ids: Tensor) -> Tensor:
        return torch.nn.functional.one_hot(ids % 4, 4).float().sum(dim=1)

    meter = parts.meter_of(Recorder(AnswerNet(answer)), [ScoreSpec(ScoreName.tokens, {})], shape=VictimShape(4, None))
    calls = [meter.recorder.ask(torch.tensor(ids)) for ids in ([[0, 1]], [[3, 3, 3], [2, 2, 99]])]
    assert meter.price_calls(calls).costs.flatten().tolist() == pytest.approx([0.75, 4.0, 8 / 3])
    with pytest.raises(VictimError, match="whole numbers for each sample"):
        meter.price_calls([Call(ModelInputs.of(INPUTS), INPUTS, None)])


def test_unbounded_scores_have_a_finite_highest_cost(parts: MeterParts) -> None:
    meter = parts.meter_of(parts.recorder, [ScoreSpec(ScoreName.energy, {})], InputRange((-2.0,), (2.0,)), SHAPE)
    assert meter.price(INPUTS * 100).costs.max().item() == ODDEST


def test_projected_features_are_what_teachers_on_features_vote_on(parts: MeterParts) -> None:
    ensemble = vector_ensemble(on_features=True)
    ensemble.references = replace(vector_references(), axes={LAST: torch.eye(4).flip(0)})
    specs = [ScoreSpec(ScoreName.vote_entropy, SETTINGS[ScoreName.vote_entropy])]
    meter = make_meter(parts.recorder, SHAPE, OutputKind.logits, specs, ANY, Artefacts(ensemble))
    call = parts.recorder.ask(INPUTS)
    assert call.features is not None
    shares = torch.from_numpy(ensemble.votes(call.features.flip(1))).double() / TEACHERS
    assert meter.price_calls([call]).costs[:, 0].tolist() == pytest.approx(
        torch.special.entr(shares).sum(dim=1).tolist(), abs=1e-12
    )
