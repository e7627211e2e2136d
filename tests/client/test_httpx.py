"""What only httpx has: its bodies, its redirects, its event loops."""

import io
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from calpow.client import BodyNotRewindable
from calpow.client.httpx import PowAuth
from calpow.puzzle.solving.solver import Progress
from tests.support.pow_server import PowServer, running

KEY = "cp_1_secret"
BODY = bytes(range(256)) * 600


@pytest.fixture
def server() -> Iterator[PowServer]:
    with running(PowServer()) as server:
        yield server


def post(server: PowServer, path: str, **options: Any) -> httpx.Response:
    return httpx.post(f"{server.url}/{path}", auth=PowAuth(KEY), timeout=30, **options)


class Parts:
    """A collection of parts, read from the start every time."""

    def __iter__(self) -> Iterator[bytes]:
        return iter([BODY[:1000], BODY[1000:]])


class AsyncParts:
    """The same for an AsyncClient."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield BODY[:1000]
        yield BODY[1000:]


class OnceOnly(io.RawIOBase):
    """A stream like a pipe's."""

    def readable(self) -> bool:
        return True


@pytest.mark.parametrize(
    "make",
    [
        lambda: {"content": BODY},
        lambda: {"content": "text"},
        lambda: {"content": io.BytesIO(BODY)},
        lambda: {"content": Parts()},
        lambda: {"data": {"a": "b"}},
        lambda: {"json": {"a": 1}},
        lambda: {"files": {"data": io.BytesIO(BODY)}},
        lambda: {"files": {"data": BODY}, "data": {"a": "b"}},
        dict,
    ],
    ids=["bytes", "str", "BytesIO", "parts", "form", "json", "file", "files", "empty"],
)
def test_any_body_that_can_be_read_twice_arrives_twice_the_same(
    server: PowServer, make: Callable[[], dict[str, Any]]
) -> None:
    response = post(server, "paid", **make())
    first, second = server.seen
    assert response.status_code == 200
    assert response.content == first.body == second.body
    assert [first.headers.get(name) for name in ("content-length", "content-type")] == [
        second.headers.get(name) for name in ("content-length", "content-type")
    ]


def test_a_file_is_sent_again_when_its_request_is(server: PowServer, tmp_path: Path) -> None:
    path = tmp_path / "payload"
    path.write_bytes(BODY)
    with path.open("rb") as file, httpx.Client(auth=PowAuth(KEY), timeout=30) as client:
        request = client.build_request("POST", f"{server.url}/paid", content=file)
        for _ in range(2):
            response = client.send(request)
            assert response.status_code == 200
    assert [seen.body for seen in server.seen] == [BODY] * 4


def test_a_large_file_is_not_gathered_in_memory(server: PowServer, tmp_path: Path) -> None:
    with (tmp_path / "payload").open("w+b") as file:
        file.truncate(1 << 20)
        with httpx.Client(auth=PowAuth(KEY), timeout=30) as client:
            response = client.post(f"{server.url}/paid", content=file)
    assert [len(seen.body) for seen in server.seen] == [1 << 20] * 2
    with pytest.raises(httpx.RequestNotRead):
        _ = response.request.content


@pytest.mark.parametrize("make", [lambda: (part for part in [BODY]), lambda: map(bytes, [BODY]), OnceOnly])
def test_a_body_that_can_be_read_once_is_refused_before_anything_is_sent(
    server: PowServer, make: Callable[[], Any]
) -> None:
    for options in ({"content": make()}, {"files": {"data": make()}}):
        if "files" in options and not isinstance(options["files"]["data"], io.RawIOBase):
            continue  # httpx takes files alone
        with pytest.raises(BodyNotRewindable, match="read it into bytes"):
            post(server, "paid", **options)
    assert server.seen == []


def test_parts_of_an_asynchronous_body_are_sent_twice(server: PowServer) -> None:
    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(auth=PowAuth(KEY), timeout=30) as client:
            return await client.post(f"{server.url}/paid", content=AsyncParts())

    assert anyio.run(ask).content == BODY


def test_an_asynchronous_file_is_refused(server: PowServer, tmp_path: Path) -> None:
    (tmp_path / "payload").write_bytes(BODY)

    async def ask() -> None:
        async with httpx.AsyncClient(auth=PowAuth(KEY)) as client, await anyio.open_file(tmp_path / "payload") as file:
            await client.post(f"{server.url}/paid", content=file)  # type: ignore[arg-type]

    with pytest.raises(BodyNotRewindable):
        anyio.run(ask)


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
    assert server.seen[-1].headers["cookie"] == "own=1; route=a"


def test_the_request_after_a_redirect_that_is_not_followed_holds_no_key(server: PowServer) -> None:
    with running(PowServer()) as stranger, httpx.Client(auth=PowAuth(KEY), timeout=30) as client:
        server.target = f"{stranger.url}/free"
        response = client.post(f"{server.url}/paid-moved", content=BODY)
        assert response.next_request is not None
        assert client.send(response.next_request, auth=None).content == BODY
        (request,) = stranger.seen
    assert {"x-api-key", "pow-solution"}.isdisjoint(request.headers)


def test_the_caller_s_own_trace_is_called_and_left_as_it_was(server: PowServer) -> None:
    told: list[str] = []

    def trace(event: str, info: dict[str, Any]) -> None:
        told.append(event)

    with httpx.Client(auth=PowAuth(KEY), timeout=30) as client:
        response = client.post(f"{server.url}/paid", extensions={"trace": trace})
    assert told.count("http11.send_request_headers.started") == 2
    assert response.request.extensions["trace"] is trace
    assert "trace" not in post(server, "paid").request.extensions


def test_a_key_goes_through_a_proxy(server: PowServer) -> None:
    with httpx.Client(auth=PowAuth(KEY), proxy=server.url, timeout=30) as client:
        assert client.post("http://model.test/paid", content=BODY).content == BODY
    assert [(seen.path, seen.headers["x-api-key"]) for seen in server.seen] == [("http://model.test/paid", KEY)] * 2


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_cancelling_the_task_ends_the_work_at_once(server: PowServer, backend: str) -> None:
    server.lifetime = 1e6
    steps: list[float] = []

    def watch(step: Progress) -> None:
        steps.append(time.monotonic())

    auth = PowAuth(KEY, progress=watch, max_hashes=2**40, max_seconds=1e6)

    async def ask() -> float:
        async with httpx.AsyncClient(auth=auth, timeout=30) as client:
            with anyio.move_on_after(0.5) as scope:
                await client.post(f"{server.url}/slow", content=BODY)
            assert scope.cancelled_caught
            ended = time.monotonic()
            await anyio.sleep(4)
            return ended

    began = time.monotonic()
    ended = anyio.run(ask, backend=backend)
    assert ended - began < 2
    assert len([step for step in steps if step > ended]) <= 1
    assert len(server.seen) == 1


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_event_loop_goes_on_while_a_puzzle_is_solved(server: PowServer, backend: str) -> None:
    server.bits, server.count = 20, 30
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await anyio.sleep(0.01)
            ticks += 1

    async def ask() -> None:
        async with httpx.AsyncClient(auth=PowAuth(KEY), timeout=30) as client, anyio.create_task_group() as group:
            group.start_soon(tick)
            assert (await client.post(f"{server.url}/paid", content=BODY)).status_code == 200
            group.cancel_scope.cancel()

    anyio.run(ask, backend=backend)
    assert ticks >= 3


def test_waiting_for_a_busy_server_can_be_cancelled(server: PowServer) -> None:
    server.retry_after = "20"

    async def ask() -> bool:
        async with httpx.AsyncClient(auth=PowAuth(KEY), timeout=30) as client:
            with anyio.move_on_after(0.2) as scope:
                await client.post(f"{server.url}/busy", content=BODY)
            return scope.cancelled_caught

    began = time.monotonic()
    assert anyio.run(ask)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("make", [lambda: BODY, lambda: io.BytesIO(BODY)])
def test_after_a_lost_connection_the_same_solution_can_be_sent_again(
    server: PowServer, make: Callable[[], Any]
) -> None:
    with httpx.Client(auth=PowAuth(KEY), timeout=30) as client:
        with pytest.raises(httpx.TransportError) as caught:
            client.post(f"{server.url}/lost", content=make())
        assert client.send(caught.value.request, auth=None).content == BODY
    first, second = server.seen[-2:]
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
    assert last == f"ModuleNotFoundError: calpow.client.httpx needs {missing}: pip install 'calpow[httpx]'"
