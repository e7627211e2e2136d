"""PowAuth for httpx: its responses, redirects, traces and event loops."""

import io
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import anyio
import httpx
import pytest

from calpow.client.httpx import PowAuth
from calpow.puzzle.installation import install_command
from tests.support.pow_server import PowServer, running

KEY = "cp_1_secret"
BODY = bytes(range(256)) * 600


def post(server: PowServer, path: str, **options: Any) -> httpx.Response:
    return httpx.post(f"{server.url}/{path}", auth=PowAuth(KEY), timeout=30, **options)


def test_both_responses_know_their_own_request(server: PowServer) -> None:
    response = post(server, "paid", content=BODY)
    (challenged,) = response.history
    assert "PoW-Solution" not in challenged.request.headers
    assert response.request.headers["PoW-Solution"].startswith(challenged.json()["challenge"]["token"])


def test_a_streamed_answer_is_left_to_the_caller_to_read(server: PowServer) -> None:
    with httpx.Client(auth=PowAuth(KEY), timeout=30) as client:  # noqa: SIM117
        with client.stream("POST", f"{server.url}/paid", content=BODY) as response:
            assert not response.is_stream_consumed
            assert b"".join(response.iter_bytes(1000)) == BODY


def test_cookies_of_a_challenge_go_beside_the_client_s_own(server: PowServer) -> None:
    with httpx.Client(auth=PowAuth(KEY), cookies={"own": "1"}, timeout=30) as client:
        assert client.post(f"{server.url}/cookie").status_code == 200
    assert server.requests[-1].headers["cookie"] == "own=1; route=a"


def test_the_request_after_a_redirect_that_is_not_followed_holds_no_key(server: PowServer) -> None:
    with running(PowServer()) as stranger, httpx.Client(auth=PowAuth(KEY), timeout=30) as client:
        server.target = f"{stranger.url}/free"
        response = client.post(f"{server.url}/paid-moved", content=BODY)
        assert response.next_request is not None
        assert client.send(response.next_request, auth=None).content == BODY
        (request,) = stranger.requests
    assert {"x-api-key", "pow-solution"}.isdisjoint(request.headers)


def test_the_caller_s_own_trace_is_called_and_left_as_it_was(server: PowServer) -> None:
    events: list[str] = []

    def trace(event: str, info: dict[str, Any]) -> None:
        events.append(event)

    with httpx.Client(auth=PowAuth(KEY), timeout=30) as client:
        response = client.post(f"{server.url}/paid", extensions={"trace": trace})
    assert events.count("http11.send_request_headers.started") == 2
    assert response.request.extensions["trace"] is trace
    assert "trace" not in post(server, "paid").request.extensions


def test_a_key_goes_through_a_proxy(server: PowServer) -> None:
    with httpx.Client(auth=PowAuth(KEY), proxy=server.url, timeout=30) as client:
        assert client.post("http://model.test/paid", content=BODY).content == BODY
    assert server.paths() == ["http://model.test/paid"] * 2
    assert [request.headers["x-api-key"] for request in server.requests] == [KEY] * 2


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_cancelling_the_task_ends_the_work_at_once(server: PowServer, backend: str) -> None:
    server.lifetime = 1e6
    began = threading.Event()
    auth = PowAuth(KEY, progress=lambda _: began.set(), max_hashes=2**40, max_seconds=1e6)

    async def cpu_seconds_after_cancelling() -> float:
        async with httpx.AsyncClient(auth=auth, timeout=30) as client:
            with anyio.move_on_after(0.3) as scope:
                await client.post(f"{server.url}/slow", content=BODY)
            assert scope.cancelled_caught
            await anyio.sleep(0.1)
            used = time.process_time()
            await anyio.sleep(0.5)
            return time.process_time() - used

    assert anyio.run(cpu_seconds_after_cancelling, backend=backend) < 0.25  # a solver would use 0.5 and more
    assert began.is_set()
    assert len(server.requests) == 1


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_event_loop_goes_on_while_a_puzzle_is_solved(server: PowServer, backend: str) -> None:
    server.bits, server.count = 20, 30
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await anyio.sleep(0.01)
            ticks += 1

    async def post_once() -> None:
        async with httpx.AsyncClient(auth=PowAuth(KEY), timeout=30) as client, anyio.create_task_group() as group:
            group.start_soon(tick)
            assert (await client.post(f"{server.url}/paid", content=BODY)).status_code == 200
            group.cancel_scope.cancel()

    anyio.run(post_once, backend=backend)
    assert ticks >= 3


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_stamps_of_a_request_that_was_cancelled_are_not_sent_with_another(server: PowServer, backend: str) -> None:
    async def post_three() -> list[int]:
        async with httpx.AsyncClient(auth=PowAuth(KEY), timeout=30) as client:
            await client.post(f"{server.url}/priced", content=b"0")
            server.delay = 1.0
            with anyio.move_on_after(0.3) as scope:
                await client.post(f"{server.url}/priced", content=b"1")
            assert scope.cancelled_caught
            server.delay = 0.0
            response = await client.post(f"{server.url}/priced", content=b"2")
            return [response.status_code, len(response.history)]

    assert anyio.run(post_three, backend=backend) == [200, 0]
    solutions = [request.headers["pow-solution"].split()[1:] for request in server.requests[-2:]]
    assert not set(solutions[0]) & set(solutions[1])


def test_waiting_for_a_busy_server_can_be_cancelled(server: PowServer) -> None:
    server.retry_after = "20"

    async def post_once() -> bool:
        async with httpx.AsyncClient(auth=PowAuth(KEY), timeout=30) as client:
            with anyio.move_on_after(0.2) as scope:
                await client.post(f"{server.url}/busy", content=BODY)
            return scope.cancelled_caught

    began = time.monotonic()
    assert anyio.run(post_once)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("make", [lambda: BODY, lambda: io.BytesIO(BODY)])
def test_after_a_lost_connection_the_same_solution_can_be_sent_again(
    server: PowServer, make: Callable[[], Any]
) -> None:
    with httpx.Client(auth=PowAuth(KEY), timeout=30) as client:
        with pytest.raises(httpx.TransportError) as caught:
            client.post(f"{server.url}/lost", content=make())
        assert client.send(caught.value.request, auth=None).content == BODY
    first, second = server.requests[-2:]
    assert first.headers["pow-solution"] == second.headers["pow-solution"]
    assert first.body == second.body == BODY


def test_the_client_needs_no_httpx() -> None:
    program = "import sys; sys.modules['httpx'] = None; import calpow.client, calpow.client.cli.main"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_importing_the_client_does_not_import_httpx() -> None:
    program = "import sys, calpow.client; sys.exit('httpx' in sys.modules or 'anyio' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("missing", ["anyio", "httpx"])
def test_without_the_extra_the_import_says_what_to_install(missing: str) -> None:
    program = f"import sys; sys.modules[{missing!r}] = None; import calpow.client.httpx"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    last = done.stderr.splitlines()[-1]
    assert last == f"ModuleNotFoundError: calpow.client.httpx needs {missing}: {install_command('httpx')}"
