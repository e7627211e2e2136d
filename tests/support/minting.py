"""Observation of the client's minting in the background."""

import threading
import time
from collections.abc import Callable

from calpow.client.prepaid.background import THREAD_NAME


def minting_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == THREAD_NAME]


def until(condition: Callable[[], object]) -> None:
    """Wait until a condition holds; fail after 20 seconds."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come to hold"
        time.sleep(0.005)
