"""Handlers that keep state and read everything of a request: what is answered is what was priced, for its own user."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest
import requests

from calpow.archiver.server import Server, served
from calpow.client import PowAuth
from calpow.handler.ledger.ledger import Ledger
from calpow.handler.ledger.uri import open_ledger
from calpow.puzzle.solving.solver import solve
from calpow.puzzle.wire import Challenge, format_solution
from tests.support.guarded import TIMEOUT, protect, train_teachers
from tests.support.victims import build as victims

pytestmark = pytest.mark.server

# The guarded worker's metrics, in the log of the server.
METRIC = "guarded_1.0-stdout org.pytorch.serve.wlm.WorkerLifeCycle - result=[METRICS]"


@dataclass(frozen=True)
class StatefulSite:
    """A server with a victim that keeps state: `guarded`, in batches of four, and `plain`."""

    server: Server
    ledger: Ledger
    key: str

    def plain(self, payload: str) -> bytes:
        """Return what the victim as it was answers."""
        return requests.post(self.server.url("plain"), data=payload.encode(), timeout=TIMEOUT).content

    def guarded(self, payload: str, **options: Any) -> requests.Response:
        return requests.post(self.server.url("guarded"), data=payload.encode(), timeout=TIMEOUT, **options)

    def solution(self, payload: str = "") -> dict[str, str]:
        """Return headers that pay for a request."""
        refused = self.guarded(payload, headers={"X-Api-Key": self.key})
        challenge = Challenge.from_problem(refused.content)
        return {"X-Api-Key": self.key, "PoW-Solution": format_solution(challenge.token, solve(challenge.puzzle))}

    def settlements(self) -> int:
        """Return the number of times that the account was settled."""
        return self.ledger.account("guarded", "ada").version

    def asked(self, at_least: int = 0) -> int:
        """Return the count of the victim's own metric, once it is `at_least` this or ten seconds have gone by."""
        deadline = time.monotonic() + 10
        while True:
            count = self.server.log().count(f"{METRIC}asked.")
            if count >= at_least or time.monotonic() > deadline:
                return count
            time.sleep(0.05)


@pytest.fixture(scope="module")
def stateful(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StatefulSite]:
    folder = tmp_path_factory.mktemp("stateful")
    victim = victims.stateful(folder, "plain", workers=1, batch=4)
    teachers = train_teachers(folder, victim, victims.vectors(folder / "vectors"))
    guarded = protect(folder, "guarded", victim, teachers).guarded
    uri = f"sqlite:///{folder / 'ledger.db'}"
    with served({"guarded": guarded, "plain": victim}, environment={"CALPOW_LEDGER": uri}) as server:
        ledger = open_ledger(uri)
        yield StatefulSite(server, ledger, ledger.add_key("ada"))


def challenge_spent(response: requests.Response) -> bool:
    return (response.status_code, response.json()["type"]) == (402, "urn:calpow:problem:challenge-spent")


def test_answers_of_a_batch_that_failed_know_of_their_own_requests_only(stateful: StatefulSite) -> None:
    """The handler keeps texts in attributes, objects, classes, global names and its context, and numbers on itself."""
    payloads = [f"0.{number},0.9,0.5,{number};{'x' * number}" for number in range(1, 4)]
    plain = [stateful.plain(payload) for payload in payloads]
    for failing in ("1,2,3,4;fail", "1,2,3,x"):
        queries = [(payload, stateful.solution(payload)) for payload in (failing, *payloads)]
        asked = stateful.asked()
        with ThreadPoolExecutor(4) as pool:
            failed, *answers = pool.map(lambda query: stateful.guarded(query[0], headers=query[1]), queries)
        assert failed.status_code == (503 if "fail" in failing else 400)
        assert [answer.content for answer in answers] == plain
        assert 3 <= stateful.asked(at_least=asked + 3) - asked <= 4


def test_a_counter_of_the_handler_counts_every_answer_once(stateful: StatefulSite) -> None:
    payloads = [f"0.{number},0.1,0.5,0.2" for number in range(10)]
    queries = [(payload, stateful.solution(payload)) for payload in payloads]
    asked = stateful.asked()
    with ThreadPoolExecutor(5) as pool:
        answers = list(pool.map(lambda query: stateful.guarded(query[0], headers=query[1]), queries))
    assert [answer.status_code for answer in answers] == [200] * 10
    assert stateful.asked(at_least=asked + 10) == asked + 10


def test_pricing_an_explanation_leaves_nothing_for_the_next_answer(stateful: StatefulSite) -> None:
    url = f"{stateful.server.inference}/explanations/guarded"
    explained = requests.post(url, data=b"0.5,2,0.25,0.125;mine", auth=PowAuth(stateful.key), timeout=TIMEOUT)
    assert (explained.status_code, json.loads(explained.content)) == (200, [0.5, 2.0, 0.25, 0.125])
    payload = "0.1,0.9,0.25,0.3;yours"
    plain = stateful.plain(payload)
    assert stateful.guarded(payload, auth=PowAuth(stateful.key)).content == plain


Variant = dict[str, Any]
VARIANTS: dict[str, tuple[str, Variant, Variant]] = {
    "parts in another order": (
        "",
        {"files": [("a", ("a", b"9,1,1,1")), ("b", ("b", b"1,9,1,1"))]},
        {"files": [("b", ("b", b"1,9,1,1")), ("a", ("a", b"9,1,1,1"))]},
    ),
    "a header": ("", {"data": b"9,1,1,1"}, {"data": b"9,1,1,1", "headers": {"X-Vector": "1,9,1,1"}}),
    "another header": (
        "",
        {"data": b"9,1,1,1", "headers": {"X-Vector": "9,1,1,1"}},
        {"data": b"9,1,1,1", "headers": {"X-Vector": "1,9,1,1"}},
    ),
    "another media type": (
        "",
        {"data": b"9,1,1,1", "headers": {"Content-Type": "image/png"}},
        {"data": b"9,1,1,1", "headers": {"Content-Type": "image/jpeg"}},
    ),
    "another path": ("/1.0/dear", {"data": b"9,1,1,1"}, {"data": b"9,1,1,1"}),
    "members in another order": (
        "",
        {"data": b'{"vector": "9,1,1,1", "b": 1}', "headers": {"Content-Type": "application/json"}},
        {"data": b'{"b": 1, "vector": "9,1,1,1"}', "headers": {"Content-Type": "application/json"}},
    ),
}


@pytest.mark.parametrize(("path", "paid", "other"), VARIANTS.values(), ids=VARIANTS)
def test_a_solution_that_paid_for_a_request_answers_no_other_one(
    stateful: StatefulSite, path: str, paid: Variant, other: Variant
) -> None:
    """Whatever a handler may read of a request is a part of it, in the order in which the handler reads it."""
    pay = stateful.solution()

    def send(path: str, variant: Variant) -> requests.Response:
        headers = pay | variant.get("headers", {})
        return requests.post(stateful.server.url("guarded") + path, **{**variant, "headers": headers}, timeout=TIMEOUT)

    url = stateful.server.url("plain") + ("/1.0/cheap" if path else "")
    plain = requests.post(url, timeout=TIMEOUT, **paid)
    settled = stateful.settlements()
    answer = send("/1.0/cheap" if path else "", paid)
    assert (answer.status_code, answer.content) == (200, plain.content)
    assert challenge_spent(send(path, other))
    assert send("/1.0/cheap" if path else "", paid).content == plain.content
    assert challenge_spent(send(path, other))
    assert stateful.settlements() == settled + 1


def test_json_that_the_handler_empties_is_answered_and_repeated(stateful: StatefulSite) -> None:
    body = {"vector": "0.1,0.9,0.25,0.3"}
    plain = requests.post(stateful.server.url("plain"), json=body, timeout=TIMEOUT)
    with requests.Session() as session:
        session.auth = PowAuth(stateful.key)
        answers = [session.post(stateful.server.url("guarded"), json=body, timeout=TIMEOUT) for _ in range(3)]
        assert not answers[-1].history, "it was prepaid"
        again = session.send(answers[-1].request, timeout=TIMEOUT)
    assert [answer.content for answer in (*answers, again)] == [plain.content] * 4


def test_a_stream_leaves_when_it_is_settled_as_the_victim_sent_it(stateful: StatefulSite) -> None:
    payload = "0.1,0.9,0.25,0.3;stream"
    plain = stateful.plain(payload)
    assert plain.startswith(b"first ")
    settled = stateful.settlements()
    assert stateful.guarded(payload, auth=PowAuth(stateful.key)).content == plain
    assert stateful.settlements() == settled + 1


def test_of_a_stream_that_fails_late_nothing_leaves_and_its_work_stays_good(stateful: StatefulSite) -> None:
    late, good = "0.1,0.9,0.25,0.3;stream, then fail", "0.1,0.9,0.25,0.3;good"
    pay, settled = stateful.solution(late), stateful.settlements()
    for _ in range(2):
        broken = stateful.guarded(late, headers=pay)
        assert broken.status_code == 503
        assert "first" not in broken.text
    assert stateful.settlements() == settled
    assert stateful.guarded(good, headers=pay).content == stateful.plain(good)
    assert challenge_spent(stateful.guarded(late, headers=pay))
