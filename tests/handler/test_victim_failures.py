"""A victim's failure is the payload's or the server's, and its exception keeps no payload alive."""

import weakref

import pytest
import torch

from calpow.handler.errors import BadPayload, PricingUnavailable
from calpow.handler.victim_failures import classify_failure, forget_frames


class Payload:
    """An object whose end can be observed."""


def raised(payload: Payload, *, own_cause: bool = False) -> Exception:
    """Return an exception with a cause, and with another exception as its context, whose frames hold the payload."""

    def fail(kept: Payload) -> None:
        raise KeyError(kept is payload)

    try:
        try:
            fail(payload)
        except KeyError as error:
            try:
                fail(payload)
            except KeyError as context:
                if own_cause:
                    raise context from context
                raise ValueError from error
    except Exception as error:
        return error
    raise AssertionError


@pytest.mark.parametrize("own_cause", [False, True])
def test_no_frame_of_an_exception_or_of_its_causes_is_kept(own_cause: bool) -> None:
    payload = Payload()
    watch = weakref.ref(payload)
    error = raised(payload, own_cause=own_cause)
    forget_frames(error)
    del payload
    assert watch() is None
    assert error.__traceback__ is None


def test_no_frame_of_the_members_of_a_group_or_of_an_argument_is_kept() -> None:
    payload = Payload()
    watch = weakref.ref(payload)
    error = RuntimeError("several", [raised(payload), ValueError(raised(payload))])
    forget_frames(error)
    del payload
    assert watch() is None


def test_a_failure_is_the_payloads_unless_memory_or_device_are_exhausted() -> None:
    for exhausted in (MemoryError(), torch.OutOfMemoryError("secret-text"), RuntimeError("CUDA error: secret-text")):
        assert isinstance(classify_failure(exhausted, "read"), PricingUnavailable)
    failure = classify_failure(ValueError("secret-text"), "read")
    assert isinstance(failure, BadPayload)
    assert str(failure) == "the model cannot read this payload (ValueError)"
