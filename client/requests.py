"""Proof-of-work authentication for requests. In this example, `key`, `url` and `image` are yours:

    import requests
    from calpow.client import PowAuth

    with requests.Session() as session:
        session.auth = PowAuth(key)
        answer = session.post(url, data=image)
        answer.raise_for_status()

Use one PowAuth for many requests: it remembers what answers cost.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from http.cookiejar import CookieJar
from typing import Any
from weakref import ref

from requests import PreparedRequest, RequestException, Response
from requests.auth import AuthBase
from requests.cookies import extract_cookies_to_jar, get_cookie_header

from calpow.client.auth import BasePowAuth
from calpow.client.bodies import rewinder
from calpow.client.caller import IDENTITY_HEADERS
from calpow.client.errors import ClientError
from calpow.client.protocol.budget import DEFAULT_MAX_HASHES, DEFAULT_MAX_SECONDS, DEFAULT_MAX_WAIT
from calpow.client.protocol.exchange import Exchange
from calpow.client.protocol.origin import leads_home, same_origin
from calpow.client.reply import Reply, needs_body, reason_of
from calpow.puzzle.solving.solver import Progress
from calpow.puzzle.wire import SOLUTION_HEADER


class PowAuth(BasePowAuth, AuthBase):
    """Proof-of-work authentication for requests: `session.auth = PowAuth(key)`.

    PowAuth sends the API key or token, and does the work that a server asks for with status 402. The request is then
    sent again with the solution, and `response.history` holds the 402. Every answer announces the work of the next one.
    PowAuth does it beforehand, which saves that round trip: it mints stamps before it sends a request and, from the
    second request to a URL on, in a background thread while the client waits or is idle. Use one PowAuth for many
    requests, since it remembers what answers cost; any number of sessions and threads can share it.

    The body may be bytes, str, or a file or stream that can seek; a generator raises BodyNotRewindable before anything
    is sent.

    A solution may be refused, for example because it expired while it was computed, or be too little work. The server
    then sends another challenge, which is solved as well, until `max_hashes` or `max_seconds` is reached. A request to
    a busy server (429 or 503) is sent again after the time that `Retry-After` gives. Every other response is returned
    as it is, also a 402 without a challenge. When a redirect leaves the origin of the request, the key is not sent
    there, and no challenge is solved.

    After a connection error PowAuth sends nothing again. `session.send(error.request)` sends the request with the same
    solution (rewind its body if that is a file): for ten minutes the server repeats the outcome that it has settled,
    so that nothing is paid twice.

    key: the API key; None sends none, for servers that identify callers by other means.
    token: instead of a key, a token of an identity provider, or a function that returns a fresh one. It is called
        before each sending, in the thread that sends; what it raises reaches the caller.
    max_hashes: the most expected hashes for one request in all. A challenge that would exceed it is not solved, and
        WorkLimitExceeded is raised.
    max_seconds: the most seconds of solving for one request; TimeLimitExceeded is raised beyond it. The round trip of
        a refused solution counts, as one second at most.
    max_wait: the most seconds to wait for a busy server; a response that asks for more is returned as it is.
    progress: called with a Progress before the first stamp and after each, in the thread that sends the request. An
        exception that it raises ends the work and reaches the caller.
    cancel: an event that, once it is set, ends work and waiting with Cancelled; it may be set from any thread.

    The errors that PowAuth raises are ClientErrors: each is a requests.RequestException and a CalpowError.
    """

    _library_error = RequestException

    def __init__(
        self,
        key: str | None = None,
        *,
        token: str | Callable[[], str] | None = None,
        max_hashes: int = DEFAULT_MAX_HASHES,
        max_seconds: float = DEFAULT_MAX_SECONDS,
        max_wait: float = DEFAULT_MAX_WAIT,
        progress: Callable[[Progress], None] | None = None,
        cancel: threading.Event | None = None,
    ) -> None:
        super().__init__(
            key, token=token, max_hashes=max_hashes, max_seconds=max_seconds, max_wait=max_wait, progress=progress
        )
        self._cancel = cancel

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        """Prepare one request: pay beforehand if its price is known. Called by requests.

        Raises TypeError for a request of another library, such as httpx, which takes any function for its `auth`.
        """
        if not isinstance(request, PreparedRequest):
            raise TypeError("this PowAuth is for requests; for httpx, import PowAuth from calpow.client.httpx")
        exchange = self._exchange(str(request.url))
        try:
            hook = _ResponseHook(self, exchange, ref(request), rewinder(request.body))
            send = self._next_send(exchange.run())
        except ClientError as error:
            raise self._as_library_error(error, request) from error.__cause__
        if send is not None:
            request.headers.update(send.headers)
        request.register_hook("response", hook)
        return request


@dataclass(frozen=True)
class _ResponseHook:
    """Exchanges the 402 of a prepared request for its answer, as often as the request is sent.

    Errors of the connection reach the caller, and nothing is sent again: see docs/decisions/0031.

    exchange: what the request had spent before it was sent for the first time.
    redirects: the exchange to go on with after a redirect, which requests follows in the same thread and with another
        request that has this hook, too.
    """

    auth: PowAuth
    exchange: Exchange
    request: ref[PreparedRequest]
    rewind: Callable[[], object]
    redirects: threading.local = field(default_factory=threading.local)

    def __call__(self, response: Response, **options: Any) -> Response:
        """Return the last response, which the caller gets. `options` are those of HTTPAdapter.send."""
        request = response.request  # a redirect copies its headers, even if a copy of ours gets the last response
        home = self.exchange.url
        if same_origin(home, response.url):
            response = self._pay(response, options)
        if response.is_redirect and not leads_home(home, response.url, response.headers["location"]):
            for name in (*IDENTITY_HEADERS, SOLUTION_HEADER):
                request.headers.pop(name, None)
        return response

    def _pay(self, response: Response, options: dict[str, Any]) -> Response:
        exchange = self._exchange_of(response.request)
        actions = exchange.proceed(_reply(response))
        try:
            send = self.auth._next_send(actions)
            while send is not None:
                response = self._resend(response, send.headers, options)
                send = self.auth._next_send(actions, _reply(response))
        except ClientError as error:
            raise self.auth._as_library_error(error, response.request, response) from error.__cause__
        self.redirects.exchange = exchange if response.is_redirect else None
        return response

    def _exchange_of(self, request: PreparedRequest) -> Exchange:
        """Return a redirected request's exchange as it stands; a request that is sent again has limits of its own."""
        redirected: Exchange | None = getattr(self.redirects, "exchange", None)
        return self.exchange.again() if redirected is None or request is self.request() else redirected

    def _resend(self, refused: Response, headers: Mapping[str, str], options: dict[str, Any]) -> Response:
        _ = refused.content  # read to its end, it leaves the connection to the next request
        refused.close()
        request = refused.request.copy()
        _renew_cookies(request, refused)
        request.headers.update(headers)
        self.rewind()
        began = time.perf_counter()
        answer = refused.connection.send(request, **options)
        answer.elapsed = timedelta(seconds=time.perf_counter() - began)
        answer.history = [*refused.history, refused]
        return answer


def reason_in(response: Response) -> str:
    """Return the reason that a response gives, as one printable line; reads its body to the end."""
    return reason_of(response.content or b"", response.reason or "")


def _reply(response: Response) -> Reply:
    body = response.content if needs_body(response.status_code) else b""
    headers = {name.lower(): value for name, value in response.headers.items()}
    header: str | bytes | None = response.request.headers.get(SOLUTION_HEADER)
    solution = header if isinstance(header, str) else None
    return Reply(response.status_code, headers, body or b"", response.reason or "", solution)


def _renew_cookies(request: PreparedRequest, response: Response) -> None:
    # Through a private attribute, as requests' own digest authentication does. A Cookie header that the caller has
    # written is kept.
    jar: CookieJar | None = getattr(request, "_cookies", None)
    if jar is None:
        return
    sent = request.headers.pop("Cookie", None)
    if sent == get_cookie_header(jar, request):
        extract_cookies_to_jar(jar, response.request, response.raw)
        request.prepare_cookies(jar)
    elif sent is not None:
        request.headers["Cookie"] = sent
