"""The arguments that a handler gives its model: tensors, alone or in tuples, lists and dicts."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class ModelInputs:
    """The positional and the named arguments of one call of a model."""

    arguments: tuple[object, ...]
    named: Mapping[str, object]

    @classmethod
    def of(cls, inputs: Tensor) -> "ModelInputs":
        """Return the arguments of a call with one tensor."""
        return cls((inputs,), {})

    @property
    def tensors(self) -> list[Tensor]:
        """All tensors, in the order of the arguments."""
        single = self._single
        if single is not None:
            return [single]
        return list(_tensors([*self.arguments, *self.named.values()]))

    @property
    def only_tensor(self) -> Tensor | None:
        """The tensor `[n, ...]` of a model that takes exactly one; None for other arguments."""
        single = self._single
        if single is not None:
            return single
        values = [*self.arguments, *self.named.values()]
        tensors = [value for value in values if isinstance(value, Tensor)]
        is_structured = any(isinstance(value, Mapping | list | tuple) and value for value in values)
        return tensors[0] if len(tensors) == 1 and not is_structured else None

    @property
    def _single(self) -> Tensor | None:
        """The tensor that is the only argument, as it is of most models; None for other arguments."""
        if len(self.arguments) == 1 and not self.named and isinstance(self.arguments[0], Tensor):
            return self.arguments[0]
        return None

    def map(self, change: Callable[[Tensor], Tensor]) -> "ModelInputs":
        """Return the same arguments with each tensor changed, in the order of `tensors`."""
        single = self._single
        if single is not None:
            return ModelInputs((change(single),), {})
        arguments = tuple(_mapped(value, change) for value in self.arguments)
        return ModelInputs(arguments, {name: _mapped(value, change) for name, value in self.named.items()})

    def replaced(self, tensors: Sequence[Tensor]) -> "ModelInputs":
        """Return the same arguments with other tensors in place of `tensors`."""
        left = iter(tensors)
        return self.map(lambda _: next(left))

    def copied(self) -> "ModelInputs":
        """Return the arguments with copies of the tensors, which the model cannot change."""
        return self.map(copied)

    def equals(self, other: "ModelInputs") -> bool:
        """Return whether both have the same tensors, by type, shape and values."""
        pairs = list(zip(self.tensors, other.tensors, strict=False))
        return len(pairs) == len(self.tensors) == len(other.tensors) and all(
            one.dtype == two.dtype and torch.equal(one, two) for one, two in pairs
        )

    def rows(self, count: int) -> "list[ModelInputs] | None":
        """Return the arguments of each of `count` samples, `[1, ...]`; None unless every tensor has a row for each."""
        tensors = self.tensors
        if not tensors or any(tensor.dim() == 0 or tensor.is_nested or len(tensor) != count for tensor in tensors):
            return None
        return [self.map(lambda tensor, row=row: tensor[row : row + 1]) for row in range(count)]  # type: ignore[misc]


def _tensors(value: object) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for entry in value.values():
            yield from _tensors(entry)
    elif isinstance(value, list | tuple):
        for entry in value:
            yield from _tensors(entry)


def copied(tensor: Tensor) -> Tensor:
    """Return a copy of a tensor, which takes no part in gradients."""
    return (tensor.detach() if tensor.requires_grad else tensor).clone()


def _mapped(value: object, change: Callable[[Tensor], Tensor]) -> object:
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, Mapping):
        entries = {name: _mapped(entry, change) for name, entry in value.items()}
        # A mapping of another type than dict (an OrderedDict, a BatchEncoding) is made from one, where it can be: a
        # copy must not make the victim fail, nor lose a tensor.
        with contextlib.suppress(Exception):
            made: Mapping[object, object] = type(value)(entries)  # type: ignore[call-arg]
            if list(made) == list(entries):
                return made
        return entries
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        make: Callable[..., object] = type(value)
        return make(*[_mapped(entry, change) for entry in value])
    if isinstance(value, tuple):
        return tuple(_mapped(entry, change) for entry in value)
    if isinstance(value, list):
        return [_mapped(entry, change) for entry in value]
    return value
