"""Proof-of-work authentication for requests. `key`, `url` and `image` are yours:

    import requests
    from calpow.client import PowAuth

    with requests.Session() as session:
        session.auth = PowAuth(key)
        answer = session.post(url, data=image)
        answer.raise_for_status()

One PowAuth for many requests: it remembers what answers cost.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from http.cookiejar import CookieJar
from typing import Any
from weakref import ref

from requests import PreparedRequest, RequestException, Response
from requests.auth import AuthBase
from requests.cookies import extract_cookies_to_jar, get_cookie_header

from calpow.client.bodies import rewinder
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
from calpow.client.protocol.origin import leads_home, same_origin
from calpow.client.protocol.reply import Reply, reads_body
from calpow.client.protocol.work import pause, perform
from calpow.puzzle.solving.solver import Progress
from calpow.puzzle.wire import KEY_HEADER, SOLUTION_HEADER


class PowAuth(AuthBase):
    """Sends the API key, and pays for an answer when the server asks for work (status 402).

    The first request then becomes two, and `response.history` holds the 402. Every answer says what the next one
    takes. This is paid beforehand, which saves that round trip: stamps are minted before asking, and from the second
    request to a URL on in the background, while the client waits or does something else. The body may be
    bytes, str, or a file or stream that can seek; a generator raises BodyNotRewindable before anything is sent. One
    object serves any number of requests, sessions and threads.

    A solution that is refused (say, because it expired while it was solved) brings a new challenge, and one that is too
    little a challenge for the rest. These are solved as well, until `max_hashes` or `max_seconds` ends it. A busy
    server that says `Retry-After` (429, 503) is asked again then. A 402 without a challenge is returned as it is, and
    so is every other status. When a redirect leaves the origin asked for, the key stays behind and challenges are not
    solved. After an error of the connection nothing is sent again. You may: `session.send(error.request)` sends the
    same request with the same solution (rewind its body if that is a file), for which the server repeats within ten
    minutes what it has settled, so that nothing is paid twice.

    key: the API key; None sends none, for servers that know their callers by other means.
    max_hashes: the most expected hashes one request may cost in all; beyond it, WorkLimitExceeded is raised
        before the work that would exceed it.
    max_seconds: the most seconds of solving for one request; beyond it, TimeLimitExceeded. The round trip of a
        refused solution counts, as one second at most.
    max_wait: the most seconds to wait for a busy server; the response that asks for more is returned as it is.
    progress: told the Progress before the first stamp and after each, in the thread
        that sends the request. What it raises ends the work and reaches the caller.
    cancel: when set, from any thread, work and waiting end at once with Cancelled.

    Every error of its own is a ClientError: a requests.RequestException and a CalpowError.
    """

    def __init__(
        self,
        key: str | None,
        *,
        max_hashes: int = DEFAULT_MAX_HASHES,
        max_seconds: float = DEFAULT_MAX_SECONDS,
        max_wait: float = DEFAULT_MAX_WAIT,
        progress: Callable[[Progress], None] | None = None,
        cancel: threading.Event | None = None,
    ) -> None:
        with _errors_of_requests():
            self._payer = Payer(key, Limits(max_hashes, max_seconds, max_wait))
        self._progress = progress
        self._cancel = cancel

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        """Prepare one request; called by requests."""
        with _errors_of_requests(request):
            sending = _Sending(
                Exchange(self._payer, str(request.url)),
                ref(request),
                str(request.url),
                rewinder(request.body),
                self._progress,
                self._cancel,
            )
            if (step := sending.first.start()) is not None:
                sending.perform(sending.first, step)
        request.headers.update(sending.first.headers)
        request.register_hook("response", sending.receive)
        return request


@dataclass(frozen=True)
class _Sending:
    """What one prepared request needs to be paid for, as often as it is sent."""

    first: Exchange
    request: ref[PreparedRequest]
    url: str
    rewind: Callable[[], object]
    progress: Callable[[Progress], None] | None
    cancel: threading.Event | None
    chain: threading.local = field(default_factory=threading.local)

    def receive(self, response: Response, **options: Any) -> Response:
        """Hook: exchange a challenge for the answer. `options` are those of HTTPAdapter.send."""
        request = response.request  # what a redirect would copy, also when our own copy got the answer
        if same_origin(self.url, response.url):
            response = self._pay(response, options)
        if response.is_redirect and not leads_home(self.url, response.url, response.headers["location"]):
            request.headers.pop(KEY_HEADER, None)
            request.headers.pop(SOLUTION_HEADER, None)
        return response

    def perform(self, exchange: Exchange, step: Solve | Wait) -> None:
        """Work or wait."""
        if isinstance(step, Wait):
            pause(step.seconds, self.cancel)
        else:
            perform(exchange, step, progress=self.progress, cancel=self.cancel)

    def _pay(self, response: Response, options: dict[str, Any]) -> Response:
        # Not `first` itself: a request that is sent twice has its own limits each time. A redirect is sent by the same
        # thread as another request, and has what is left of them.
        redirected = None if response.request is self.request() else getattr(self.chain, "exchange", None)
        exchange = self.first.again(redirected)
        while True:
            with _errors_of_requests(response.request, response):
                step = exchange.receive(_reply(response))
                if step is None:
                    self.chain.exchange = exchange if response.is_redirect else None
                    return response
                self.perform(exchange, step)
            response = self._resend(response, exchange, options)

    def _resend(self, refused: Response, exchange: Exchange, options: dict[str, Any]) -> Response:
        _ = refused.content  # read to its end, the connection is free for the next request
        refused.close()
        request = refused.request.copy()
        _renew_cookies(request, refused)
        request.headers.update(exchange.headers)
        self.rewind()
        began = time.perf_counter()
        answer = refused.connection.send(request, **options)
        answer.elapsed = timedelta(seconds=time.perf_counter() - began)
        answer.history = [*refused.history, refused]
        return answer


def _reply(response: Response) -> Reply:
    body = response.content if reads_body(response.status_code) else b""
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Reply(response.status_code, headers, body or b"", response.reason or "")


@contextmanager
def _errors_of_requests(request: PreparedRequest | None = None, response: Response | None = None) -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        raise in_tree_of(RequestException, error, request=request, response=response) from error.__cause__


def _renew_cookies(request: PreparedRequest, response: Response) -> None:
    # As requests' own digest authentication does, through the same private jar; a Cookie header that the
    # caller wrote himself is kept.
    jar: CookieJar | None = getattr(request, "_cookies", None)
    if jar is None:
        return
    sent = request.headers.pop("Cookie", None)
    if sent == get_cookie_header(jar, request):
        extract_cookies_to_jar(jar, response.request, response.raw)
        request.prepare_cookies(jar)
    elif sent is not None:
        request.headers["Cookie"] = sent
