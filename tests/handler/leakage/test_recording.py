"""The calls of a model are recorded however its handler is written, and a model that hides them is refused."""

import gc
import threading
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from calpow.handler.errors import VictimError
from calpow.handler.leakage.model_inputs import ModelInputs
from calpow.handler.leakage.recording import Call, HookableModel, Recorder, follow_model
from calpow.handler.leakage.taps.features import FeatureTap, find_layer

INPUTS = torch.arange(8.0).reshape(2, 4)


class Doubling(nn.Module):
    """A model that doubles its input, and sets the input to zero."""

    def forward(self, values: Tensor, scale: float = 2.0) -> Tensor:
        result = values * scale
        values.zero_()
        return result


class Answering(nn.Module):
    """A model that answers by a given function."""

    def __init__(self, answer: Any) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, values: Tensor) -> Any:
        return self.answer(values)


def only_call(recorder: Recorder, ask: Any) -> Call:
    with recorder.recording() as recording:
        ask()
    assert recording.begun == 1
    (call,) = recording.calls
    return call


def handler(**attributes: object) -> SimpleNamespace:
    return SimpleNamespace(**attributes)


def seen_inputs(call: Call) -> Tensor:
    inputs = call.arguments.only_tensor
    assert inputs is not None
    return inputs


def seen_output(call: Call) -> Tensor:
    assert call.output is not None
    return call.output


def test_inputs_and_outputs_are_copies_taken_before_anybody_changes_them() -> None:
    recorder = follow_model(handler(model=Doubling()), None)
    call = only_call(recorder, lambda: recorder.model(INPUTS.clone()).zero_())
    assert torch.equal(seen_inputs(call), INPUTS)
    assert torch.equal(seen_output(call), 2 * INPUTS)


def test_keyword_arguments_are_seen() -> None:
    recorder = follow_model(handler(model=Doubling()), None)
    call = only_call(recorder, lambda: recorder.model(values=INPUTS.clone(), scale=3.0))
    assert torch.equal(seen_inputs(call), INPUTS)
    assert call.arguments.named["scale"] == 3.0
    assert torch.equal(seen_output(call), 3 * INPUTS)


def test_a_call_in_another_thread_is_seen() -> None:
    recorder = follow_model(handler(model=Doubling()), None)

    def ask() -> None:
        thread = threading.Thread(target=lambda: recorder.model(INPUTS.clone()))
        thread.start()
        thread.join()

    assert torch.equal(seen_inputs(only_call(recorder, ask)), INPUTS)


def test_each_call_is_seen_in_order() -> None:
    recorder = follow_model(handler(model=Doubling()), None)
    with recorder.recording() as recording:
        for row in INPUTS:
            recorder.model(row.clone().unsqueeze(0))
    assert torch.equal(torch.cat([seen_inputs(call) for call in recording.calls]), INPUTS)


class Halving(nn.Module):
    """A model that asks itself about the first half of several rows, and answers with the sum."""

    def forward(self, values: Tensor) -> Tensor:
        return values if len(values) == 1 else values + self(values[:1])


def test_a_model_that_calls_itself_is_seen_with_the_rows_that_it_answers() -> None:
    recorder = Recorder(Halving())
    with recorder.recording() as recording:
        answer = recorder.model(INPUTS)
    assert recording.begun == 2
    assert [call.rows for call in recording.calls] == [1, 2]
    assert recording.calls[-1].output is not None
    assert torch.equal(recording.calls[-1].output, answer)


def test_a_call_that_fails_has_begun() -> None:
    def fail(values: Tensor) -> Tensor:
        raise ValueError("no")

    model = Answering(fail)
    recorder = follow_model(handler(model=model), None)
    with recorder.recording() as recording, pytest.raises(ValueError, match="no"):
        recorder.model(INPUTS)
    assert (recording.begun, recording.calls) == (1, [])
    model.answer = lambda values: values
    assert torch.equal(seen_inputs(only_call(recorder, lambda: recorder.model(INPUTS))), INPUTS)


def test_a_call_that_fails_keeps_no_inputs() -> None:
    def fail(values: Tensor) -> Tensor:
        raise ValueError("no")

    recorder = Recorder(Answering(fail))
    with recorder.recording(), pytest.raises(ValueError, match="no"):
        recorder.model(torch.zeros(1, 54321))
    assert not [kept for kept in gc.get_objects() if type(kept) is Tensor and kept.shape == (1, 54321)]


def test_nothing_is_kept_outside_a_recording() -> None:
    recorder = follow_model(handler(model=Doubling()), None)
    recorder.model(INPUTS.clone())
    with recorder.recording() as recording:
        pass
    recorder.model(INPUTS.clone())
    assert recording.calls == []


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("kind", ["plain", "inner", "exported", "compiled", "script", "loaded script", "callable"])
def test_every_kind_of_model_is_followed(kind: str, tmp_path: Any) -> None:
    linear = nn.Linear(4, 3).eval()
    expected = linear(INPUTS)
    model: Any = linear
    if kind == "inner":
        model = nn.Sequential(nn.Sequential(linear))
    elif kind == "exported":
        model = torch.export.export(linear, (INPUTS,)).module()
    elif kind == "compiled":
        model = torch.compile(linear, backend="eager")
    elif kind in ("script", "loaded script"):
        model = torch.jit.script(linear)
        if kind == "loaded script":
            model.save(str(tmp_path / "model.pt"))
            model = torch.jit.load(str(tmp_path / "model.pt"))  # type: ignore[no-untyped-call]
    elif kind == "callable":
        model = lambda values: linear(values)  # noqa: E731
    owner = handler(model=model)
    recorder = follow_model(owner, None)
    call = only_call(recorder, lambda: owner.model(INPUTS))
    assert torch.equal(seen_inputs(call), INPUTS)
    assert torch.allclose(seen_output(call), expected)


def test_a_direct_call_of_forward_is_not_seen() -> None:
    recorder = follow_model(handler(model=Doubling()), None)
    with recorder.recording() as recording:
        recorder.model.forward(INPUTS.clone())
    assert recording.begun == 0


@pytest.mark.parametrize(
    "answer",
    [
        lambda values: (values, "more"),
        lambda values: [None, values],
        lambda values: {"loss": values[0], "logits": values},
        lambda values: {"scores": values},
        lambda values: SimpleNamespace(logits=values),
    ],
)
def test_the_tensor_of_a_structured_answer_is_taken(answer: Any) -> None:
    recorder = follow_model(handler(model=Answering(answer)), None)
    call = only_call(recorder, lambda: recorder.model(INPUTS))
    assert torch.equal(seen_output(call), INPUTS)


class Masked(nn.Module):
    """A model of two tensors, of which it changes the first."""

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        return ids.mul_(mask).clone()


def test_several_tensors_are_recorded_before_the_model_changes_them() -> None:
    recorder = follow_model(handler(model=Masked()), None)
    mask = torch.tensor([[1, 0, 1, 0]] * 2)
    call = only_call(recorder, lambda: recorder.model(INPUTS.clone(), mask=mask))
    assert call.arguments.only_tensor is None
    assert call.arguments.equals(ModelInputs((INPUTS,), {"mask": mask}))
    assert call.rows == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ModelInputs(((INPUTS, INPUTS > 3),), {}),
        ModelInputs(({"ids": INPUTS.long(), "weights": [INPUTS, INPUTS]},), {}),
        ModelInputs((), {"ids": INPUTS.long(), "mask": torch.ones(2, 4), "scale": 2}),
    ],
    ids=["tuple", "dict of lists", "names"],
)
def test_arguments_of_any_structure_are_recorded_and_replayed(arguments: ModelInputs) -> None:
    def first(*given: object, **named: object) -> Tensor:
        tensor = ModelInputs(given, named).tensors[0]
        answer = tensor.float().clone()
        tensor.zero_()
        return answer

    recorder = follow_model(handler(model=first), None)
    call = recorder.replay(arguments)
    assert call.arguments.equals(arguments)
    again = recorder.replay(call.arguments)
    assert torch.equal(seen_output(again), seen_output(call))
    assert torch.equal(seen_output(again), INPUTS)
    assert again.rows == 2


def test_ragged_sequences_joined_by_offsets_have_no_common_rows() -> None:
    recorder = Recorder(nn.EmbeddingBag(10, 3))
    call = recorder.replay(ModelInputs((torch.tensor([1, 2, 3, 4, 5]), torch.tensor([0, 2])), {}))
    assert seen_output(call).shape == (2, 3)
    assert call.rows is None
    assert call.arguments.only_tensor is None


def test_a_model_that_raises_leaves_the_recorder_as_it_was() -> None:
    recorder = Recorder(nn.Linear(4, 3))
    with pytest.raises(RuntimeError):
        recorder.ask(torch.rand(2, 5))
    assert recorder.ask(INPUTS).rows == 2


def test_replayed_inputs_stay_as_they_are() -> None:
    recorder = Recorder(Doubling())
    given = INPUTS.clone()
    assert torch.equal(seen_output(recorder.ask(given)), 2 * INPUTS)
    assert torch.equal(given, INPUTS)


def test_features_of_the_call_are_taken() -> None:
    model = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3)).eval()
    recorder = follow_model(handler(model=model), None)
    recorder.tap = FeatureTap(model, find_layer(model, lambda: model(INPUTS)))
    call = only_call(recorder, lambda: model(INPUTS))
    assert call.features is not None
    assert torch.equal(call.features, model[1](model[0](INPUTS)))


def test_the_attribute_model_is_followed_first() -> None:
    own, other = nn.Identity(), nn.Identity()
    assert follow_model(handler(other=other, model=own), None).model is own


def test_the_only_module_is_found_where_it_is_held() -> None:
    model = nn.Identity()
    assert follow_model(handler(network=model), None).model is model
    assert follow_model(handler(pipeline=SimpleNamespace(network=model)), None).model is model


def test_a_function_handlers_module_is_searched() -> None:
    namespace = ModuleType("service")
    namespace.__dict__.update({"network": nn.Identity(), "torch": torch, "Kind": nn.Linear})
    assert follow_model(None, namespace).model is namespace.network


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_scripted_model_is_replaced_by_a_thin_module_that_behaves_alike() -> None:
    owner = handler(network=torch.jit.script(nn.Linear(4, 3)))
    follow_model(owner, None)
    assert isinstance(owner.network, HookableModel)
    assert owner.network.eval() is owner.network
    assert owner.network.in_features == 4
    assert len(list(owner.network.parameters())) == 2
    with pytest.raises(AttributeError):
        _ = owner.network.nothing


def test_a_handler_without_a_model_is_refused() -> None:
    with pytest.raises(VictimError, match="no model that can be followed"):
        follow_model(handler(size=3, model=None), None)


def test_a_handler_with_several_models_is_refused_by_their_names() -> None:
    with pytest.raises(VictimError, match=r"several models \(encoder, head\)"):
        follow_model(handler(encoder=nn.Identity(), head=nn.Identity()), None)


def test_one_module_under_two_names_is_one_model() -> None:
    model = nn.Identity()
    assert follow_model(handler(a=model, b=model), None).model is model


@pytest.mark.parametrize(
    ("arguments", "output", "rows"),
    [
        (torch.zeros(3, 2), torch.zeros(3, 4), 3),
        (torch.zeros(3, 2), torch.zeros(3), 3),
        (torch.zeros(3), torch.zeros(3, 1), 3),
        (torch.zeros(3), torch.zeros(3), None),  # of one sample, perhaps
        (torch.zeros(3, 2), torch.zeros(4), None),
        (torch.zeros(3, 2), torch.tensor(1.0), None),
    ],
)
def test_rows_are_counted_where_every_tensor_has_one_for_each(
    arguments: Tensor, output: Tensor, rows: int | None
) -> None:
    assert Call(ModelInputs.of(arguments), output, None).rows == rows


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_rows_of_nested_tensors_are_counted() -> None:
    ragged = torch.nested.nested_tensor([torch.zeros(1), torch.zeros(2)])
    assert Call(ModelInputs.of(ragged), torch.zeros(2, 4), None).rows == 2
