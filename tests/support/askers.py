"""The adapters of the client behind one face, so that one promise can be tested of all of them."""

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
# With a bounded pool, httpcore sometimes closes a connection that another of 200 threads is reading from.
UNBOUNDED = httpx.Limits(max_connections=None, max_keepalive_connections=None)


@dataclass(frozen=True)
class Answer:
    """What came of one request; `history` are the statuses of the responses before it."""

    status: int
    content: bytes
    history: Sequence[int]
    solution: str | None


Ask = Callable[..., Answer]


@dataclass(frozen=True)
class Asker:
    """One adapter: `errors` is what its library's users catch; `asking` opens a session or client with PowAuth."""

    name: str
    errors: type[Exception]
    auth: Callable[..., Any]
    open: Callable[[Any], Any]

    @contextmanager
    def asking(self, key: str | None = "cp_1_secret", **options: Any) -> Iterator[Ask]:
        with self.open(self.auth(key, **options)) as ask:
            yield ask

    def post(self, url: str, body: Any = b"payload", **options: Any) -> Answer:
        """Ask once."""
        with self.asking(**options) as ask:
            return ask(url, body)


@contextmanager
def _requests(auth: Any) -> Iterator[Ask]:
    with requests.Session() as session:
        session.auth = auth

        def ask(url: str, body: Any) -> Answer:
            response = session.post(url, data=body, timeout=TIMEOUT)
            history = [each.status_code for each in response.history]
            sent: Mapping[str, Any] = response.request.headers
            return Answer(response.status_code, response.content, history, sent.get("PoW-Solution"))

        yield ask


@contextmanager
def _httpx(auth: Any) -> Iterator[Ask]:
    with httpx.Client(auth=auth, timeout=TIMEOUT, follow_redirects=True, limits=UNBOUNDED) as client:
        yield lambda url, body: _of_httpx(client.post(url, content=body))


def _async(backend: str) -> Callable[[Any], Any]:
    @contextmanager
    def opened(auth: Any) -> Iterator[Ask]:
        with start_blocking_portal(backend) as portal:
            client = httpx.AsyncClient(auth=auth, timeout=TIMEOUT, follow_redirects=True)

            async def post(url: str, body: Any) -> Answer:
                return _of_httpx(await client.post(url, content=body))

            try:
                yield lambda url, body: portal.call(post, url, body)
            finally:
                portal.call(client.aclose)

    return opened


def _of_httpx(response: httpx.Response) -> Answer:
    history = [each.status_code for each in response.history]
    return Answer(response.status_code, response.content, history, response.request.headers.get("PoW-Solution"))


ASKERS = [
    Asker("requests", requests.RequestException, PowAuth, _requests),
    Asker("httpx", httpx.RequestError, on_httpx.PowAuth, _httpx),
    Asker("asyncio", httpx.RequestError, on_httpx.PowAuth, _async("asyncio")),
    Asker("trio", httpx.RequestError, on_httpx.PowAuth, _async("trio")),
]
