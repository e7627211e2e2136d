"""The command line answers quickly, compared with what it needs anyhow, in the same run."""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from calpow.client.cli import solver_speed
from calpow.client.cli.saved_challenge import SavedChallenge
from calpow.puzzle.errors import CalpowError
from calpow.puzzle.profiles import PROFILES

pytestmark = pytest.mark.timing


def fastest(work: Callable[[], object], runs: int = 5) -> float:
    """Return the seconds of the fastest run."""
    seconds: list[float] = []
    for _ in range(runs):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def least_processor_seconds(*arguments: str, runs: int = 7) -> float:
    """Return the least processor time that Python took with these arguments."""
    resource = pytest.importorskip("resource", reason="this system does not measure processes")
    seconds: list[float] = []
    for _ in range(runs):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(seconds)


def seconds_of_calpow(*arguments: str) -> float:
    """Return the least processor time that `calpow` took with these arguments."""
    return least_processor_seconds("-m", "calpow.client", *arguments)


def test_the_help_does_not_take_the_time_of_importing_a_command() -> None:
    assert seconds_of_calpow("--help") < 0.75 * seconds_of_calpow("predict", "--help")


def test_the_help_takes_no_longer_than_two_imports_of_requests() -> None:
    """The goal is 0.2 s (measured 0.10, where requests takes 0.11)."""
    assert seconds_of_calpow("--help") < 2 * least_processor_seconds("-c", "import requests")


def test_importing_the_client_adds_little_to_importing_requests() -> None:
    """The goal is 0.03 s beside 0.11 of requests (measured 0.004 to 0.009)."""
    alone = least_processor_seconds("-c", "import requests")
    assert least_processor_seconds("-c", "import requests, calpow.client") < 1.25 * alone


def test_beginnings_of_responses_are_read_in_linear_time() -> None:
    def refuse(number: int) -> None:
        with pytest.raises(CalpowError):
            SavedChallenge.from_bytes(b"HTTP/1.1 402 x\r\n\r\n" + b"}HTTP/1 402 " * number)

    assert fastest(lambda: refuse(20_000)) < 25 * fastest(lambda: refuse(2_000))


@pytest.mark.skipif(shutil.which("hashcash") is None, reason="the program hashcash is not installed")
def test_the_program_hashcash_is_measured_by_the_tries_that_it_reports() -> None:
    program = shutil.which("hashcash") or ""
    # It looks at a fraction of a second, in which another program may run.
    runs = [subprocess.run([program, "-sq"], capture_output=True, check=True) for _ in range(5)]
    own_figure = max(int(run.stdout) for run in runs)
    assert solver_speed.hashcash_rate(program) == pytest.approx(own_figure, rel=0.75)


def test_verifying_takes_longer_the_more_memory_a_digest_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(solver_speed, "ROUNDS", 1)
    monkeypatch.setattr(solver_speed, "RUN_SECONDS", 0.02)
    monkeypatch.setattr(solver_speed, "PROCESSES_RUN_SECONDS", 0.05)
    monkeypatch.setattr(solver_speed, "PROBE_SECONDS", 0.002)
    monkeypatch.setattr(solver_speed, "HASHCASH_BITS", 16)
    _, verifications = solver_speed.measure()
    seconds = {verification.name: verification.seconds for verification in verifications}
    assert set(seconds) == set(PROFILES)
    assert seconds["hashcash-sha1"] < seconds["scrypt"] < seconds["scrypt-hard"]
