"""The speed benchmark's instruments, on real parts; the benchmark itself takes minutes and needs a server."""

import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from zipfile import ZipFile

import pytest

from benchmarks.serving.light_client import BadAnswer, burst, request
from benchmarks.speed import model_access, query_stages, stopwatch
from calpow.handler.ledger.uri import URI_VARIABLE, open_ledger
from tests.support.guarded import protect, train_teachers
from tests.support.pow_server import PowServer, running
from tests.support.victims import build as victims


class Clock:
    """A clock that a test moves; stands for the module `time`."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_a_stage_inside_another_counts_for_itself_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(stopwatch, "time", clock)
    watch = stopwatch.Stopwatch()
    inner = watch.timed("inner", lambda: clock.sleep(2.0))

    def work() -> None:
        clock.sleep(1.0)
        inner()
        inner()

    lap = watch.lap(watch.timed("outer", work))
    assert lap == {"inner": 4.0, "outer": 1.0, stopwatch.REST: 0.0, stopwatch.WHOLE: 5.0}


def test_what_was_timed_is_itself_again_afterwards() -> None:
    before = [getattr(owner, name) for owner, name, _ in query_stages.PLACES]
    with query_stages.watched(stopwatch.Stopwatch()):
        assert all(
            getattr(owner, name) is not old for (owner, name, _), old in zip(query_stages.PLACES, before, strict=True)
        )
    assert [getattr(owner, name) for owner, name, _ in query_stages.PLACES] == before


@pytest.mark.training
def test_a_query_is_taken_apart_into_its_stages(tmp_path: Path) -> None:
    victim = victims.vector_class(tmp_path)
    data = victims.vectors(tmp_path / "data")
    (tmp_path / "guarded").mkdir()
    parts = protect(tmp_path / "guarded", "vector", victim, train_teachers(tmp_path, victim, data))
    with ZipFile(parts.guarded) as packed:
        packed.extractall(tmp_path / "home")
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        query = process.submit(ask_inside, tmp_path / "home").result()
    assert query is not None
    assert {"ledger", "signing"} <= query.challenge.keys()
    assert not {query_stages.PASS, "ensemble", "accounting"} & query.challenge.keys(), "an unpaid request runs no model"
    for paid in (query.answer, query.prepaid):
        assert {"verifying", "ledger", query_stages.PASS, "ensemble", "accounting"} <= paid.keys()
    assert query.unprotected[stopwatch.WHOLE] > 0
    assert query.expected_hashes > 0


def ask_inside(home: Path) -> query_stages.TimedQuery | None:
    """Both ways to pay, in a process of its own: the victim changes the working directory."""
    os.environ[URI_VARIABLE] = f"sqlite:///{home / 'ledger.db'}"
    key = open_ledger(os.environ[URI_VARIABLE]).add_key("ada")
    watch = stopwatch.Stopwatch()
    with query_stages.watched(watch):
        return query_stages.ask(model_access.Inside(home, watch), key, b"0.9,0.1,0.2,0.1", b"0.1,0.9,0.2,0.1")


def test_a_burst_keeps_its_answers_in_order_and_refuses_other_statuses() -> None:
    bodies = [str(number).encode() for number in range(20)]
    with running(PowServer()) as server:
        url = f"{server.url}/free"
        outcome = burst(url, [request(url, body, {}) for body in bodies], 3, 200)
        assert [answer.body for answer in outcome.answers] == bodies
        assert outcome.rate > 0
        with pytest.raises(BadAnswer, match="instead of 402"):
            burst(url, [request(url, b"1", {})], 1, 402)
        with pytest.raises(BadAnswer, match="answered 200 instead of 402"):
            burst(url, [request(url, b"1", {})], 1, 402, others={200: 0.9, 401: 1.0})
        assert burst(url, [request(url, b"1", {})], 1, 402, others={200: 1.0}).answers[0].status == 200
        paid = f"{server.url}/paid"
        challenged = burst(paid, [request(paid, b"1", {})] * 3, 2, 402)
        assert all(answer.header("www-authenticate").startswith("PoW ") for answer in challenged.answers)
