"""The numbers that legitimate inputs hold, to which attackers and tolerated changes keep."""

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from calpow.handler.leakage.input_range import LARGEST_NUMBER
from calpow.handler.leakage.model_inputs import ModelInputs
from calpow.handler.leakage.teachers.trunks import is_image

Shape: TypeAlias = tuple[int, ...] | torch.Size


class TensorKind(enum.Enum):
    """Kind of the numbers in a tensor of the model's arguments; the value is its name in messages."""

    images = "images"
    quantities = "floating-point numbers"
    whole_numbers = "whole numbers"

    @classmethod
    def of(cls, shape: Shape, dtype: torch.dtype) -> "TensorKind":
        """Return the kind of samples of this shape and type. Images may be of integers; other integers may be ids."""
        if is_image(tuple(shape)):
            return cls.images
        return cls.quantities if is_continuous(dtype) else cls.whole_numbers


@dataclass(frozen=True)
class LegitimateValues:
    """The numbers that legitimate inputs have in one tensor of the model's arguments.

    `low` and `high` are the least and the largest, `mean` and `deviation` the moments: by channel of images, else by
    position where all inputs have one shape; they broadcast. `is_whole` says where quantities are whole numbers
    nevertheless: categories and counts. `pool` holds the numbers in the frequency of their use:
    whole ones `[m]` without padding, others `[m, f]` by their place on the last axis; it is empty where all samples are
    in one tensor, whose numbers can be swapped. `padding` is the id that fills the end or the beginning of sequences.
    `calls` are the tensors themselves, one for each call of the model.
    """

    low: Tensor
    high: Tensor
    mean: Tensor
    deviation: Tensor
    is_whole: Tensor
    pool: Tensor
    padding: int | None
    calls: tuple[Tensor, ...]

    @classmethod
    def of(cls, tensors: Sequence[Tensor]) -> "LegitimateValues":
        """Return the values of tensors `[n, ...]`, one for each call of the model."""
        filled = [tensor for tensor in tensors if tensor.numel()] or [tensors[0].new_zeros(1)]
        numbers, axes = _by_place(filled)
        ordered = numbers if is_continuous(numbers.dtype) else _ordered(numbers)
        precise = numbers if numbers.dtype == torch.float64 else numbers.float()
        variance, mean = torch.var_mean(precise, dim=axes, unbiased=False, keepdim=True)
        discrete = not is_continuous(numbers.dtype)
        padding = _padding(filled) if discrete else None
        low, high = ordered.amin(dim=axes, keepdim=True), ordered.amax(dim=axes, keepdim=True)
        return cls(
            low=low.long() if discrete else low,
            high=high.long() if discrete else high,
            mean=mean,
            deviation=variance.sqrt(),
            is_whole=(precise == precise.round()).all(dim=0, keepdim=True) if axes == (0,) else torch.tensor(False),
            pool=_used(numbers.flatten(), padding) if discrete else _pooled(filled),
            padding=padding,
            calls=tuple(tensors),
        )

    @property
    def kind(self) -> TensorKind:
        """The kind of the tensor."""
        return TensorKind.of(self.calls[0].shape[1:], self.calls[0].dtype)

    @property
    def span(self) -> Tensor:
        """The length of the range."""
        return self.high - self.low

    @property
    def is_constant(self) -> bool:
        """Whether the tensor says nothing about the sample: an offset, or a mask that hides nothing."""
        return bool((self.low == self.high).all())

    @property
    def is_mask(self) -> bool:
        """Whether the numbers may be a mask: only 0 and 1, or with minus infinity or the least number of their type."""
        if not bool(self.low.isfinite().all()) or bool((self.low < -LARGEST_NUMBER).any()):
            return True
        return len(self.pool) > 0 and bool(((self.pool == 0) | (self.pool == 1)).all())

    def is_padding(self, inputs: Tensor) -> Tensor:
        """Return which numbers are padding, bool of the shape of `inputs`."""
        if self.padding is None:
            return torch.zeros_like(inputs, dtype=torch.bool)
        return inputs == self.padding

    def drawn(self, shape: Shape, generator: torch.Generator) -> Tensor:
        """Return numbers of the pool, in the frequency of their use and by their place on the last axis if that counts.

        The pool must not be empty.
        """
        shares = torch.rand(shape, generator=generator, dtype=torch.float64)
        places = (shares * len(self.pool)).long().clamp(max=len(self.pool) - 1).to(self.pool.device)
        if self.pool.dim() == 1:
            return self.pool[places]
        return self.pool[places, torch.arange(shape[-1], device=self.pool.device)]

    def others(self, inputs: Tensor, generator: torch.Generator, first: int | None = None) -> Tensor:
        """Return legitimate samples in the form of `inputs`: others of its rows, or those of another call.

        With `first`, take them from as many calls at the beginning. Samples of another length are cut or repeated.
        """
        if len(self.calls) == 1:
            steps = 1 + (torch.rand(len(inputs), generator=generator) * (len(inputs) - 1)).long()
            return inputs[((torch.arange(len(inputs)) + steps) % max(1, len(inputs))).to(inputs.device)]
        calls = [
            call for call in self.calls[:first] if call is not inputs and call.dim() == inputs.dim() and call.numel()
        ]
        if not calls:
            return inputs
        other = calls[int(torch.randint(len(calls), (1,), generator=generator))]
        for axis, size in enumerate(inputs.shape):
            other = other.index_select(axis, torch.arange(size, device=other.device) % other.shape[axis])
        return other


Change: TypeAlias = Callable[[Tensor, LegitimateValues, torch.Generator], Tensor]


@dataclass(frozen=True)
class LegitimateInputs:
    """The values of every tensor of the model's arguments, in their order.

    `places` holds None for tensors that are never changed: constants, and masks beside other tensors.
    """

    places: tuple[LegitimateValues | None, ...]

    @classmethod
    def of(cls, legitimate: Sequence[ModelInputs]) -> "LegitimateInputs":
        """Return the values of the arguments of calls."""
        columns = zip(*[inputs.tensors for inputs in legitimate], strict=True)
        places = [LegitimateValues.of([_with_axis(tensor) for tensor in tensors]) for tensors in columns]
        # Alone, zeros and ones are features and no mask.
        has_others = any(not place.is_constant and not place.is_mask for place in places)
        return cls(tuple(None if place.is_constant or (place.is_mask and has_others) else place for place in places))

    @property
    def kinds(self) -> frozenset[TensorKind]:
        """The kinds of the tensors that are changed."""
        return frozenset(place.kind for place in self.places if place is not None)

    def changed(self, inputs: ModelInputs, change: Change, generator: torch.Generator) -> ModelInputs:
        """Return the arguments of a call with each tensor changed by itself, but for those that never are."""
        pairs = zip(inputs.tensors, self.places, strict=True)
        return inputs.replaced(
            [
                tensor if place is None else change(_with_axis(tensor), place, generator).reshape(tensor.shape)
                for tensor, place in pairs
            ]
        )


def is_continuous(dtype: torch.dtype) -> bool:
    """Return whether numbers of this type need not be whole."""
    return dtype.is_floating_point or dtype.is_complex


def is_discrete(inputs: Tensor) -> bool:
    """Return whether the numbers are whole by their type: integers or bool."""
    return not is_continuous(inputs.dtype)


def uniform(shape: Shape, like: Tensor, generator: torch.Generator) -> Tensor:
    """Return uniform numbers, drawn on the CPU, so that a seed gives the same ones on every device."""
    if is_discrete(like):
        # Half the memory for images; ids have more digits.
        dtype = torch.float32 if like.element_size() <= 2 else torch.float64
        return torch.rand(shape, generator=generator, dtype=dtype).to(like.device)
    return torch.rand(shape, generator=generator).to(like.device, like.dtype)


def signs(shape: Shape, like: Tensor, generator: torch.Generator) -> Tensor:
    """Return numbers that are 1 or -1 at random, on the device of `like`."""
    return ((torch.rand(shape, generator=generator) < 0.5).float() * 2 - 1).to(like.device)


def per_sample(inputs: Tensor, channels: int = 1) -> tuple[int, ...]:
    """Return the shape of one number, or one a channel, for each sample of `inputs`, which broadcasts."""
    if inputs.dim() == 1:
        return (1,)
    return (len(inputs), channels, *[1] * (inputs.dim() - 2))


def kept_within(numbers: Tensor, inputs: Tensor, values: LegitimateValues) -> Tensor:
    """Return real numbers as `inputs` has them: of its type, whole where it is, within the legitimate range.

    They are changed in place where no other type is needed.
    """
    numbers.clamp_(values.low.to(numbers.dtype), values.high.to(numbers.dtype))
    return (numbers.round_() if is_discrete(inputs) else numbers).to(inputs.dtype)


def computable(inputs: Tensor) -> Tensor:
    """Return inputs as float32, or as they are if they are float64."""
    return inputs if inputs.dtype == torch.float64 else inputs.float()


def _with_axis(tensor: Tensor) -> Tensor:
    """Return a tensor of one axis at least; the same one if it has any."""
    return tensor if tensor.dim() else tensor.reshape(1)


def _by_place(tensors: Sequence[Tensor]) -> tuple[Tensor, tuple[int, ...]]:
    """Return all numbers, and the axes over which they share one range."""
    shapes = {tuple(tensor.shape[1:]) for tensor in tensors}
    if len(shapes) == 1 and (is_image(shape := shapes.pop()) or not is_discrete(tensors[0])):
        joined = tensors[0] if len(tensors) == 1 else torch.cat(list(tensors))
        return joined, (0, 2, 3) if is_image(shape) else (0,)
    return torch.cat([tensor.flatten() for tensor in tensors]), (0,)


def _ordered(numbers: Tensor) -> Tensor:
    """Return whole numbers of a type that torch can compare."""
    return numbers if numbers.dtype in (torch.uint8, torch.int16, torch.int32, torch.int64) else numbers.long()


def _pooled(tensors: Sequence[Tensor]) -> Tensor:
    """Return all numbers of several calls by their place on the last axis, `[m, f]`, or `[m]` where it varies."""
    if len(tensors) == 1 or any(is_image(tuple(tensor.shape[1:])) for tensor in tensors):
        return tensors[0].new_empty(0)
    widths = {tensor.shape[-1] for tensor in tensors}
    if len(widths) > 1:
        return torch.cat([tensor.flatten() for tensor in tensors])
    return torch.cat([tensor.reshape(-1, tensor.shape[-1]) for tensor in tensors])


def _used(ids: Tensor, padding: int | None) -> Tensor:
    return ids if padding is None else ids[ids != padding]


def _padding(tensors: Sequence[Tensor]) -> int | None:
    """Return the most frequent id if it only fills the end of sequences `[n, length]`, or only the beginning."""
    if any(tensor.dim() != 2 for tensor in tensors) or all(tensor.shape[1] == 1 for tensor in tensors):
        return None
    numbers, counts = torch.unique(torch.cat([tensor.flatten() for tensor in tensors]).long(), return_counts=True)
    if len(numbers) < 3:
        return None  # zeros and ones
    most = int(numbers[counts.argmax()])
    steps = torch.cat([(tensor == most).byte().char().diff(dim=1).flatten() for tensor in tensors])
    return most if bool((steps >= 0).all()) or bool((steps <= 0).all()) else None
