"""The victim's outputs, remembered between pricing and answering: used once, for the same numbers, in little room."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from calpow.handler.memory import OutputMemory

INPUTS = torch.arange(24.0).reshape(6, 4)


def double(inputs: Tensor) -> Tensor:
    return inputs[:, :2] * 2


def refuse() -> Tensor:
    raise AssertionError("computed again")


def recalled(memory: OutputMemory, inputs: Tensor) -> bool:
    """Whether the output of these was remembered; what is not must be computed."""
    marker = object()
    found = memory.recall(inputs, lambda: marker)
    assert found is marker or (isinstance(found, Tensor) and torch.equal(found, double(inputs)))
    return found is not marker


@given(order=st.permutations(range(6)), cut=st.integers(1, 5), parts=st.integers(1, 6))
def test_outputs_come_back_in_whatever_batches_they_are_asked_for(order: list[int], cut: int, parts: int) -> None:
    memory = OutputMemory()
    for batch in (INPUTS[:cut], INPUTS[cut:]):
        memory.keep(batch, double(batch))
    for batch in INPUTS[order].tensor_split(parts):
        assert torch.equal(torch.as_tensor(memory.recall(batch, refuse)), double(batch))


def test_an_output_is_used_once() -> None:
    memory = OutputMemory()
    memory.keep(INPUTS, double(INPUTS))
    assert recalled(memory, INPUTS[:2])
    assert not recalled(memory, INPUTS[:3])
    assert recalled(memory, INPUTS[2:])


def test_other_numbers_of_the_same_sum_are_no_match() -> None:
    memory = OutputMemory()
    memory.keep(INPUTS, double(INPUTS))
    assert not recalled(memory, INPUTS.flip(1))


def test_what_is_done_to_a_batch_afterwards_changes_nothing() -> None:
    memory = OutputMemory()
    inputs, outputs = INPUTS.clone(), double(INPUTS)
    memory.keep(inputs, outputs)
    inputs.zero_()
    outputs.zero_()
    assert recalled(memory, INPUTS)


@pytest.mark.parametrize("times", [1, 3])
def test_the_oldest_go_where_there_is_no_room(times: int) -> None:
    one = INPUTS[:1].nbytes + double(INPUTS[:1]).nbytes
    memory = OutputMemory(most_bytes=3 * one)
    for row in torch.split(INPUTS, 1):
        # The same query in one batch takes room, but not for ever.
        batch = row.repeat(times, 1)
        memory.keep(batch, double(batch))
    kept = [recalled(memory, row) for row in torch.split(INPUTS, 1)]
    assert kept == [False] * (6 - 3 // times) + [True] * (3 // times)


def test_room_is_free_again_once_a_batch_is_answered() -> None:
    memory = OutputMemory(most_bytes=INPUTS.nbytes + double(INPUTS).nbytes)
    for _ in range(3):
        memory.keep(INPUTS, double(INPUTS))
        assert recalled(memory, INPUTS[3:])
        assert recalled(memory, INPUTS[:3])
