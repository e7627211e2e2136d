"""The speed benchmark's instruments, on real parts; the benchmark itself takes minutes and needs a server."""

import os
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from zipfile import ZipFile

import pytest

from benchmarks import mint, stages
from benchmarks.wire import BadAnswer, burst, request
from calpow.handler.ledger import URI_VARIABLE, open_ledger
from calpow.puzzle.solving.engines import FAST, MEMORY_HARD, PYTHON, has_fast
from tests.support.guarded import protect, train_teachers
from tests.support.pow_server import PowServer, running
from tests.support.victims import build as victims


def test_a_stage_inside_another_counts_for_itself_alone() -> None:
    stopwatch = stages.Stopwatch()
    inner = stopwatch.timed("inner", lambda: time.sleep(0.02))

    def work() -> None:
        time.sleep(0.01)
        inner()
        inner()

    lap = stopwatch.lap(stopwatch.timed("outer", work))
    assert lap["inner"] >= 0.04
    assert 0.01 <= lap["outer"] < lap["inner"]
    assert sum(lap[name] for name in ("inner", "outer", stages.REST)) == pytest.approx(lap[stages.WHOLE])


def test_what_was_timed_is_itself_again_afterwards() -> None:
    before = [getattr(owner, name) for owner, name, _ in stages.PLACES]
    with stages.watched(stages.Stopwatch()):
        assert all(getattr(owner, name) is not old for (owner, name, _), old in zip(stages.PLACES, before, strict=True))
    assert [getattr(owner, name) for owner, name, _ in stages.PLACES] == before


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
    assert not {stages.PASS, "ensemble", "accounting"} & query.challenge.keys(), "an unpaid request runs no model"
    for paid in (query.answer, query.prepaid):
        assert {"verifying", "ledger", stages.PASS, "ensemble", "accounting"} <= paid.keys()
    assert query.unprotected[stages.WHOLE] > 0
    assert query.expected_hashes > 0


def ask_inside(home: Path) -> stages.Query | None:
    """Both ways to pay, in a process of its own: the victim changes the working directory."""
    os.environ[URI_VARIABLE] = f"sqlite:///{home / 'ledger.db'}"
    key = open_ledger(os.environ[URI_VARIABLE]).add_key("ada")
    stopwatch = stages.Stopwatch()
    with stages.watched(stopwatch):
        return stages.ask(stages.Inside(home, stopwatch), key, b"0.9,0.1,0.2,0.1", b"0.1,0.9,0.2,0.1")


def test_a_burst_keeps_its_answers_in_order_and_refuses_other_statuses() -> None:
    bodies = [str(number).encode() for number in range(20)]
    with running(PowServer()) as server:
        url = f"{server.url}/free"
        made = burst(url, [request(url, body, {}) for body in bodies], 3, 200)
        assert [answer.body for answer in made.answers] == bodies
        assert made.rate > 0
        with pytest.raises(BadAnswer, match="instead of 402"):
            burst(url, [request(url, b"1", {})], 1, 402)
        with pytest.raises(BadAnswer, match="answered 200 instead of 402"):
            burst(url, [request(url, b"1", {})], 1, 402, others={200: 0.9, 401: 1.0})
        assert burst(url, [request(url, b"1", {})], 1, 402, others={200: 1.0}).answers[0].status == 200
        paid = f"{server.url}/paid"
        challenged = burst(paid, [request(paid, b"1", {})] * 3, 2, 402)
        assert all(answer.header("www-authenticate").startswith("PoW ") for answer in challenged.answers)


def best_ratio(one: Callable[[], float], other: Callable[[], float], rounds: int = 25) -> float:
    """The best rate of one over the best of the other, in turns: other load on the machine only makes rates smaller.

    Both must take about as long: the shorter of two finds a quiet moment of the machine more easily.
    """
    pairs = [(one(), other()) for _ in range(rounds)]
    return max(rate for rate, _ in pairs) / max(rate for _, rate in pairs)


@pytest.mark.parametrize("algorithm", [mint.SHA1, mint.SHA256])
def test_our_client_mints_nearly_as_fast_as_hashlib_lets_it(algorithm: str) -> None:
    ours = partial(mint.solver_rate, PYTHON, algorithm, seconds=0.05)
    assert best_ratio(ours, partial(mint.bare_rate, 16 << 13, algorithm)) > 0.9


def test_scrypt_is_minted_nearly_as_fast_as_hashlib_lets_it() -> None:
    ours = partial(mint.solver_rate, MEMORY_HARD, mint.SCRYPT, seconds=0.05)
    assert best_ratio(ours, partial(mint.bare_scrypt_rate, 0.05)) > 0.9


@pytest.mark.skipif(not has_fast(), reason="calpow[fast] is not installed")
@pytest.mark.skipif(shutil.which("hashcash") is None, reason="Debian's hashcash is not installed")
def test_the_fast_solver_leaves_the_c_program_behind() -> None:
    ours = partial(mint.solver_rate, FAST, mint.SHA1, seconds=0.05)
    ours()  # compiles
    assert best_ratio(ours, partial(mint.hashcash_rate, "hashcash"), rounds=5) > 1
