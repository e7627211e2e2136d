"""The meter of a real victim: every score by its name, several side by side, and one line for what does not fit."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from calpow.archiver.victim_archive import open_victim
from calpow.handler.errors import BadPayload, GateMisconfigured, PricingUnavailable, VictimError
from calpow.handler.leakage.confidence import Entropy, Gap
from calpow.handler.leakage.ensemble import Ensemble
from calpow.handler.leakage.input_range import InputRange
from calpow.handler.leakage.meter import Artefacts, Meter, make_meter
from calpow.handler.leakage.neighbours import Neighbours, NeighboursCard
from calpow.handler.leakage.output import OutputKind
from calpow.handler.leakage.recording import Call, Recorder, follow_model
from calpow.handler.leakage.registry import ScoreName, ScoreSources, ScoreSpec, make_score
from calpow.handler.leakage.score import SampleBatch, ScoredSamples, VictimShape
from tests.support.guarded import train_teachers
from tests.support.victims import build as victims

SHAPE = VictimShape(4, (4,))
# Beyond these nothing is looked at twice.
ANY = InputRange((-1e9,), (1e9,))
CPU = torch.device("cpu")
INPUTS = torch.rand(12, 4, generator=torch.Generator().manual_seed(0))
VOTE = {"sigma": 0.5, "delta": 1e-5, "teachers": 4.0}
SETTINGS = {
    ScoreName.pate: VOTE,
    ScoreName.pknn: VOTE,
    ScoreName.entropy: {},
    ScoreName.gap: {},
    ScoreName.odin: {},
    ScoreName.odin_moved: {"magnitude": 0.01},
}


@dataclass(frozen=True)
class House:
    """The followed model of a victim that is open in this process, with teachers and reference points that fit it."""

    recorder: Recorder
    artefacts: Artefacts

    def meter(self, *names: ScoreName) -> Meter:
        return self.meter_of(self.recorder, [ScoreSpec(name, SETTINGS[name]) for name in names])

    def meter_of(self, recorder: Recorder, specs: list[ScoreSpec], input_range: InputRange = ANY) -> Meter:
        return make_meter(recorder, CPU, SHAPE, OutputKind.logits, specs, input_range, self.artefacts)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("metering")


@pytest.fixture(scope="module")
def house(folder: Path) -> Iterator[House]:
    mar = victims.vector_class(folder)
    teachers = train_teachers(folder, mar, victims.vectors(folder / "vectors"))
    labels = torch.arange(40) % 4
    points = torch.nn.functional.one_hot(labels, 4).float() + torch.rand(40, 4)
    card = NeighboursCard(1, ("0", "1", "2", "3"), 40, 4, 4, "0" * 64)
    with open_victim(mar) as opened:
        yield House(opened.victim.recorder, Artefacts(Ensemble.load(teachers), Neighbours(card, points, labels)))


@pytest.mark.parametrize("name", list(ScoreName))
def test_every_score_prices_the_victims_inputs_within_its_bounds(house: House, name: ScoreName) -> None:
    meter = house.meter(name)
    priced = meter.price(INPUTS)
    assert (priced.costs.shape, priced.costs.dtype) == ((12, 1), torch.float64)
    assert bool(((priced.costs >= 0) & (priced.costs <= meter.scores[0].highest)).all())
    assert len(set(priced.costs.flatten().tolist())) > 1
    assert priced.labels.tolist() == INPUTS.argmax(1).tolist(), "the victim's own answer, whatever is measured"


def test_scores_side_by_side_are_what_each_is_alone(house: House) -> None:
    names = list(ScoreName)
    together = house.meter(*names).price(INPUTS)
    alone = [house.meter(name).price(INPUTS).costs for name in names]
    assert torch.allclose(together.costs, torch.cat(alone, dim=1), atol=1e-12)


def test_the_victim_is_asked_once_for_all_scores_and_the_inputs_stay_as_they_are(house: House) -> None:
    meter, before, asked = house.meter(ScoreName.entropy, ScoreName.gap, ScoreName.pknn), INPUTS.clone(), 0
    model = house.recorder.model

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
        (ScoreName.pate, {"sigma": 1.0, "delta": 1e-5}, "metric pate lacks its setting 'teachers'"),
        (ScoreName.pate, {"teachers": 4.0, "delta": 1e-5}, "metric pate lacks its setting 'sigma'"),
        (ScoreName.pknn, {"teachers": 4.0, "sigma": 1.0}, "metric pknn lacks its setting 'delta'"),
        (ScoreName.pate, {**VOTE, "sigma": 0.0}, "sigma and teachers must be more than 0"),
        (ScoreName.pknn, {**VOTE, "teachers": 0.0}, "sigma and teachers must be more than 0"),
    ],
)
def test_settings_that_are_missing_or_wrong_are_named(
    house: House, name: ScoreName, settings: dict[str, float], message: str
) -> None:
    with pytest.raises(GateMisconfigured, match=message) as refusal:
        house.meter_of(house.recorder, [ScoreSpec(name, settings)])
    assert "calpow calibrate again" in str(refusal.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (ScoreName.pate, "--ensemble of calpow teachers"),
        (ScoreName.pknn, "--neighbours of calpow neighbours"),
        (ScoreName.odin, "representation"),
        (ScoreName.odin_moved, "representation"),
    ],
)
def test_what_a_score_is_computed_from_is_named_when_it_is_missing(name: ScoreName, message: str) -> None:
    with pytest.raises(GateMisconfigured, match=message):
        make_score(ScoreSpec(name, SETTINGS[name]), ScoreSources(4))


class Answering(nn.Module):
    """A model that answers by a given function."""

    def __init__(self, answer: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, inputs: Tensor) -> object:
        return self.answer(inputs)


def spoiled(house: House, answer: Callable[[Tensor], object]) -> Meter:
    """The meter of a victim with another model."""
    return house.meter_of(
        Recorder(Answering(answer)), [ScoreSpec(ScoreName.entropy, {}), ScoreSpec(ScoreName.pate, VOTE)]
    )


def scored(house: House, answer: Callable[[Tensor], object]) -> Meter:
    """The same without teachers, who take no numbers but their own kind."""
    return scored_by(house, answer, ScoreName.entropy)


def scored_by(house: House, answer: Callable[[Tensor], object], *names: ScoreName) -> Meter:
    return house.meter_of(Recorder(Answering(answer)), [ScoreSpec(name, {}) for name in names])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", [name for name in ScoreName if name is not ScoreName.odin_moved])
def test_a_torchscript_model_is_priced_like_an_eager_one(house: House, name: ScoreName) -> None:
    handler = SimpleNamespace(model=torch.jit.script(nn.Linear(4, 4).eval()))
    meter = house.meter_of(follow_model(handler, None), [ScoreSpec(name, SETTINGS[name])])
    priced = meter.price(INPUTS)
    assert priced.labels.tolist() == handler.model(INPUTS).argmax(1).tolist()
    assert bool(((priced.costs >= 0) & (priced.costs <= meter.scores[0].highest)).all())


def test_a_torchscript_model_is_refused_by_the_score_that_needs_gradients(house: House) -> None:
    recorder = Recorder(Answering(lambda inputs: inputs * 8))
    with pytest.raises(GateMisconfigured, match="odin-moved follows gradients, and the victim is no eager model"):
        house.meter_of(recorder, [ScoreSpec(ScoreName.odin_moved, SETTINGS[ScoreName.odin_moved])])


def test_samples_cost_the_same_alone_and_in_company_in_the_order_of_calls_and_rows(house: House) -> None:
    meter = house.meter(ScoreName.pate, ScoreName.entropy, ScoreName.pknn)
    calls = [house.recorder.ask(part) for part in (INPUTS[:1], INPUTS[1:5], INPUTS[5:])]
    together = meter.price_calls(calls)
    alone = [meter.price(row.unsqueeze(0)) for row in INPUTS]
    assert torch.allclose(together.costs, torch.cat([sample.costs for sample in alone]), atol=1e-6)
    assert together.labels.tolist() == [int(sample.labels) for sample in alone]


def test_an_answer_of_nan_is_the_dearest_and_spoils_no_other(house: House) -> None:
    meter = spoiled(house, lambda inputs: torch.where(inputs[:, :1] > 5, float("nan"), inputs))
    odd = INPUTS.clone()
    odd[3] = 9.0
    priced = meter.price(odd)
    assert priced.costs[3, 0].item() == pytest.approx(meter.scores[0].highest)
    assert bool(priced.costs.isfinite().all())
    assert torch.equal(priced.costs[4:], meter.price(INPUTS).costs[4:])


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_not_finite_counts_as_the_largest_evidence(
    house: House, monkeypatch: pytest.MonkeyPatch, score: float
) -> None:
    meter = house.meter(ScoreName.entropy, ScoreName.gap)
    before = meter.price(INPUTS).costs

    def spoil(
        gap: Gap, batch: SampleBatch, price: Callable[[Gap, SampleBatch], ScoredSamples] = Gap.price
    ) -> ScoredSamples:
        samples = price(gap, batch)
        return replace(samples, costs=torch.where(torch.arange(len(samples.costs)) == 2, score, samples.costs))

    monkeypatch.setattr(Gap, "price", spoil)
    costs = meter.price(INPUTS).costs
    others = torch.arange(len(INPUTS)) != 2
    assert costs[2, 1].item() == meter.scores[1].highest
    assert torch.equal(costs[others], before[others])
    assert costs[2, 0] == before[2, 0]


def test_samples_beyond_the_input_range_cost_the_most_by_every_score_and_others_what_they_do(house: House) -> None:
    specs = [ScoreSpec(ScoreName.entropy, {}), ScoreSpec(ScoreName.gap, {})]
    meter = house.meter_of(house.recorder, specs, InputRange((-2.0,), (2.0,)))
    odd = INPUTS.clone()
    odd[5, 1] = 30.0
    priced = meter.price(odd)
    assert priced.costs[5].tolist() == [score.highest for score in meter.scores]
    others = torch.arange(len(INPUTS)) != 5
    assert torch.equal(priced.costs[others], meter.price(INPUTS).costs[others])


def test_a_victim_that_works_in_place_changes_neither_prices_nor_inputs(house: House) -> None:
    meter = spoiled(house, lambda inputs: inputs.mul_(8.0).clone())
    before = INPUTS.clone()
    assert torch.equal(meter.price(INPUTS).costs, spoiled(house, lambda inputs: inputs * 8.0).price(INPUTS).costs)
    assert torch.equal(INPUTS, before)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e30, -2e9])
@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64])
def test_one_number_that_is_not_finite_or_huge_is_enough_to_be_refused(
    house: House, value: float, kind: torch.dtype
) -> None:
    inputs = torch.zeros(2, 4, dtype=kind)
    inputs[1, 2] = value
    with pytest.raises(BadPayload, match=r"takes numbers up to 1e\+09 only"):
        scored(house, lambda inputs: inputs.abs().float()).price(inputs)


@pytest.mark.parametrize("kind", [torch.uint8, torch.int64, torch.bool, torch.float16, torch.float64])
def test_numbers_of_any_kind_are_read(house: House, kind: torch.dtype) -> None:
    inputs = torch.ones(2, 4).to(kind)
    assert scored(house, lambda inputs: inputs.float()).price(inputs).costs.shape == (2, 1)


@pytest.mark.parametrize("shape", [(2, 5), (2, 4, 1), (2, 1)])
def test_inputs_of_another_shape_are_refused(house: House, shape: tuple[int, ...]) -> None:
    meter = scored(house, lambda inputs: torch.zeros(len(inputs), 4))
    with pytest.raises(BadPayload, match=r"takes inputs of shape \(4,\), not"):
        meter.price(torch.rand(*shape))


@pytest.mark.parametrize(
    ("answer", "description"),
    [
        (lambda inputs: inputs.tolist(), "no tensor"),
        (lambda inputs: inputs[1:], r"numbers of shape \(11, 4\)"),
        (lambda inputs: inputs.unsqueeze(2), r"numbers of shape \(12, 4, 1\)"),
        (lambda inputs: inputs[:, 0], r"numbers of shape \(12,\)"),
    ],
    ids=["list", "fewer", "three axes", "no batch"],
)
def test_an_answer_of_another_form_is_told_in_one_line(
    house: House, answer: Callable[[Tensor], object], description: str
) -> None:
    with pytest.raises(VictimError, match=f"answered 12 samples with {description}") as refusal:
        spoiled(house, answer).price(INPUTS)
    assert not isinstance(refusal.value, BadPayload)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "inputs",
    [None, torch.tensor(1.0), torch.ones(4), torch.eye(4).to_sparse()],
    ids=["none", "number", "row", "sparse"],
)
def test_a_call_without_a_batch_of_one_tensor_cannot_be_priced(house: House, inputs: Tensor | None) -> None:
    with pytest.raises(VictimError, match="the victim's model is not asked with"):
        house.meter(ScoreName.entropy).price_calls([Call(inputs, INPUTS, None)])


def test_features_that_were_not_seen_cannot_be_priced(house: House) -> None:
    with pytest.raises(VictimError, match="did not use its last layer as it did when it was loaded"):
        house.meter(ScoreName.pknn).price_calls([Call(INPUTS, INPUTS, None)])


@pytest.mark.parametrize(
    "problem", [MemoryError(), RuntimeError("CUDA error: out of memory")], ids=["memory", "device"]
)
def test_where_memory_or_the_device_gives_out_there_is_no_price(
    house: House, monkeypatch: pytest.MonkeyPatch, problem: Exception
) -> None:
    def fail(*_: object) -> ScoredSamples:
        raise problem

    monkeypatch.setattr(Gap, "price", fail)
    with pytest.raises(PricingUnavailable, match=type(problem).__name__):
        house.meter(ScoreName.gap).price(INPUTS)


def test_of_several_scores_the_victims_answer_is_the_class_and_each_has_its_column(house: House) -> None:
    logs = torch.randn(12, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64).log_softmax(1)
    meter = scored_by(house, lambda inputs: logs[: len(inputs)], ScoreName.gap, ScoreName.entropy)
    samples = meter.price(INPUTS)
    batch = SampleBatch(INPUTS, log_probabilities=logs)
    assert torch.allclose(samples.costs, torch.stack([Gap().price(batch).costs, Entropy(4).price(batch).costs], dim=1))
    assert samples.labels.tolist() == logs.argmax(1).tolist()
