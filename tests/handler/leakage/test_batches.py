"""Batches hold what scores need of the model's calls: each part once, or one line that says what is missing."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from calpow.handler.errors import VictimError
from calpow.handler.leakage.batches import BatchMaker, Teachers, id_rows
from calpow.handler.leakage.model_inputs import ModelInputs
from calpow.handler.leakage.recording import Call
from calpow.handler.leakage.score import Array, SampleBatch, VictimOutput
from calpow.handler.leakage.specs import OutputKind, VictimShape

INPUTS, LOGITS, FEATURES = torch.rand(3, 4), torch.randn(3, 2), torch.randn(3, 5)
AXES = torch.randn(5, 2)
CALL = Call(ModelInputs.of(INPUTS), LOGITS, FEATURES, {"stem": torch.ones(3, 6)})
SHAPE = VictimShape(2, (4,))


def made(maker: BatchMaker, *calls: Call) -> SampleBatch:
    return maker.make(calls)


def test_only_what_is_needed_is_there() -> None:
    batch = made(BatchMaker(SHAPE, OutputKind.logits, VictimOutput(0)), CALL)
    assert batch.answers.tolist() == LOGITS.argmax(1).tolist()
    others = (batch.log_probabilities, batch.logits, batch.features, batch.lengths, batch.projected, batch.votes)
    assert all(part is None for part in others)
    assert (batch.ids, batch.depths) == ([], CALL.depths)


def test_calls_are_joined_in_their_order() -> None:
    needs = VictimOutput.PROJECTION | VictimOutput.DEPTHS | VictimOutput.LOGITS | VictimOutput.PROBABILITIES
    maker = BatchMaker(SHAPE, OutputKind.logits, needs, ["stem"], AXES)
    batch = made(maker, CALL, Call(ModelInputs.of(INPUTS[:1]), LOGITS[:1], FEATURES[:1], {"stem": torch.zeros(1, 6)}))
    rows = torch.tensor([0, 1, 2, 0])
    assert batch.inputs is not None
    assert batch.projected is not None
    assert batch.lengths is not None
    assert batch.logits is not None
    assert batch.log_probabilities is not None
    assert torch.equal(batch.inputs, INPUTS[rows])
    assert np.array_equal(batch.logits, LOGITS[rows])
    assert torch.allclose(batch.projected, (FEATURES @ AXES)[rows], atol=1e-6)
    assert np.allclose(batch.lengths, FEATURES.norm(dim=1)[rows])
    assert torch.allclose(batch.log_probabilities, LOGITS.double().log_softmax(1)[rows])
    assert batch.depths["stem"].tolist() == [[1.0] * 6] * 3 + [[0.0] * 6]


@pytest.mark.parametrize("voted_on", [VictimOutput.INPUTS, VictimOutput.FEATURES, VictimOutput.PROJECTION])
def test_teachers_vote_once_on_what_they_were_trained_on(voted_on: VictimOutput) -> None:
    asked: list[Tensor] = []

    def votes(values: Tensor) -> Array:
        asked.append(values)
        return np.array([[3, 4]] * len(values))

    needs = VictimOutput.VOTES | voted_on
    batch = made(BatchMaker(SHAPE, OutputKind.logits, needs, axes=AXES, teachers=Teachers(votes, voted_on)), CALL)
    expected = {VictimOutput.INPUTS: INPUTS, VictimOutput.FEATURES: FEATURES, VictimOutput.PROJECTION: FEATURES @ AXES}
    assert len(asked) == 1
    assert torch.allclose(asked[0], expected[voted_on])
    assert batch.votes is not None
    assert batch.votes.tolist() == [[3, 4]] * 3


@pytest.mark.parametrize(
    ("kind", "output", "expected"),
    [
        (OutputKind.logits, [[1.0, 2.0], [2.0, 1.0], [1.0, 1.0]], [1, 0, 0]),
        (OutputKind.binary_logit, [[-1.0], [1.0], [0.0]], [0, 1, 0]),
        (OutputKind.binary_probability, [[0.4], [0.6], [0.5]], [0, 1, 0]),
    ],
)
def test_the_answer_is_the_likeliest_class_the_first_of_a_tie(
    kind: OutputKind, output: list[list[float]], expected: list[int]
) -> None:
    call = Call(ModelInputs.of(INPUTS), torch.tensor(output), None)
    assert made(BatchMaker(SHAPE, kind, VictimOutput(0)), call).answers.tolist() == expected


def test_a_layer_that_shows_nothing_or_other_rows_is_named() -> None:
    maker = BatchMaker(SHAPE, OutputKind.logits, VictimOutput.DEPTHS, ["stem"])
    for depths in ({}, {"stem": torch.ones(2, 6)}):
        call = Call(ModelInputs.of(INPUTS), LOGITS, None, depths)
        for use in (maker.check, lambda call: made(maker, call)):
            with pytest.raises(VictimError, match="did not use its layer stem as it did when it was calibrated"):
                use(call)


IDS, MASK = torch.tensor([[1, 2], [3, 4], [5, 6]]), torch.ones(3, 2, dtype=torch.bool)


@pytest.mark.parametrize(
    "arguments",
    [
        ModelInputs.of(IDS),
        ModelInputs((MASK, IDS), {}),
        ModelInputs((), {"mask": MASK.float(), "ids": IDS}),
        ModelInputs(({"ids": IDS, "kinds": torch.zeros(3, 2, dtype=torch.int64)},), {}),
        ModelInputs((SimpleNamespace(), IDS), {}),
    ],
    ids=["alone", "after a mask", "by name", "in a dict", "after something else"],
)
def test_ids_are_the_first_whole_numbers_with_a_row_for_each_sample(arguments: ModelInputs) -> None:
    rows = id_rows(arguments, 3)
    assert rows is not None
    assert torch.equal(rows, IDS)


@pytest.mark.parametrize("arguments", [ModelInputs.of(INPUTS), ModelInputs((IDS.flatten(), INPUTS), {})])
def test_a_call_without_ids_is_refused_in_one_line(arguments: ModelInputs) -> None:
    maker = BatchMaker(VictimShape(2, None), OutputKind.logits, VictimOutput.IDS)
    with pytest.raises(VictimError, match="not called with whole numbers for each sample"):
        maker.check(Call(arguments, LOGITS, None))
