"""Latency of answers over HTTP with and without the gate, measured side by side on one TorchServe.

The time that the gate adds is measured on requests with prepaid stamps: a puzzle's number of stamps, of the fewest bits
possible, minted before the clock starts. It includes pricing, accounting, verification and the ledger, but not solving,
which the policy determines.
"""

import math
import random
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests

from calpow.archiver.data.media_types import BODY, media_type
from calpow.archiver.data.payloads import Payload
from calpow.archiver.errors import MeasuringError
from calpow.archiver.progress import announce, progress, track
from calpow.archiver.server import Server, served, wait_until_ready
from calpow.handler.gate.problems import MORE_REQUIRED, URN
from calpow.handler.ledger.uri import URI_VARIABLE, open_ledger
from calpow.puzzle.prepaid import prepaid_resource
from calpow.puzzle.profiles import PuzzleKind
from calpow.puzzle.solving.solver import solve
from calpow.puzzle.wire import KEY_HEADER, NEXT_HEADER, SOLUTION_HEADER, Challenge, find_realm, format_prepaid

# A cold Java frontend answers at half the speed that it has after a thousand requests. Decision 0019.
WARM_UP_REQUESTS = 1_500
WARM_UP_SECONDS = 5.0
# A round of pairs of requests is repeated until both medians are known to this share of the unprotected time.
REQUESTS = 100
MOST_ROUNDS = 10
PRECISION = 0.05
REQUEST_SECONDS = 15.0
PLAIN, GATED = "unprotected", "protected"


@dataclass(frozen=True)
class Latency:
    """Seconds from sending a payload to receiving its answer without the gate: the median, first and last decile.

    `added` is the time that the gate adds to a paid request, solving excluded: the median over pairs of requests.
    `uncertainty` is how far off either median may be (95 %), as a share of the unprotected one.
    """

    median: float
    low: float
    high: float
    requests: int
    added: float
    uncertainty: float = 0.0

    @classmethod
    def of_pairs(cls, pairs: Sequence[tuple[float, float]]) -> "Latency":
        """Return the latency of pairs of requests, without and with the gate; two or more."""
        times = [alone for alone, _ in pairs]
        deciles = statistics.quantiles(times, n=10)
        median = statistics.median(times)
        added = [guarded - alone for alone, guarded in pairs]
        uncertainty = max(_half_width(times), _half_width(added)) / median
        # A difference below zero is due to other load on the machine.
        return cls(median, deciles[0], deciles[-1], len(times), max(0.0, statistics.median(added)), uncertainty)


@contextmanager
def side_by_side(victim: Path, protected: Path, kind: PuzzleKind) -> Iterator["SideBySide"]:
    """Context manager that starts TorchServe with a victim and with an archive that guards it with puzzles of `kind`.

    The block may go on with other work meanwhile: `SideBySide.measure` waits for the start.
    """
    with tempfile.TemporaryDirectory(prefix="calpow-latency-") as folder:
        uri = f"sqlite:///{Path(folder).resolve() / 'ledger.db'}"
        archives = {PLAIN: victim, GATED: protected}
        announce("starting TorchServe to time answers with and without the gate")
        with served(archives, environment={URI_VARIABLE: uri}, wait=False) as server:
            yield SideBySide(server, uri, kind)


class SideBySide:
    """A TorchServe that has a victim and the archive that guards it, for timing the answers of both."""

    def __init__(self, server: Server, ledger: str, kind: PuzzleKind) -> None:
        """`ledger` is the URI of the gate's ledger, `kind` that of its puzzles."""
        self._server = server
        self._ledger = ledger
        self._kind = kind

    def measure(self, payloads: Sequence[Payload], seed: int) -> Latency:
        """Send payloads one by one, in turns, to both.

        It takes as many requests as the medians need to be known to PRECISION, up to MOST_ROUNDS times REQUESTS. Raises
        ServerFailed when the server does not start, and MeasuringError when the victim refuses a payload or the gate
        refuses a paid request.
        """
        wait_until_ready(self._server, (PLAIN, GATED))
        rng = random.Random(seed)  # noqa: S311
        with requests.Session() as session:
            plain = _Plain(session, self._server.url(PLAIN))
            key = open_ledger(self._ledger).add_key("calibrate")
            gated = _Gated(session, self._server.url(GATED), key, self._kind)
            _warm_up(plain, gated, rng.choices(payloads, k=WARM_UP_REQUESTS))
            pairs: list[tuple[float, float]] = []
            for number in range(1, MOST_ROUNDS + 1):
                phase = "latency" if number == 1 else f"latency, round {number}"
                for payload in track(rng.choices(payloads, k=REQUESTS), phase, "request"):
                    pairs.append((plain.ask(payload), gated.ask(payload)))
                latency = Latency.of_pairs(pairs)
                if latency.uncertainty <= PRECISION:
                    break
            return latency


def _warm_up(plain: "_Plain", gated: "_Gated", payloads: Sequence[Payload]) -> None:
    begun, shown, seconds = time.monotonic(), 0, math.ceil(WARM_UP_SECONDS)
    with progress("warming up", "second", seconds) as advance:
        for payload in payloads:
            plain.ask(payload)
            gated.ask(payload)
            passed = time.monotonic() - begun
            advance(min(int(passed), seconds) - shown)
            shown = min(int(passed), seconds)
            if passed > WARM_UP_SECONDS:
                break


def _half_width(values: Sequence[float]) -> float:
    """Return half the width of the 95 % confidence interval of the median, by order statistics."""
    ordered, count = sorted(values), len(values)
    reach = 1.96 * math.sqrt(count) / 2
    low, high = max(0, math.floor(count / 2 - reach)), min(count - 1, math.ceil(count / 2 + reach))
    return (ordered[high] - ordered[low]) / 2


class _Plain:
    """A client of the unprotected victim."""

    def __init__(self, session: requests.Session, url: str) -> None:
        self._session = session
        self._url = url

    def ask(self, payload: Payload) -> float:
        """Return the seconds until the answer has arrived."""
        spent, answer = _post(self._session, self._url, payload, {})
        if answer.status_code != 200:
            raise MeasuringError(
                f"the unprotected victim answers {answer.status_code} to {payload.path}{_reason(answer)}: mend it first"
            )
        return spent


class _Gated:
    """A client of the protected victim that prepays the most work that any request has cost so far."""

    def __init__(self, session: requests.Session, url: str, key: str, kind: PuzzleKind) -> None:
        self._session = session
        self._url = url
        self._key = key
        self._kind = kind
        self._realm = ""
        self._hashes = 0

    def ask(self, payload: Payload) -> float:
        """Return the seconds until the answer has arrived."""
        headers = {KEY_HEADER: self._key}
        if self._realm:
            puzzle = self._kind.puzzle(self._hashes, prepaid_resource(self._realm, self._key))
            headers[SOLUTION_HEADER] = format_prepaid(solve(puzzle))
        spent, answer = _post(self._session, self._url, payload, headers)
        if answer.status_code == 402 and self._is_dearer(answer):
            return self.ask(payload)
        if answer.status_code != 200:
            raise MeasuringError(
                f"the protected victim answers {answer.status_code} to {payload.path}, paid beforehand{_reason(answer)}"
            )
        self._hashes = max(self._hashes, int(answer.headers[NEXT_HEADER]))
        return spent

    def _is_dearer(self, answer: requests.Response) -> bool:
        """Return whether a 402 asks for more work than was prepaid, and prepay that much from now on.

        A challenge for the rest is added to the prepaid work; here, the whole is paid anew instead.
        """
        self._realm = find_realm(answer.headers.get("WWW-Authenticate", "")) or ""
        asked = Challenge.from_problem(answer.content).puzzle.expected_hashes
        is_rest = answer.json()["type"] == URN + MORE_REQUIRED.type
        paid, self._hashes = self._hashes, asked + (self._hashes if is_rest else 0)
        return self._hashes > paid


def _post(
    session: requests.Session, url: str, payload: Payload, headers: dict[str, str]
) -> tuple[float, requests.Response]:
    body, kind = payload.path.read_bytes(), media_type(payload.path)
    if payload.part == BODY:
        request = requests.Request("POST", url, data=body, headers={"Content-Type": kind, **headers})
    else:
        request = requests.Request("POST", url, files={payload.part: (payload.path.name, body, kind)}, headers=headers)
    prepared = session.prepare_request(request)
    begun = time.perf_counter()
    try:
        answer = session.send(prepared, timeout=REQUEST_SECONDS)
    except requests.RequestException as problem:
        raise MeasuringError(f"the victim did not answer {payload.path}: {problem}") from problem
    return time.perf_counter() - begun, answer


def _reason(answer: requests.Response) -> str:
    """Return the reason that TorchServe or the gate gives for a refusal, in brackets."""
    try:
        document = answer.json()
    except ValueError:
        return ""
    text = document.get("message") or document.get("detail") if isinstance(document, dict) else None
    return f" ({' '.join(str(text).split())})" if text else ""
