"""The meter of a real victim: every metric by its name, several side by side, and one line for what does not fit."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor

from calpow.archiver.victims import open_victim
from calpow.handler.calibration import Chosen, Shape
from calpow.handler.ensemble import Ensemble
from calpow.handler.errors import BadPayload, GateMisconfigured, PricingUnavailable, VictimError
from calpow.handler.leakage.base import Need, Priced, Seen
from calpow.handler.leakage.combined import Combined
from calpow.handler.leakage.confidence import Entropy, Gap
from calpow.handler.leakage.neighbours import Neighbours, NeighboursCard
from calpow.handler.leakage.output import OutputKind
from calpow.handler.leakage.registry import MetricName, Sources, make_metric
from calpow.handler.limits import Limits
from calpow.handler.looking import Onlooker
from calpow.handler.metering import Artefacts, Meter, make_meter
from calpow.handler.pricing import BatchPricer
from calpow.handler.victim import Victim
from tests.guarded import train_teachers
from tests.victims import build as victims

SHAPE = Shape(4, (4,))
# Beyond these nothing is looked at twice.
ANY = Limits((-1e9,), (1e9,))
INPUTS = torch.rand(12, 4, generator=torch.Generator().manual_seed(0))
VOTE = {"sigma": 0.5, "delta": 1e-5, "teachers": 4.0}
SETTINGS = {
    MetricName.pate: VOTE,
    MetricName.pknn: VOTE,
    MetricName.entropy: {},
    MetricName.gap: {},
    MetricName.odin: {},
    MetricName.odin_moved: {"magnitude": 0.01},
}


@dataclass(frozen=True)
class House:
    """A victim open in this process, with teachers and reference points that fit it."""

    victim: Victim
    artefacts: Artefacts

    def meter(self, *names: MetricName, output: OutputKind | None = OutputKind.logits) -> Meter:
        return make_meter(
            self.victim, SHAPE, output, [Chosen(each, SETTINGS[each]) for each in names], ANY, self.artefacts
        )


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
        yield House(opened.victim, Artefacts(Ensemble.load(teachers), Neighbours(card, points, labels)))


@pytest.fixture(scope="module")
def function(folder: Path) -> Path:
    """A victim whose handler has no inference."""
    (folder / "function").mkdir()
    return victims.vector_function(folder / "function")


@pytest.mark.parametrize("name", list(MetricName))
def test_every_metric_prices_the_victims_inputs_within_its_bounds(house: House, name: MetricName) -> None:
    meter = house.meter(name)
    priced = meter.price(INPUTS)
    assert (priced.costs.shape, priced.costs.dtype) == ((12, 1), torch.float64)
    assert bool(((priced.costs >= 0) & (priced.costs <= meter.metrics[0].highest)).all())
    assert len(set(priced.costs.flatten().tolist())) > 1
    assert priced.labels.tolist() == INPUTS.argmax(1).tolist(), "the victim's own answer, whatever is measured"


def test_metrics_side_by_side_are_what_each_is_alone(house: House) -> None:
    names = list(MetricName)
    together = house.meter(*names).price(INPUTS)
    alone = [house.meter(each).price(INPUTS).costs for each in names]
    assert torch.allclose(together.costs, torch.cat(alone, dim=1), atol=1e-12)


def test_the_victim_is_asked_once_for_all_metrics_and_the_inputs_stay_as_they_are(house: House) -> None:
    meter, before, asked = house.meter(MetricName.entropy, MetricName.gap, MetricName.pknn), INPUTS.clone(), 0
    model = house.victim.model
    assert isinstance(model, torch.nn.Module)

    def count(*_: object) -> None:
        nonlocal asked
        asked += 1

    hook = model.register_forward_pre_hook(count)
    meter.price(INPUTS)
    hook.remove()
    assert asked == 1
    assert torch.equal(INPUTS, before)


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        (MetricName.pate, {"sigma": 1.0, "delta": 1e-5}, "metric pate lacks its setting 'teachers'"),
        (MetricName.pate, {"teachers": 4.0, "delta": 1e-5}, "metric pate lacks its setting 'sigma'"),
        (MetricName.pknn, {"teachers": 4.0, "sigma": 1.0}, "metric pknn lacks its setting 'delta'"),
        (MetricName.pate, {**VOTE, "sigma": 0.0}, "sigma and teachers must be more than 0"),
        (MetricName.pknn, {**VOTE, "teachers": 0.0}, "sigma and teachers must be more than 0"),
    ],
)
def test_settings_that_are_missing_or_wrong_are_named(
    house: House, name: MetricName, settings: dict[str, float], said: str
) -> None:
    with pytest.raises(GateMisconfigured, match=said) as refusal:
        make_meter(house.victim, SHAPE, OutputKind.logits, [Chosen(name, settings)], ANY, house.artefacts)
    assert "calpow calibrate again" in str(refusal.value)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (MetricName.pate, "--ensemble of calpow teachers"),
        (MetricName.pknn, "--neighbours of calpow neighbours"),
        (MetricName.odin, "representation"),
        (MetricName.odin_moved, "representation"),
    ],
)
def test_what_a_metric_is_made_of_is_named_when_it_is_missing(name: MetricName, said: str) -> None:
    with pytest.raises(GateMisconfigured, match=said):
        make_metric(name, SETTINGS[name], Sources(4))


def test_a_victim_without_inference_has_its_teachers_votes_for_labels(house: House, function: Path) -> None:
    ensemble = house.artefacts.ensemble
    assert ensemble is not None
    with open_victim(function) as opened:
        meter = make_meter(opened.victim, SHAPE, None, [Chosen(MetricName.pate, VOTE)], ANY, house.artefacts)
        assert meter.price(INPUTS).labels.tolist() == ensemble.votes(INPUTS).argmax(1).tolist()


@pytest.mark.parametrize("name", [MetricName.entropy, MetricName.gap, MetricName.pknn, MetricName.odin])
def test_a_victim_without_inference_is_refused_by_what_must_ask_it(
    house: House, function: Path, name: MetricName
) -> None:
    with open_victim(function) as opened, pytest.raises(GateMisconfigured) as refusal:
        make_meter(opened.victim, SHAPE, None, [Chosen(name, SETTINGS[name])], ANY, house.artefacts)
    assert "inference" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def spoiled(house: House, answer: Callable[[Tensor], object]) -> Meter:
    """The meter of a victim with another inference."""
    handler = type("Handler", (), {"inference": staticmethod(answer), "device": None, "model": None})()
    victim = Victim.__new__(Victim)
    vars(victim).update(vars(house.victim) | {"_handler": handler, "_inference": handler.inference})
    chosen = [Chosen(MetricName.entropy, {}), Chosen(MetricName.pate, VOTE)]
    return make_meter(victim, SHAPE, OutputKind.logits, chosen, ANY, house.artefacts)


def test_an_answer_of_nan_is_the_dearest_and_spoils_no_other(house: House) -> None:
    meter = spoiled(house, lambda inputs: torch.where(inputs[:, :1] > 5, float("nan"), inputs))
    odd = INPUTS.clone()
    odd[3] = 9.0
    priced = meter.price(odd)
    assert priced.costs[3, 0].item() == pytest.approx(meter.metrics[0].highest)
    assert bool(priced.costs.isfinite().all())
    assert torch.equal(priced.costs[4:], meter.price(INPUTS).costs[4:])


def test_a_victim_that_works_in_place_changes_neither_prices_nor_inputs(house: House) -> None:
    meter = spoiled(house, lambda inputs: inputs.mul_(8.0).clone())
    before = INPUTS.clone()
    assert torch.equal(meter.price(INPUTS).costs, spoiled(house, lambda inputs: inputs * 8.0).price(INPUTS).costs)
    assert torch.equal(INPUTS, before)


def price_each(meter: Meter, payloads: list[Tensor]) -> list[type]:
    def preprocess(payload: object) -> Tensor:
        assert isinstance(payload, Tensor)
        return payload

    return [type(each) for each in BatchPricer(preprocess, meter.price, (4,)).price(payloads)]


def fussy(inputs: Tensor) -> object:
    """An embedding raises for some numbers; others get a list, a row too few, or one axis too many."""
    first = inputs[:, 0]
    if bool((first == 9).any()):
        return torch.nn.functional.embedding(torch.tensor([9]), inputs)
    if bool((first == 8).any()):
        return inputs.tolist()
    if bool((first == 7).any()):
        return inputs[1:]
    if bool((first == 6).any()):
        return inputs.unsqueeze(2)
    return inputs


@pytest.mark.parametrize(
    ("number", "kind"), [(9, BadPayload), (8, PricingUnavailable), (7, PricingUnavailable), (6, PricingUnavailable)]
)
def test_whoever_makes_the_victim_stumble_is_refused_alone(house: House, number: int, kind: type) -> None:
    meter = spoiled(house, fussy)
    odd = torch.full((2, 4), float(number))
    assert price_each(meter, [INPUTS[:2], odd, INPUTS[2:3]]) == [Priced, kind, Priced]
    assert price_each(meter, [odd]) == [kind]


def test_an_answer_of_another_form_is_told_in_one_line(house: House) -> None:
    with pytest.raises(VictimError, match=r"answered 12 samples with numbers of shape \(12, 4, 1\)"):
        spoiled(house, lambda inputs: inputs.unsqueeze(2)).price(INPUTS)


def test_without_needs_the_victim_is_not_asked(house: House) -> None:
    looked = Onlooker(house.victim, None, (4,), features=False).look(Need.NOTHING)(INPUTS)
    assert looked.inputs is INPUTS
    assert looked.log_probabilities is None


def test_of_several_metrics_the_victims_answer_is_the_class_and_each_has_its_column() -> None:
    logs = torch.randn(6, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64).log_softmax(1)
    combined = Combined([Gap(), Entropy(4)], answers=True)
    priced = combined.price(Seen(torch.zeros(6, 1), log_probabilities=logs))
    alone = [metric.price(Seen(torch.zeros(6, 1), log_probabilities=logs)).costs for metric in (Gap(), Entropy(4))]
    assert torch.equal(priced.costs, torch.stack(alone, dim=1))
    assert priced.labels.tolist() == logs.argmax(1).tolist()
    assert combined.needs is Need.PROBABILITIES
