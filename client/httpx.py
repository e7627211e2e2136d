"""Proof-of-work authentication for httpx. `key`, `url` and `image` are yours:

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

One PowAuth for many requests: it remembers what answers cost.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

try:
    import anyio
    import anyio.to_thread
    import httpx
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"calpow.client.httpx needs {error.name}: pip install 'calpow[httpx]'", name=error.name
    ) from error

from calpow.client.errors import ClientError, in_tree_of
from calpow.client.protocol.exchange import (
    DEFAULT_MAX_HASHES,
    DEFAULT_MAX_SECONDS,
    DEFAULT_MAX_WAIT,
    Exchange,
    Limits,
    Payer,
    Solve,
    Wait,
)
from calpow.client.protocol.origin import same_origin
from calpow.client.protocol.reply import Reply, reads_body
from calpow.client.protocol.work import pause, perform
from calpow.client.streams import rewinding
from calpow.puzzle.solving.solver import Progress
from calpow.puzzle.wire import KEY_HEADER, SOLUTION_HEADER

_HEADERS_EVENT = "send_request_headers.started"


class PowAuth(httpx.Auth):
    """Sends the API key, and pays for an answer when the server asks for work (status 402).

    The first request then becomes two, and `response.history` holds the 402. Every answer says what the next one takes.
    This is paid beforehand, which saves that round trip: stamps are minted before asking, and from the second request
    to a URL on in the background, while the client waits or does something else. The body may be anything that can be
    read twice, and is not gathered in memory; a generator raises BodyNotRewindable before anything is sent. One object
    serves any number of requests, clients, threads and tasks.

    In an AsyncClient the work is done in a thread, off the event loop (asyncio or trio), and ends at once when the
    task is cancelled.

    A solution that is refused (say, because it expired while it was solved) brings a new challenge, and one that is too
    little a challenge for the rest. These are solved as well, until `max_hashes` or `max_seconds` ends it, or httpx,
    which counts them as redirects (`max_redirects`, 20 if not given). A busy server that says `Retry-After` (429, 503)
    is asked again then. A 402 without a challenge is returned as it is, and so is every other status. When a redirect
    leaves the origin asked for, the key stays behind and challenges are not solved; with `follow_redirects=True` this
    needs httpx's own transports. After an error of the connection nothing is sent again. You may:
    `client.send(error.request, auth=None)` sends the same request with the same solution, for which the server repeats
    within ten minutes what it has settled, so that nothing is paid twice.

    key: the API key; None sends none, for servers that know their callers by other means.
    max_hashes: the most expected hashes one request may cost in all; beyond it, WorkLimitExceeded is raised
        before the work that would exceed it.
    max_seconds: the most seconds of solving for one request; beyond it, TimeLimitExceeded. The round trip of a
        refused solution counts, as one second at most.
    max_wait: the most seconds to wait for a busy server; the response that asks for more is returned as it is.
    progress: told the Progress before the first stamp and after each, in the thread that does the work.
        What it raises ends the work and reaches the caller.

    Every error of its own is a ClientError: an httpx.RequestError and a CalpowError.
    """

    def __init__(
        self,
        key: str | None,
        *,
        max_hashes: int = DEFAULT_MAX_HASHES,
        max_seconds: float = DEFAULT_MAX_SECONDS,
        max_wait: float = DEFAULT_MAX_WAIT,
        progress: Callable[[Progress], None] | None = None,
    ) -> None:
        with _errors_of_httpx():
            self._payer = Payer(key, Limits(max_hashes, max_seconds, max_wait))
        self._progress = progress

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Send one request until it is answered; called by httpx.Client."""
        sending = _Sending(self._payer, request)
        step = sending.start()
        while True:
            if step is not None:
                with sending.errors():
                    self._perform(sending.exchange, step)
            response = yield sending.next_request(_guarded)
            if sending.reads(response):
                response.read()
            step = sending.receive(response)
            if step is None:
                return

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Send one request until it is answered; called by httpx.AsyncClient."""
        sending = _Sending(self._payer, request)
        step = sending.start()
        while True:
            if step is not None:
                with sending.errors():
                    await self._perform_in_thread(sending.exchange, step)
            response = yield sending.next_request(_guarded_async)
            if sending.reads(response):
                await response.aread()
            step = sending.receive(response)
            if step is None:
                return

    def _perform(self, exchange: Exchange, step: Solve | Wait) -> None:
        if isinstance(step, Wait):
            pause(step.seconds, None)
        else:
            perform(exchange, step, progress=self._progress)

    async def _perform_in_thread(self, exchange: Exchange, step: Solve | Wait) -> None:
        if isinstance(step, Wait):
            await anyio.sleep(step.seconds)
            return
        cancel = threading.Event()
        work = partial(perform, exchange, step, progress=self._progress, cancel=cancel)
        try:
            await anyio.to_thread.run_sync(work, abandon_on_cancel=True)
        finally:
            cancel.set()


_Trace = Callable[[str, dict[str, Any]], Any]
_Guard = Callable[["httpx.Request", "_Trace | None"], _Trace]


class _Sending:
    """One request on its way through an auth flow: what the flows of both kinds of client share."""

    def __init__(self, payer: Payer, request: httpx.Request) -> None:
        self._home = str(request.url)
        self._request = request
        self._response: httpx.Response | None = None
        self._trace: _Trace | None = request.extensions.get("trace")
        self.exchange = Exchange(payer, self._home)

    def start(self) -> Solve | Wait | None:
        """What to do before sending."""
        with self.errors():
            self._request.stream = rewinding(self._request.stream)
            return self.exchange.start()

    def next_request(self, guard: _Guard) -> httpx.Request:
        """The request to send next, with what pays for it."""
        request = self._request
        if self._response is not None:
            request = _copy(self._response.request)
            _renew_cookies(request, self._response)
        request.headers.pop(SOLUTION_HEADER, None)
        request.headers.update(self.exchange.headers)
        request.extensions = {**request.extensions, "trace": guard(request, self._trace)}
        self._request = request
        return request

    def reads(self, response: httpx.Response) -> bool:
        """Whether its body has to be read before `receive`."""
        return reads_body(response.status_code) and self._is_home(response.request)

    def receive(self, response: httpx.Response) -> Solve | Wait | None:
        """What to do about it; None is to hand it over."""
        self._response = response
        if response.request is not self._request:  # `_strip_elsewhere` took the solution from it
            self.exchange.lose_solution()
        if self._is_home(response.request):
            with self.errors():
                step = self.exchange.receive(_reply(response))
            if step is not None:
                return step
        self._let_go(response)
        return None

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Make what is raised an error of httpx, with the request and the response it is about."""
        with _errors_of_httpx(self._request, self._response):
            yield

    def _is_home(self, request: httpx.Request) -> bool:
        return same_origin(self._home, str(request.url))

    def _let_go(self, response: httpx.Response) -> None:
        """Leave no trace of ours, and no key in a request that the caller might send elsewhere."""
        following = response.next_request
        if following is not None:
            following.headers.pop(SOLUTION_HEADER, None)
            if not self._is_home(following):
                following.headers.pop(KEY_HEADER, None)
        for request in (self._request, response.request, following):
            if request is not None:
                traced = {} if self._trace is None else {"trace": self._trace}
                others = {name: value for name, value in request.extensions.items() if name != "trace"}
                request.extensions = {**others, **traced}


def _guarded(request: httpx.Request, trace: _Trace | None) -> _Trace:
    """Keep the headers of a request on its way, which httpx would copy to wherever a redirect leads.

    `trace` is httpx's documented extension: told of every event of the transport, also of redirected requests.
    """

    def guard(event: str, info: dict[str, Any]) -> None:
        if event.endswith(_HEADERS_EVENT):
            _strip_elsewhere(request, info["request"])
        if trace is not None:
            trace(event, info)

    return guard


def _guarded_async(request: httpx.Request, trace: _Trace | None) -> _Trace:
    async def guard(event: str, info: dict[str, Any]) -> None:
        if event.endswith(_HEADERS_EVENT):
            _strip_elsewhere(request, info["request"])
        if trace is not None:
            await trace(event, info)

    return guard


def _strip_elsewhere(meant: httpx.Request, sent: Any) -> None:
    """Take from a request of the transport what is not meant for where it goes: the key, or the solution alone."""
    target: bytes = sent.url.target
    whole = target if target.startswith(b"http") else bytes(sent.url)  # a proxy is asked for the whole URL
    to = httpx.URL(whole.decode("ascii"))
    drop = set()
    if to.raw_path != meant.url.raw_path:
        drop = {SOLUTION_HEADER}
    if not same_origin(str(meant.url), str(to)):
        drop = {KEY_HEADER, SOLUTION_HEADER}
    names = {name.lower().encode("ascii") for name in drop}
    sent.headers[:] = [(name, value) for name, value in sent.headers if name.lower() not in names]


def _copy(request: httpx.Request) -> httpx.Request:
    return httpx.Request(
        request.method,
        request.url,
        headers=request.headers,
        stream=request.stream,
        extensions=request.extensions,
    )


def _reply(response: httpx.Response) -> Reply:
    body = response.content if reads_body(response.status_code) else b""
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Reply(response.status_code, headers, body, response.reason_phrase)


@contextmanager
def _errors_of_httpx(request: httpx.Request | None = None, response: httpx.Response | None = None) -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        raise in_tree_of(httpx.RequestError, error, request=request, response=response) from error.__cause__


def _renew_cookies(request: httpx.Request, response: httpx.Response) -> None:
    """Send the cookies that came with a response beside those of the request."""
    fresh = httpx.Request("GET", request.url)
    httpx.Cookies(response.cookies).set_cookie_header(fresh)
    if "Cookie" in fresh.headers:
        pairs = [*_pairs(request.headers.get("Cookie", "")), *_pairs(fresh.headers["Cookie"])]
        request.headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in dict(pairs).items())


def _pairs(cookie: str) -> list[tuple[str, str]]:
    return [(name, value) for name, _, value in (part.partition("=") for part in cookie.split("; ") if part)]
