"""Identities of samples: equal for equal samples in any company, and for no others."""

from collections.abc import Mapping
from types import MappingProxyType

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from calpow.handler.leakage.model_inputs import ModelInputs
from calpow.handler.leakage.recording import Call
from calpow.handler.leakage.sample_identity import SampleIdentifier
from calpow.handler.leakage.specs import InputRange
from calpow.handler.ledger.history import DIGEST_BYTES, SKETCH_BYTES, SampleIdentity
from tests.support.small_images import digit_images

IDENTIFIER = SampleIdentifier(b"key", InputRange((0.0,), (1.0,)))
IMAGES = digit_images(6)
PREDICT = "predict 1.0"


def identities(
    count: int, *arguments: object, purpose: str = PREDICT, named: Mapping[str, object] = MappingProxyType({})
) -> list[SampleIdentity]:
    """Return the identities of the samples of one call."""
    return IDENTIFIER.identities([Call(ModelInputs(arguments, named), None, None)], [count], purpose)


def digest(
    count: int, *arguments: object, purpose: str = PREDICT, named: Mapping[str, object] = MappingProxyType({})
) -> bytes:
    """Return the digest of the last sample of a call."""
    return identities(count, *arguments, purpose=purpose, named=named)[-1].digest


def test_samples_have_digests_and_sketches_of_fixed_size() -> None:
    for identity in identities(6, IMAGES):
        assert (len(identity.digest), len(identity.sketch)) == (DIGEST_BYTES, SKETCH_BYTES)
    assert len({identity.digest for identity in identities(6, IMAGES)}) == 6


def test_a_sample_is_the_same_alone_in_a_batch_and_in_calls_of_its_own() -> None:
    together = identities(6, IMAGES)
    assert [identities(1, IMAGES[row : row + 1])[0] for row in range(6)] == together
    calls = [Call(ModelInputs.of(IMAGES[rows]), None, None) for rows in (slice(0, 1), slice(1, 4), slice(4, 6))]
    assert IDENTIFIER.identities(calls, [1, 3, 2], PREDICT) == together
    assert identities(6, IMAGES.flip(0)) == together[::-1]
    assert identities(6, IMAGES.permute(3, 2, 1, 0).contiguous().permute(3, 2, 1, 0)) == together


NUMBERS = st.lists(st.floats(-(2.0**20), 2.0**20, width=32), min_size=1, max_size=5)


@given(NUMBERS, NUMBERS)
def test_digests_are_equal_where_the_numbers_are_and_only_there(one: list[float], other: list[float]) -> None:
    rows = [torch.tensor([numbers]) for numbers in (one, other)]
    same = rows[0].shape == rows[1].shape and rows[0].numpy().tobytes() == rows[1].numpy().tobytes()
    assert (digest(1, rows[0]) == digest(1, rows[1])) == same


ZEROS = torch.zeros(2, 4)
TEXT, PAD = torch.tensor([[5, 6, 7]]), torch.tensor([[1, 1, 1]])
DIFFERENT: Mapping[str, tuple[object, ...]] = {
    "type": (ZEROS.double(),),
    "whole numbers": (ZEROS.int(),),
    "shape": (ZEROS.reshape(2, 2, 2),),
    "two tensors": (ZEROS, ZEROS),
    "two other tensors": (ZEROS, ZEROS + 1),
    "split in another way": (ZEROS[:, :2], ZEROS[:, 2:]),
    "a number": (ZEROS, 4),
    "another number": (ZEROS, 5),
    "a true number": (ZEROS, 1.0),
    "a truth": (ZEROS, True),
    "a list": ([ZEROS],),
    "a longer list": ([ZEROS], []),
    "a mapping": ({"x": ZEROS},),
    "another mapping": ({"y": ZEROS},),
    "a text": (ZEROS, "x"),
    "texts": (["a", "b"],),
    "other texts": (["a", "c"],),
    "an array": (ZEROS, IMAGES[0].numpy()),
    "another array": (ZEROS, IMAGES[1].numpy()),
    "words and where texts begin": (torch.tensor([1, 2]), torch.tensor([0, 0])),
    "other words of the same text": (torch.tensor([3, 2]), torch.tensor([0, 0])),
}


def test_whatever_the_model_is_given_tells_samples_apart() -> None:
    digests = {name: digest(2, *arguments) for name, arguments in DIFFERENT.items()}
    digests |= {
        "plain": digest(2, ZEROS),
        "by name": digest(2, named={"x": ZEROS}),
        "by another name": digest(2, named={"y": ZEROS}),
        "an explanation": digest(2, ZEROS, purpose="explain 1.0"),
        "another version": digest(2, ZEROS, purpose="predict 2.0"),
    }
    assert len(set(digests.values())) == len(digests)
    assert all(len(value) == DIGEST_BYTES for value in digests.values())
    for name, arguments in DIFFERENT.items():
        assert digest(2, *arguments) == digests[name], name


def test_another_victim_has_other_digests() -> None:
    call = Call(ModelInputs.of(IMAGES), None, None)
    other = SampleIdentifier(b"other", InputRange((0.0,), (1.0,)))
    assert not set(other.identities([call], [6], PREDICT)) & set(identities(6, IMAGES))


def test_samples_of_a_call_that_does_not_show_their_rows_are_told_by_their_number() -> None:
    nodes, edges = torch.tensor([4, 5, 6, 4, 5]), torch.tensor([[0, 1], [3, 4]])
    first, second = identities(2, nodes, edges)
    assert first.digest != second.digest
    assert identities(2, nodes, edges) == [first, second]
    assert digest(2, nodes + 1, edges) != second.digest


def test_a_text_is_the_same_alone_and_among_others_whose_words_are_one_after_the_other() -> None:
    words, weights = torch.arange(9), torch.arange(9.0)
    starts = torch.tensor([0, 2, 6])
    together = [entry.digest for entry in identities(3, words, weights, starts)]
    parts = (slice(0, 2), slice(2, 6), slice(6, 9))
    assert together == [digest(1, words[part], weights[part], torch.tensor([0])) for part in parts]
    assert len(set(together)) == 3
    copies = [digest(number, words.repeat(number), 9 * torch.arange(number)) for number in range(1, 9)]
    assert len(set(copies)) == 1


@pytest.mark.parametrize("starts", [[1, 2, 6], [0, 6, 2], [0, 2, 10], [0, 2]])
def test_other_numbers_are_not_taken_for_places_where_texts_begin(starts: list[int]) -> None:
    digests = [entry.digest for entry in identities(3, torch.arange(9), torch.tensor(starts))]
    assert len(set(digests)) == 3
    assert digest(1, torch.arange(2), torch.tensor([0])) not in digests


def test_a_text_is_the_same_in_any_padded_batch() -> None:
    def call(length: int, count: int) -> dict[str, Tensor]:
        ids, mask = torch.zeros(count, length, dtype=torch.int64), torch.zeros(count, length, dtype=torch.int64)
        ids[0, :3], mask[0, :3] = torch.tensor([5, 6, 7]), 1
        ids[1:, :length], mask[1:] = 9, 1
        return {"input_ids": ids, "attention_mask": mask}

    alone = identities(1, named=call(3, 1))[0].digest
    for length, count in ((3, 2), (7, 2), (40, 5)):
        assert identities(count, named=call(length, count))[0].digest == alone
        assert identities(count, call(length, count))[0].digest == identities(1, call(3, 1))[0].digest
    longer = call(7, 2)
    longer["input_ids"][0, 5] = 8  # beyond the mask, where a model may look all the same
    assert identities(2, named=longer)[0].digest != alone


class Unreadable:
    """A value that cannot be pickled."""

    def __reduce__(self) -> str:
        raise TypeError


@pytest.mark.parametrize("value", [Unreadable(), lambda: None, [[Unreadable()]]], ids=["object", "function", "nested"])
def test_samples_that_come_with_what_cannot_be_read_are_never_taken_for_repeated(value: object) -> None:
    assert [identity.digest for identity in identities(2, ZEROS, value)] == [b"", b""]


@pytest.mark.parametrize(
    "kind", [torch.float16, torch.bfloat16, torch.float64, torch.int8, torch.int64, torch.bool, torch.complex64]
)
def test_numbers_of_any_type_have_a_digest(kind: torch.dtype) -> None:
    numbers = torch.tensor([[0, 1, 2, 3], [0, 1, 1, 3]]).to(kind)
    one, other = (identity.digest for identity in identities(2, numbers))
    assert (one == other) == (kind is torch.bool)
    assert digest(1, numbers[1:]) == other


def test_an_input_without_the_axis_of_a_batch_is_one_sample() -> None:
    (alone,) = identities(1, IMAGES[0])
    assert len(alone.digest) == DIGEST_BYTES
    assert identities(1, IMAGES[0].clone()) == [alone]
    assert identities(1, IMAGES[1])[0].digest != alone.digest
