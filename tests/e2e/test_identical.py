"""Identical requests side by side are all answered, by every client and for clients that are not ours."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import anyio
import httpx
import pytest
import requests

from calpow.client import PowAuth
from calpow.client.httpx import PowAuth as HttpxPowAuth
from calpow.puzzle.solving.solver import solve
from calpow.puzzle.wire import Challenge, format_solution
from tests.support.guarded import TIMEOUT, Site

VECTOR = b"0.1,0.9,0.3,0.2"

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


def in_threads(count: int, send: Callable[[int], int]) -> list[int]:
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(send, range(count)))


def test_four_threads_with_one_auth_and_the_same_picture_are_all_answered(site: Site) -> None:
    auth, url = PowAuth(site.key("same-auth")), site.server.url("eager")

    def send(number: int) -> int:
        answers = [requests.post(url, data=site.picture, auth=auth, timeout=TIMEOUT) for _ in range(3)]
        return sum(answer.status_code == 200 for answer in answers)

    assert in_threads(4, send) == [3] * 4
    assert site.history("same-auth", "eager").queries == 1, "it is one sample"


def test_separate_clients_of_one_key_with_the_same_picture_are_all_answered(site: Site) -> None:
    key = site.key("separate")
    assert in_threads(8, lambda number: site.paid("eager", site.picture, key).status_code) == [200] * 8
    assert site.history("separate", "eager").queries == 1, "it is one sample"


def test_a_hundred_tasks_with_the_same_picture_are_all_answered(site: Site) -> None:
    statuses: list[int] = []
    # As many connections as TorchServe's queue of a model takes.
    limits = httpx.Limits(max_connections=50)

    async def send(client: httpx.AsyncClient) -> None:
        answer = await client.post(site.server.url("eager"), content=site.picture)
        statuses.append(answer.status_code)

    async def send_all() -> None:
        auth = HttpxPowAuth(site.key("hundred"))
        async with (
            httpx.AsyncClient(auth=auth, timeout=120.0, limits=limits) as client,
            anyio.create_task_group() as tasks,
        ):
            for _ in range(100):
                tasks.start_soon(send, client)

    anyio.run(send_all)
    assert statuses == [200] * 100
    assert site.history("hundred", "eager").queries == 1, "it is one sample"


def test_copies_of_one_file_are_all_answered_by_the_command(site: Site, tmp_path: Path) -> None:
    files = [tmp_path / f"{number}.png" for number in range(12)]
    for file in files:
        file.write_bytes(site.picture)
    done = subprocess.run(
        [sys.executable, "-m", "calpow.client", "predict", site.server.url("eager"), *map(str, files), "--jobs", "4"],
        capture_output=True,
        text=True,
        env={**os.environ, "CALPOW_KEY": site.key("copies")},
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["status"] for line in done.stdout.splitlines()] == [200] * 12
    assert site.history("copies", "eager").queries == 1, "it is one sample"


def challenge_for(site: Site, key: str) -> Challenge:
    return Challenge.from_problem(site.raw("vector", VECTOR, key).content)


def curl(site: Site, key: str, solution: str) -> "subprocess.Popen[bytes]":
    """Start a process that sends the vector with a solution; it prints the body and the status."""
    command = ["curl", "-sS", "-m", "60", "-w", "%{http_code}", "--data-binary", VECTOR.decode()]
    command += ["-H", "Content-Type: application/octet-stream"]
    command += ["-H", f"X-Api-Key: {key}", "-H", f"PoW-Solution: {solution}", site.server.url("vector")]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


@needs_curl
@pytest.mark.parametrize("share", ["challenge", "nothing"])
def test_two_processes_that_solve_a_challenge_each_for_the_same_request_are_both_answered(
    site: Site, share: str
) -> None:
    """Whether they share the challenge, by a cache or by a script, or not: the stamps of two solvers differ."""
    account = f"two-processes-{share}"
    key = site.key(account)
    challenge = challenge_for(site, key)
    challenges = [challenge, challenge if share == "challenge" else challenge_for(site, key)]
    solutions = [format_solution(challenge.token, solve(challenge.puzzle)) for challenge in challenges]
    assert solutions[0] != solutions[1]
    processes = [curl(site, key, solution) for solution in solutions]
    assert [process.communicate()[0][-3:] for process in processes] == [b"200"] * 2
    assert site.history(account).queries == 1


def test_more_processes_than_a_solution_serves_are_asked_for_the_floor_and_answered(site: Site) -> None:
    account = "nine-processes"
    key = site.key(account)
    challenge = challenge_for(site, key)
    solution = format_solution(challenge.token, solve(challenge.puzzle))

    def send(number: int) -> int:
        answer = site.raw("vector", VECTOR, key, solution)
        if answer.status_code == 200:
            return 200
        again = Challenge.from_problem(answer.content)
        assert again.puzzle.expected_hashes == challenge.puzzle.expected_hashes
        paid = format_solution(again.token, solve(again.puzzle))
        return 1 + site.raw("vector", VECTOR, key, paid).status_code

    assert sorted(in_threads(9, send)) == [200] * 5 + [201] * 4
    assert site.history(account).queries == 1
