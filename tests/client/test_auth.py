"""PowAuth of every library has documentation, a key that it does not reveal, and work that can be cancelled."""

import pydoc
import threading
import time
from dataclasses import replace
from datetime import datetime, timezone

import pytest

from calpow.client import PowAuth, UnusableKey
from calpow.client.auth import perform
from calpow.client.errors import Cancelled, TimeLimitExceeded
from calpow.client.httpx import PowAuth as HttpxPowAuth
from calpow.client.protocol.exchange import FoundStamps, Solve, Wait
from calpow.puzzle.puzzle import Puzzle

KEY = "cp_1_secret"


def solve(puzzle: Puzzle) -> Solve:
    return Solve(puzzle, seconds_left=60, max_seconds=60, lifetime=60, date=datetime.now(timezone.utc))


@pytest.mark.parametrize("auth", [PowAuth, HttpxPowAuth])
def test_help_describes_every_argument_and_error(auth: type) -> None:
    text = pydoc.plain(pydoc.render_doc(auth))
    for argument in ("key:", "max_hashes:", "max_seconds:", "max_wait:", "progress:"):
        assert argument in text
    assert ("cancel:" in text) == (auth is PowAuth)
    assert "BodyNotRewindable" in text
    assert "The errors that PowAuth raises are ClientErrors" in text
    assert "for ten minutes" in text


@pytest.mark.parametrize("key", ["", " cp_1_s", "cp_1_s\n", "cp_1_s\r\nX: y", "cp_1_\u00e9", "\u0661"])
def test_a_key_that_cannot_stand_in_a_header_is_refused_and_not_repeated(key: str) -> None:
    with pytest.raises(UnusableKey) as caught:
        PowAuth(key)
    assert "cp_1" not in str(caught.value)


@pytest.mark.parametrize("key", [b"cp_1_secret", 7, ["cp_1_secret"]])
def test_a_key_that_is_no_text_is_refused_in_plain_words(key: object) -> None:
    with pytest.raises(UnusableKey, match=f"the API key is {type(key).__name__}, not str") as refused:
        PowAuth(key)  # type: ignore[arg-type]  # what programs without types do
    assert "secret" not in str(refused.value)


def test_the_key_is_not_in_the_repr() -> None:
    auth = PowAuth(KEY)
    exchange = auth._exchange("http://127.0.0.1/predictions/digits")
    assert not any(KEY in repr(thing) for thing in (auth, exchange, next(exchange.run())))


def test_the_stamps_of_a_puzzle_are_found() -> None:
    puzzle = Puzzle("hashcash-sha1", "5f0c", 4, 3)
    found = perform(solve(puzzle))
    assert isinstance(found, FoundStamps)
    puzzle.verify(found.stamps)
    assert found.seconds > 0


def test_work_that_does_not_fit_into_the_rest_of_the_time_names_the_refusal() -> None:
    action = replace(solve(Puzzle("hashcash-sha1", "5f0c", 40, 8)), seconds_left=0.01, refusal="do the work")
    with pytest.raises(TimeLimitExceeded, match=r"more than the limit of 60\.0 s.*refused: do the work") as caught:
        perform(action)
    assert caught.value.expected_seconds > 60


def test_work_and_waiting_can_be_cancelled() -> None:
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(Cancelled):
        perform(solve(Puzzle("hashcash-sha1", "5f0c", 20, 8)), cancel=cancel)
    cancel.clear()
    threading.Timer(0.1, cancel.set).start()
    began = time.monotonic()
    with pytest.raises(Cancelled):
        perform(Wait(30), cancel=cancel)
    assert time.monotonic() - began < 20
