"""Proof-of-work authentication for httpx. In this example, `key`, `url` and `image` are yours:

    import asyncio
    import httpx
    from calpow.client.httpx import PowAuth

    with httpx.Client(auth=PowAuth(key)) as client:
        answer = client.post(url, content=image)
        answer.raise_for_status()

    async def ask():
        async with httpx.AsyncClient(auth=PowAuth(key)) as client:
            return await client.post(url, content=image)

    answer = asyncio.run(ask())

Use one PowAuth for many requests: it remembers what answers cost.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from calpow.puzzle.installation import install_command

try:
    import anyio
    import anyio.to_thread
    import httpx
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"calpow.client.httpx needs {error.name}: {install_command('httpx')}", name=error.name
    ) from error

from calpow.client.auth import AsyncPowAuth, perform
from calpow.client.caller import IDENTITY_HEADERS
from calpow.client.errors import ClientError
from calpow.client.protocol.exchange import FoundStamps, Solve, Wait
from calpow.client.protocol.origin import same_origin
from calpow.client.reply import Reply, needs_body
from calpow.client.streams import rewinding_stream
from calpow.puzzle.wire import SOLUTION_HEADER

_HEADERS_EVENT = "send_request_headers.started"
_Trace = Callable[[str, dict[str, Any]], Any]


class PowAuth(AsyncPowAuth, httpx.Auth):
    """Proof-of-work authentication for httpx: `httpx.Client(auth=PowAuth(key))`, and the same with AsyncClient.

    PowAuth sends the API key or token, and does the work that a server asks for with status 402. The request is then
    sent again with the solution, and `response.history` holds the 402. Every answer announces the work of the next one.
    PowAuth does it beforehand, which saves that round trip: it mints stamps before it sends a request and, from the
    second request to a URL on, in a background thread while the client waits or is idle. Use one PowAuth for many
    requests, since it remembers what answers cost; any number of clients, threads and tasks can share it.

    In an AsyncClient the work is done in a thread, off the event loop (asyncio or trio), and ends at once when the
    task is cancelled.

    The body may be anything that can be read twice, and is not gathered in memory; a generator raises
    BodyNotRewindable before anything is sent.

    A solution may be refused, for example because it expired while it was computed, or be too little work. The server
    then sends another challenge, which is solved as well, until `max_hashes` or `max_seconds` is reached. httpx counts
    the requests that are sent again as redirects (`max_redirects`, 20 if not given). A request to a busy server (429 or
    503) is sent again after the time that `Retry-After` gives. Every other response is returned as it is, also a 402
    without a challenge. When a redirect leaves the origin of the request, the key is not sent there, and no challenge
    is solved; with `follow_redirects=True` this needs httpx's own transports.

    After a connection error PowAuth sends nothing again. `client.send(error.request, auth=None)` sends the request with
    the same solution: for ten minutes the server repeats the outcome that it has settled, so that nothing is paid
    twice.

    key: the API key; None sends none, for servers that identify callers by other means.
    token: instead of a key, a token of an identity provider, or a function that returns a fresh one. It is called
        before each sending, in an AsyncClient on the event loop; what it raises reaches the caller.
    max_hashes: the most expected hashes for one request in all. A challenge that would exceed it is not solved, and
        WorkLimitExceeded is raised.
    max_seconds: the most seconds of solving for one request; TimeLimitExceeded is raised beyond it. The round trip of
        a refused solution counts, as one second at most.
    max_wait: the most seconds to wait for a busy server; a response that asks for more is returned as it is.
    progress: called with a Progress before the first stamp and after each, in the thread that does the work. An
        exception that it raises ends the work and reaches the caller.

    The errors that PowAuth raises are ClientErrors: each is an httpx.RequestError and a CalpowError.
    """

    _library_error = httpx.RequestError

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Yield one request until it is answered. Called by httpx.Client."""
        flow = _Flow(request, _guarding_trace)
        with self._errors_of(flow):
            flow.make_rewindable()
            actions = self._exchange(flow.home).run()
            send = self._next_send(actions)
            while send is not None:
                response = yield flow.next_request(send.headers)
                if flow.needs_body(response):
                    response.read()
                reply = flow.receive(response)
                send = self._next_send(actions, reply) if reply is not None else None
            flow.finish()

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Yield one request until it is answered. Called by httpx.AsyncClient."""
        flow = _Flow(request, _guarding_async_trace)
        with self._errors_of(flow):
            flow.make_rewindable()
            actions = self._exchange(flow.home).run()
            send = await self._next_send_async(actions)
            while send is not None:
                response = yield flow.next_request(send.headers)
                if flow.needs_body(response):
                    await response.aread()
                reply = flow.receive(response)
                send = await self._next_send_async(actions, reply) if reply is not None else None
            flow.finish()

    async def _perform_async(self, action: Solve | Wait) -> FoundStamps | None:
        if isinstance(action, Wait):
            await anyio.sleep(action.seconds)
            return None
        cancel = threading.Event()
        try:
            return await anyio.to_thread.run_sync(perform, action, self._progress, cancel, abandon_on_cancel=True)
        finally:
            cancel.set()

    @contextmanager
    def _errors_of(self, flow: _Flow) -> Iterator[None]:
        """Raise ClientErrors as errors of httpx, with the request and the response that they are about."""
        try:
            yield
        except ClientError as error:
            raise self._as_library_error(error, flow.request, flow.response) from error.__cause__


class _Flow:
    """One request on its way through an auth flow, and the last response to it.

    Errors of the connection reach the caller, and nothing is sent again: see docs/decisions/0031.

    guarding_trace: creates the trace extension of a request to send, from the request and the caller's own trace.
    """

    def __init__(
        self, request: httpx.Request, guarding_trace: Callable[[httpx.Request, _Trace | None], _Trace]
    ) -> None:
        self.home = str(request.url)
        self.request = request
        self.response: httpx.Response | None = None
        self._guarding_trace = guarding_trace
        self._trace: _Trace | None = request.extensions.get("trace")

    def make_rewindable(self) -> None:
        """Let the body be sent any number of times. Raises BodyNotRewindable."""
        self.request.stream = rewinding_stream(self.request.stream)

    def next_request(self, headers: Mapping[str, str]) -> httpx.Request:
        """Return the request to send next, with these headers."""
        request = self.request
        if self.response is not None:
            request = _copy(self.response.request)
            _renew_cookies(request, self.response)
        request.headers.pop(SOLUTION_HEADER, None)
        request.headers.update(headers)
        request.extensions = {**request.extensions, "trace": self._guarding_trace(request, self._trace)}
        self.request = request
        return request

    def needs_body(self, response: httpx.Response) -> bool:
        """Return whether the body of a response has to be read before `receive`."""
        return needs_body(response.status_code) and self._is_home(response.request)

    def receive(self, response: httpx.Response) -> Reply | None:
        """Return the parts of a response that the protocol reads; None if it is from another origin."""
        self.response = response
        if not self._is_home(response.request):
            return None
        body = response.content if needs_body(response.status_code) else b""
        headers = {name.lower(): value for name, value in response.headers.items()}
        # A redirected request went without the solution: `_remove_headers` took it away.
        solution = self.request.headers.get(SOLUTION_HEADER) if response.request is self.request else None
        return Reply(response.status_code, headers, body, response.reason_phrase, solution)

    def finish(self) -> None:
        """Remove our trace from the requests, and the key from one that the caller might send to another origin."""
        if self.response is None:
            return
        following = self.response.next_request
        if following is not None:
            following.headers.pop(SOLUTION_HEADER, None)
            if not self._is_home(following):
                for name in IDENTITY_HEADERS:
                    following.headers.pop(name, None)
        for request in (self.request, self.response.request, following):
            if request is not None:
                callers = {} if self._trace is None else {"trace": self._trace}
                others = {name: value for name, value in request.extensions.items() if name != "trace"}
                request.extensions = {**others, **callers}

    def _is_home(self, request: httpx.Request) -> bool:
        return same_origin(self.home, str(request.url))


def _guarding_trace(request: httpx.Request, trace: _Trace | None) -> _Trace:
    """Return a trace that keeps the headers of a request from other URLs, to which httpx copies them in a redirect.

    The trace extension is called with every event of the transport, also those of redirected requests.
    """

    def guard(event: str, info: dict[str, Any]) -> None:
        if event.endswith(_HEADERS_EVENT):
            _remove_headers(request, info["request"])
        if trace is not None:
            trace(event, info)

    return guard


def _guarding_async_trace(request: httpx.Request, trace: _Trace | None) -> _Trace:
    async def guard(event: str, info: dict[str, Any]) -> None:
        if event.endswith(_HEADERS_EVENT):
            _remove_headers(request, info["request"])
        if trace is not None:
            await trace(event, info)

    return guard


def _remove_headers(request: httpx.Request, sent: Any) -> None:
    """Remove what is not for the URL of a request of the transport: identity and solution, or the solution alone."""
    target: bytes = sent.url.target
    whole = target if target.startswith(b"http") else bytes(sent.url)  # for a proxy, the target is the whole URL
    url = httpx.URL(whole.decode("ascii"))
    unwanted = set()
    if url.raw_path != request.url.raw_path:
        unwanted = {SOLUTION_HEADER}
    if not same_origin(str(request.url), str(url)):
        unwanted = {*IDENTITY_HEADERS, SOLUTION_HEADER}
    names = {name.lower().encode("ascii") for name in unwanted}
    sent.headers[:] = [(name, value) for name, value in sent.headers if name.lower() not in names]


def _copy(request: httpx.Request) -> httpx.Request:
    return httpx.Request(
        request.method,
        request.url,
        headers=request.headers,
        stream=request.stream,
        extensions=request.extensions,
    )


def _renew_cookies(request: httpx.Request, response: httpx.Response) -> None:
    """Add the cookies of a response to those of the request."""
    fresh = httpx.Request("GET", request.url)
    httpx.Cookies(response.cookies).set_cookie_header(fresh)
    if "Cookie" in fresh.headers:
        pairs = [*_pairs(request.headers.get("Cookie", "")), *_pairs(fresh.headers["Cookie"])]
        request.headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in dict(pairs).items())


def _pairs(cookie: str) -> list[tuple[str, str]]:
    parts = (part.partition("=") for part in cookie.split("; ") if part)
    return [(name, value) for name, _, value in parts]
