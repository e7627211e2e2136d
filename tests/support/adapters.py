"""The client's adapters behind one interface, so that one test can cover all of them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import requests
from anyio.from_thread import start_blocking_portal

from calpow.client import PowAuth
from calpow.client import httpx as on_httpx

TIMEOUT = 30.0
# With a bounded pool, or where idle connections expire, httpcore sometimes closes one that another of 200 threads has
# just been given, and is about to read from.
UNBOUNDED = httpx.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=None)


@dataclass(frozen=True)
class Answer:
    """The last response to one request; `history` are the statuses of those before it."""

    status: int
    content: bytes
    history: Sequence[int]
    solution: str | None


Post = Callable[..., Answer]


@dataclass(frozen=True)
class Adapter:
    """PowAuth for one HTTP library.

    errors: the root of the library's errors.
    auth: the PowAuth.
    open: opens a session or client with a PowAuth; yields a function that posts a body to a URL.
    """

    name: str
    errors: type[Exception]
    auth: Callable[..., Any]
    open: Callable[[Any], Any]

    @contextmanager
    def session(self, key: str | None = "cp_1_secret", **options: Any) -> Iterator[Post]:
        with self.open(self.auth(key, **options)) as post:
            yield post

    def post(self, url: str, body: Any = b"payload", **options: Any) -> Answer:
        """Send one request in a session of its own."""
        with self.session(**options) as post:
            return post(url, body)


@contextmanager
def _requests(auth: Any) -> Iterator[Post]:
    with requests.Session() as session:
        session.auth = auth

        def post(url: str, body: Any) -> Answer:
            response = session.post(url, data=body, timeout=TIMEOUT)
            history = [earlier.status_code for earlier in response.history]
            headers: Mapping[str, Any] = response.request.headers
            return Answer(response.status_code, response.content, history, headers.get("PoW-Solution"))

        yield post


@contextmanager
def _httpx(auth: Any) -> Iterator[Post]:
    with httpx.Client(auth=auth, timeout=TIMEOUT, follow_redirects=True, limits=UNBOUNDED) as client:
        yield lambda url, body: _answer(client.post(url, content=body))


def _async_httpx(backend: str) -> Callable[[Any], Any]:
    @contextmanager
    def opened(auth: Any) -> Iterator[Post]:
        with start_blocking_portal(backend) as portal:
            client = httpx.AsyncClient(auth=auth, timeout=TIMEOUT, follow_redirects=True)

            async def post(url: str, body: Any) -> Answer:
                return _answer(await client.post(url, content=body))

            try:
                yield lambda url, body: portal.call(post, url, body)
            finally:
                portal.call(client.aclose)

    return opened


def _answer(response: httpx.Response) -> Answer:
    history = [earlier.status_code for earlier in response.history]
    return Answer(response.status_code, response.content, history, response.request.headers.get("PoW-Solution"))


ADAPTERS = [
    Adapter("requests", requests.RequestException, PowAuth, _requests),
    Adapter("httpx", httpx.RequestError, on_httpx.PowAuth, _httpx),
    Adapter("asyncio", httpx.RequestError, on_httpx.PowAuth, _async_httpx("asyncio")),
    Adapter("trio", httpx.RequestError, on_httpx.PowAuth, _async_httpx("trio")),
]
