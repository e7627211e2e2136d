"""Workers of a real TorchServe that are killed at any step of a query: no paid work is lost, nothing counts twice."""

import os
import signal
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from calpow.archiver.server import Server, served
from calpow.client import PowAuth
from calpow.handler.ledger.ledger import Ledger
from calpow.handler.ledger.uri import open_ledger
from calpow.puzzle.prepaid import prepaid_resource
from calpow.puzzle.profiles import DEFAULT_PROFILE, PROFILES
from calpow.puzzle.solving.solver import solve
from calpow.puzzle.wire import Challenge, find_realm, format_prepaid, format_solution
from tests.support.guarded import TIMEOUT, protect, train_teachers
from tests.support.victims import build as victims

pytestmark = pytest.mark.server

STEPS = (
    "admitting",
    "admitted",
    "preprocessing",
    "before the model",
    "after the model",
    "settling",
    "in the transaction",
    "settled",
)
# A worker takes seconds to come back, so that only some of the steps are tried every time.
USUAL = {
    "several": ("before the model", "after the model", "in the transaction", "settled"),
    "one": ("settled",),
}
KILLS = [
    pytest.param(model, step, marks=() if step in usual else pytest.mark.long)
    for model, usual in USUAL.items()
    for step in STEPS
]
VECTOR, OTHER = b"0.1,0.9,0.3,0.2", b"0.9,0.1,0.3,0.2"
# A worker is up again after this time.
RESTART = 120.0


@dataclass(frozen=True)
class CrashSite:
    """A server whose workers stop where a test wants to kill them. `one` has a single worker, `several` has three."""

    server: Server
    ledger: Ledger
    stops: Path

    def post(self, model: str, payload: bytes, key: str, solution: str | None = None) -> requests.Response:
        headers = {"X-Api-Key": key} | ({} if solution is None else {"PoW-Solution": solution})
        return requests.post(self.server.url(model), data=payload, headers=headers, timeout=RESTART)

    def solution(self, model: str, payload: bytes, key: str) -> str:
        """Return a solution of the challenge for a payload."""
        challenge = Challenge.from_problem(self.post(model, payload, key).content)
        return format_solution(challenge.token, solve(challenge.puzzle))

    def prepaid(self, model: str, payload: bytes, key: str) -> str:
        """Return prepaid stamps for a payload."""
        realm = find_realm(self.post(model, payload, key).headers["WWW-Authenticate"])
        kind = PROFILES[DEFAULT_PROFILE].kind
        return format_prepaid(solve(kind.puzzle(300, prepaid_resource(realm or "", key))))

    def kill_at(self, step: str, sent: "Future[requests.Response]") -> requests.Response:
        """Kill the worker that stops at a step, and return the response to the request that it worked on."""
        stopped: list[Path] = []
        while not stopped:
            assert not sent.done(), f"the request was answered without {step}: {sent.result().text}"
            time.sleep(0.01)
            stopped = list(self.stops.glob(f"{step}.*"))
        stopped[0].unlink()
        os.kill(int(stopped[0].suffix[1:]), signal.SIGKILL)
        return sent.result()

    def queries(self, model: str, account: str) -> int:
        return self.ledger.account(model, account).history.queries

    def wait_for_workers(self, model: str, count: int) -> None:
        deadline = time.monotonic() + RESTART
        while len(self.server.worker_pids(model)) < count:
            assert time.monotonic() < deadline
            time.sleep(0.1)


@pytest.fixture(scope="module")
def crash_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CrashSite]:
    folder = tmp_path_factory.mktemp("crashes")
    for part in ("guarded", "stops"):
        (folder / part).mkdir()
    one = victims.stopping(folder, "one", workers=1, batch=4)
    several = victims.stopping(folder, "several", workers=3, batch=1)
    teachers = train_teachers(folder, one, victims.vectors(folder / "vectors"))
    guarded = {
        victim.stem: protect(folder / "guarded", victim.stem, victim, teachers).guarded for victim in (one, several)
    }
    uri = f"sqlite:///{folder / 'ledger.db'}"
    environment = {"CALPOW_LEDGER": uri, "STOPS": str(folder / "stops")}
    with served(guarded, environment=environment) as server:
        yield CrashSite(server, open_ledger(uri), folder / "stops")


def problem_type(response: requests.Response) -> str:
    return str(response.json()["type"]).removeprefix("urn:calpow:problem:")


def died(response: requests.Response) -> bool:
    """Return whether a response is TorchServe's own to a request whose worker died."""
    return response.status_code in (500, 507) and "Worker died" in response.text


@pytest.mark.parametrize(("model", "step"), KILLS)
def test_a_request_of_a_killed_worker_is_answered_when_it_is_sent_again_and_charged_once(
    crash_site: CrashSite, model: str, step: str
) -> None:
    account = f"{model} {step}"
    key = crash_site.ledger.add_key(account)
    pay = crash_site.prepaid if step in ("preprocessing", "settled") else crash_site.solution
    solution = pay(model, VECTOR, key)
    (crash_site.stops / step).touch()
    with ThreadPoolExecutor(1) as pool:
        lost = crash_site.kill_at(step, pool.submit(crash_site.post, model, VECTOR, key, solution))
    assert died(lost)
    assert crash_site.queries(model, account) == (step == "settled")

    again = crash_site.post(model, VECTOR, key, solution)
    assert (again.status_code, again.content) == (200, b"1")
    assert crash_site.queries(model, account) == 1
    assert crash_site.post(model, VECTOR, key, solution).status_code == 200
    assert problem_type(crash_site.post(model, OTHER, key, solution)) == "challenge-spent"
    assert crash_site.queries(model, account) == 1


def send_together(
    crash_site: CrashSite, queries: Sequence[tuple[bytes, str, str]], model: str = "one"
) -> list[requests.Response]:
    """Send queries (payload, key, solution) at the same time, which one worker takes as one batch."""
    with ThreadPoolExecutor(len(queries)) as pool:
        return list(pool.map(lambda query: crash_site.post(model, *query), queries))


def test_who_shares_a_batch_with_a_request_that_kills_the_worker_has_the_answer_for_the_same_work(
    crash_site: CrashSite,
) -> None:
    payloads = {"good": VECTOR, "better": OTHER, "failing": VECTOR + b";raise", "killing": VECTOR + b";die"}
    keys = {account: crash_site.ledger.add_key(account) for account in payloads}
    queries = {
        account: (payload, keys[account], crash_site.solution("one", payload, keys[account]))
        for account, payload in payloads.items()
    }
    lost = send_together(crash_site, list(queries.values()))
    assert [died(answer) for answer in lost] == [True] * 4
    assert [crash_site.queries("one", account) for account in payloads] == [0] * 4

    again = send_together(crash_site, [queries[account] for account in ("good", "better", "failing")])
    assert [(answer.status_code, answer.content[:1]) for answer in again] == [(200, b"1"), (200, b"0"), (503, b"{")]
    assert [crash_site.queries("one", account) for account in payloads] == [1, 1, 0, 0]
    assert crash_site.post("one", VECTOR, keys["failing"], queries["failing"][2]).status_code == 200
    assert problem_type(crash_site.post("one", OTHER, *queries["good"][1:])) == "challenge-spent"


def test_the_same_solution_in_a_batch_twice_and_at_several_workers_is_answered_and_charged_once(
    crash_site: CrashSite,
) -> None:
    for model in ("one", "several"):
        key = crash_site.ledger.add_key(f"twins at {model}")
        query = (VECTOR, key, crash_site.solution(model, VECTOR, key))
        assert [twin.content for twin in send_together(crash_site, [query] * 4, model)] == [b"1"] * 4
        assert crash_site.queries(model, f"twins at {model}") == 1


def test_a_client_sends_the_request_of_a_lost_answer_again_as_it_was(crash_site: CrashSite) -> None:
    key = crash_site.ledger.add_key("client")
    with requests.Session() as session, ThreadPoolExecutor(1) as pool:
        (crash_site.stops / "settled").touch()
        url, auth = crash_site.server.url("several"), PowAuth(key)
        lost = crash_site.kill_at("settled", pool.submit(session.post, url, data=VECTOR, auth=auth, timeout=TIMEOUT))
        assert died(lost)
        again = session.send(lost.request, timeout=TIMEOUT)
    assert (again.status_code, again.content) == (200, b"1")
    assert crash_site.queries("several", "client") == 1


def test_a_lock_that_a_killed_worker_held_delays_nobody(crash_site: CrashSite) -> None:
    keys = [crash_site.ledger.add_key(f"locked {number}") for number in range(2)]
    crash_site.wait_for_workers("several", 2)
    ready = [crash_site.solution("several", VECTOR, key) for key in keys]
    (crash_site.stops / "in the transaction").touch()
    with ThreadPoolExecutor(1) as pool:
        sent = pool.submit(crash_site.post, "several", VECTOR, keys[0], ready[0])
        while not list(crash_site.stops.glob("in the transaction.*")):
            time.sleep(0.01)
        locked = crash_site.post("several", VECTOR, keys[1], ready[1])
        assert (locked.status_code, problem_type(locked)) == (503, "ledger-unavailable")
        assert "Retry-After" in locked.headers
        crash_site.kill_at("in the transaction", sent)
    assert [crash_site.post("several", VECTOR, *pair).status_code for pair in zip(keys, ready, strict=True)] == [
        200,
        200,
    ]
    assert [crash_site.queries("several", f"locked {number}") for number in range(2)] == [1, 1]
