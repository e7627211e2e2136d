"""Exceptions that a victim raises: what they mean for the request, and what they must not hold."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from calpow.handler.errors import BadPayload, PricingUnavailable


@dataclass(frozen=True, slots=True)
class VictimFailure:
    """A victim's failure as TorchServe reports it to the client: a status and a message. It holds no exception."""

    code: int
    message: str


def classify_failure(error: Exception, verb: str) -> BadPayload | PricingUnavailable:
    """Return the error for a victim that could not `verb` a payload.

    It is a BadPayload unless memory or the device is exhausted. Its text holds none of the exception's, which may quote
    the payload.
    """
    if isinstance(error, MemoryError | torch.cuda.OutOfMemoryError):
        return PricingUnavailable(f"no memory left to {verb} a payload")
    if isinstance(error, RuntimeError) and "CUDA" in str(error):
        return PricingUnavailable(f"the device failed to {verb} a payload")
    return BadPayload(f"the model cannot {verb} this payload ({type(error).__name__})")


def forget_frames(error: BaseException) -> None:
    """Drop the tracebacks of an exception and of all that it holds, because their frames hold the request's data."""
    waiting, seen = [error], set[int]()
    while waiting:
        current = waiting.pop()
        # An exception may be its own cause: `raise error from error`.
        if id(current) not in seen:
            seen.add(id(current))
            current.__traceback__ = None
            waiting += _held_by(current)


def _held_by(error: BaseException) -> Iterator[BaseException]:
    """Yield the cause and the context of an exception, and the exceptions among its arguments, as a group has them."""
    listed = [entry for argument in error.args if isinstance(argument, list | tuple) for entry in argument]
    held = (error.__cause__, error.__context__, *error.args, *listed)
    return (other for other in held if isinstance(other, BaseException))
