"""Proof-of-work authentication for requests: `requests.post(url, data=body, auth=PowAuth(key))`."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from http.cookiejar import CookieJar
from typing import Any
from urllib.parse import urljoin

from requests import PreparedRequest, Response
from requests.auth import AuthBase
from requests.cookies import extract_cookies_to_jar, get_cookie_header
from requests.sessions import SessionRedirectMixin

from calpow.client.body import rewinder
from calpow.client.errors import ChallengeLoop, ChallengeUnreadable, UnusableKey, WorkLimitExceeded
from calpow.client.prepay import Prices
from calpow.client.problems import problem_in, reason_in
from calpow.puzzle.challenge import KEY_HEADER, SOLUTION_HEADER, Challenge, find_token, format_prepaid, format_solution
from calpow.puzzle.errors import PuzzleError
from calpow.puzzle.solver import Progress, solve

DEFAULT_MAX_HASHES = 2**28
MAX_CHALLENGES = 3


class PowAuth(AuthBase):
    """Sends the API key, and pays for an answer when the server asks for work (status 402).

    The first request then becomes two, and `response.history` holds the 402. Afterwards the server's word on what
    the next answer takes is believed: stamps are minted before asking, which saves a round trip, until they once
    are not enough. The body may be bytes, str, or a file
    or stream that can seek; a generator raises BodyNotRewindable before anything is sent. One object serves
    any number of requests, sessions and threads.

    A solution that is refused (say, because it expired while it was solved) brings a new challenge, which is
    solved as well, up to 3 in a row; then ChallengeLoop is raised. A 402 without a challenge is returned as it
    is, and so is every other status. When a redirect leaves the origin asked for, the key stays behind and
    challenges are not solved.

    key: the API key; None sends none, for servers that know their callers by other means.
    max_hashes: the most expected hashes one request may cost in all; beyond it, WorkLimitExceeded is raised
        before the work that would exceed it. The default takes a minute or two of one core.
    progress: told the Progress before the first stamp and after each, in the thread
        that sends the request. What it raises ends the work and reaches the caller.

    Every error is a ClientError: a requests.RequestException and a CalpowError.
    """

    def __init__(
        self,
        key: str | None,
        *,
        max_hashes: int = DEFAULT_MAX_HASHES,
        progress: Callable[[Progress], None] | None = None,
    ) -> None:
        if key is not None and not _is_header_text(key):
            raise UnusableKey("the API key is empty or not plain printable ASCII: give it as it was handed out")
        self._key = key
        self._max_hashes = max_hashes
        self._progress = progress
        self._prices = Prices()

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        """Prepare one request; called by requests."""
        url = str(request.url)
        rewind = rewinder(request.body)
        if self._key is not None:
            request.headers[KEY_HEADER] = self._key
        prepaid = self._prices.puzzle_for(url, self._key or "", self._max_hashes)
        if prepaid is not None:
            request.headers[SOLUTION_HEADER] = format_prepaid(solve(prepaid, progress=self._progress))
        cost = 0 if prepaid is None else prepaid.expected_hashes
        exchange = _Exchange(url, rewind, self._max_hashes, self._progress, self._prices, cost)
        request.register_hook("response", exchange.receive)
        return request


@dataclass(frozen=True)
class _Exchange:
    """What one request needs to be paid for; an object of its own, so that threads share nothing."""

    url: str
    rewind: Callable[[], object]
    max_hashes: int
    progress: Callable[[Progress], None] | None
    prices: Prices
    prepaid_hashes: int

    def receive(self, response: Response, **options: Any) -> Response:
        """Hook: exchange a challenge for the answer. `options` are those of HTTPAdapter.send."""
        request = response.request  # what a redirect would copy, also when our own copy got the answer
        if self._is_home(response.url):
            response = self._pay(response, options)
        if response.is_redirect and not self._is_home(urljoin(response.url, response.headers["location"])):
            request.headers.pop(KEY_HEADER, None)
            request.headers.pop(SOLUTION_HEADER, None)
        return response

    def _is_home(self, url: str) -> bool:
        return not SessionRedirectMixin().should_strip_auth(self.url, url)

    def _pay(self, response: Response, options: dict[str, Any]) -> Response:
        cost = self.prepaid_hashes
        for solved in range(MAX_CHALLENGES):
            challenge = _challenge_in(response)
            if challenge is None:
                self.prices.saw_answer(self.url, response)
                return response
            prepaid = self.prepaid_hashes > 0 and solved == 0
            self.prices.saw_challenge(self.url, challenge, response, prepaid=prepaid)
            cost += challenge.puzzle.expected_hashes
            if cost > self.max_hashes:
                raise WorkLimitExceeded(cost, self.max_hashes, response)
            stamps = solve(challenge.puzzle, progress=self.progress)
            response = self._resend(response, format_solution(challenge.token, stamps), options)
        if _challenge_in(response) is None:
            self.prices.saw_answer(self.url, response)
            return response
        raise ChallengeLoop(
            f"{MAX_CHALLENGES} solutions in a row were refused, the last with: {reason_in(response)}",
            response=response,
        )

    def _resend(self, challenged: Response, solution: str, options: dict[str, Any]) -> Response:
        challenged.close()  # its body is read; the connection is free for the next request
        request = challenged.request.copy()
        _renew_cookies(request, challenged)
        request.headers[SOLUTION_HEADER] = solution
        self.rewind()
        began = time.perf_counter()
        answer = challenged.connection.send(request, **options)
        answer.elapsed = timedelta(seconds=time.perf_counter() - began)
        answer.history = [*challenged.history, challenged]
        return answer


def _is_header_text(text: str) -> bool:
    return bool(text) and text.isascii() and text.isprintable() and text == text.strip()


def _challenge_in(response: Response) -> Challenge | None:
    if response.status_code != 402:
        return None
    problem = problem_in(response)
    token = find_token(response.headers.get("WWW-Authenticate", ""))
    try:
        if "challenge" in problem:
            return Challenge.from_problem(response.content)
        return None if token is None else Challenge.from_token(token)
    except PuzzleError as error:
        raise ChallengeUnreadable(str(error), response=response) from error


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
