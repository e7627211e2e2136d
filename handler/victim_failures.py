"""Exceptions that a victim raises: what they mean for the request, and what they must not hold."""

import torch

from calpow.handler.errors import BadPayload, PricingUnavailable


def classify_failure(error: Exception, verb: str) -> BadPayload | PricingUnavailable:
    """Return the error for a victim that could not `verb` a payload.

    It is a BadPayload unless memory or the device is exhausted. Its text holds none of the exception's, which may quote
    the payload.
    """
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return PricingUnavailable(f"no memory left to {verb} a payload")
    if isinstance(error, RuntimeError) and "CUDA" in str(error):
        return PricingUnavailable(f"the device failed to {verb} a payload")
    return BadPayload(f"the model cannot {verb} this payload ({type(error).__name__})")


def forget_frames(error: BaseException) -> None:
    """Drop the tracebacks of an exception and of all its causes, because their frames hold the request's data."""
    waiting, seen = [error], set[int]()
    while waiting:
        current = waiting.pop()
        # An exception may be its own cause: `raise error from error`.
        if id(current) not in seen:
            seen.add(id(current))
            current.__traceback__ = None
            waiting += [cause for cause in (current.__cause__, current.__context__) if cause is not None]
