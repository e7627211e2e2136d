"""One pass prices and answers: what is answered is what was priced, and the victim runs once for it."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from calpow.archiver.server import Server, served
from calpow.client import PowAuth
from calpow.handler.ledger.uri import open_ledger
from calpow.puzzle.solving.solver import solve
from calpow.puzzle.wire import Challenge, format_solution
from tests.support.guarded import TIMEOUT, protect, train_teachers
from tests.support.victims import build as victims

pytestmark = pytest.mark.server


@dataclass(frozen=True)
class Counted:
    """A server with victims that write down the samples of each pass, and with one whose answers are random."""

    server: Server
    passes: Path
    key: str
    ledger: str

    def samples(self) -> list[str]:
        """Return all samples that victims have passed, in order."""
        return self.passes.read_text().split() if self.passes.exists() else []

    def post(self, model: str, payload: str, **options: object) -> requests.Response:
        url = self.server.url(model) if "url" not in options else options.pop("url")
        return requests.post(str(url), data=payload.encode(), timeout=TIMEOUT, **options)  # type: ignore[arg-type]

    def paid(self, model: str, payload: str, headers: dict[str, str]) -> requests.Response:
        return self.post(model, payload, headers=headers)

    def solution(self, model: str, payload: str) -> dict[str, str]:
        """Headers that pay for a payload."""
        refused = self.post(model, payload, headers={"X-Api-Key": self.key})
        challenge = Challenge.from_problem(refused.content)
        return {"X-Api-Key": self.key, "PoW-Solution": format_solution(challenge.token, solve(challenge.puzzle))}


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Counted]:
    folder = tmp_path_factory.mktemp("counted")
    (folder / "guarded").mkdir()
    one = victims.counting(folder, "one", workers=1, batch=4)
    four = victims.counting(folder, "four", workers=4, batch=1)
    chancy = victims.random(folder)
    teachers = train_teachers(folder, one, victims.vectors(folder / "vectors"))
    guarded = {
        victim.stem: protect(folder / "guarded", victim.stem, victim, teachers).guarded
        for victim in (one, four, chancy)
    }
    uri = f"sqlite:///{folder / 'ledger.db'}"
    environment = {"CALPOW_LEDGER": uri, "PASSES": str(folder / "passes")}
    with served({**guarded, "plain": one}, environment=environment) as server:
        yield Counted(server, folder / "passes", open_ledger(uri).add_key("ada"), uri)


def test_a_paid_answer_is_the_unprotected_one_after_a_single_pass(counted: Counted) -> None:
    payload = "0.1,0.9,0.25,0.3"
    plain = counted.post("plain", payload)
    before = counted.samples()
    paid = counted.post("one", payload, auth=PowAuth(counted.key))
    assert (paid.status_code, paid.content) == (200, plain.content)
    assert counted.samples()[len(before) :] == [payload]


def test_samples_that_cannot_be_counted_beforehand_are_looked_at_before_their_rest_is_asked(counted: Counted) -> None:
    payload = "1,2,3,4 4,3,2,9 1,2,3,4"
    plain = counted.post("plain", payload)
    before = counted.samples()
    paid = counted.post("one", payload, auth=PowAuth(counted.key))
    assert (paid.status_code, paid.content) == (200, plain.content)
    assert [response.status_code for response in paid.history][-1] == 402
    assert counted.samples()[len(before) :] == payload.split() * 2


def test_an_answer_is_right_and_computed_anew_when_it_is_asked_again(counted: Counted) -> None:
    payload = "0.7,0.9,0.25,0.3"
    plain = counted.post("plain", payload)
    for _ in range(3):
        before = counted.samples()
        assert counted.post("one", payload, auth=PowAuth(counted.key)).content == plain.content
        assert counted.samples()[len(before) :] == [payload], "what postprocess did to the last one is gone"


def test_samples_of_equal_sum_in_company_get_their_own_answers(counted: Counted) -> None:
    payloads = ["1,2,3,4", "4,3,2,1", "2,1,4,3", "3,4,1,2"]
    plain = [counted.post("plain", payload).content for payload in payloads]
    ready = [counted.solution("one", payload) for payload in payloads]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda query: counted.paid("one", *query), zip(payloads, ready, strict=True)))
    assert [answer.content for answer in answers] == plain


def test_a_batch_is_answered_as_it_is_unprotected_and_after_a_single_pass_each(counted: Counted) -> None:
    payloads = [f"0.{number},0.9,0.5,{number}" for number in range(1, 9)]
    plain = [counted.post("plain", payload).content for payload in payloads]
    before = counted.samples()
    with ThreadPoolExecutor(8) as pool:
        ready = list(pool.map(lambda payload: counted.solution("one", payload), payloads))
        answers = list(pool.map(lambda query: counted.paid("one", *query), zip(payloads, ready, strict=True)))
    assert [answer.content for answer in answers] == plain
    assert sorted(counted.samples()[len(before) :]) == sorted(payloads)


def test_a_payload_paid_for_at_another_worker_is_answered_all_the_same(counted: Counted) -> None:
    payloads = [f"0.{number},0.1,0.5,0.2" for number in range(1, 9)]
    plain = [counted.post("plain", payload).content for payload in payloads]
    before = counted.samples()
    with ThreadPoolExecutor(4) as pool:
        ready = list(pool.map(lambda payload: counted.solution("four", payload), payloads))
    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(lambda query: counted.paid("four", *query), zip(payloads, ready, strict=True)))
    assert [answer.content for answer in answers] == plain
    assert len(counted.samples()) - len(before) == 8


def test_an_explanation_is_the_victims_own_and_leaves_predictions_alone(counted: Counted) -> None:
    payload = "0.5,-2,0.25,0.125"
    counted.post("one", payload, headers={"X-Api-Key": counted.key})
    url = f"{counted.server.inference}/explanations/one"
    explained = counted.post("one", payload, url=url, auth=PowAuth(counted.key))
    assert (explained.status_code, json.loads(explained.content)) == (200, [0.5, 2.0, 0.25, 0.125])
    plain = counted.post("plain", payload)
    assert counted.post("one", payload, auth=PowAuth(counted.key)).content == plain.content


def test_an_explanation_that_the_handler_cannot_give_is_refused_before_any_work(counted: Counted) -> None:
    url = f"{counted.server.inference}/explanations/random"
    refused = counted.post("random", "1,2,3,4", url=url, headers={"X-Api-Key": counted.key})
    assert (refused.status_code, refused.json()["type"]) == (403, "urn:calpow:problem:explanation-refused")


def test_a_victim_with_random_answers_is_guarded_too(counted: Counted) -> None:
    answers = [counted.post("random", "1,2,3,4", auth=PowAuth(counted.key)) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    first, second = (json.loads(answer.content) for answer in answers)
    assert first != second
    assert first == pytest.approx(second, abs=1.0)


def test_an_unpaid_request_runs_no_code_of_the_victim(counted: Counted) -> None:
    before = counted.samples()
    for number in range(20):
        refused = counted.post("one", f"{number},0.9,0.25,0.3", headers={"X-Api-Key": counted.key})
        assert refused.status_code == 402
        assert counted.post("one", "no numbers", headers={"X-Api-Key": counted.key}).status_code == 402
    assert counted.samples() == before


def test_ten_payloads_of_an_account_are_asked_the_same_work(counted: Counted) -> None:
    key = open_ledger(counted.ledger).add_key("ten")
    payloads = ["0,0,0,0", "9,9,9,9", "no numbers", *(f"{number},1,2,3" for number in range(7))]
    refusals = [counted.post("one", payload, headers={"X-Api-Key": key}) for payload in payloads]
    assert len({Challenge.from_problem(refusal.content).puzzle.expected_hashes for refusal in refusals}) == 1


def test_eight_threads_with_one_key_and_the_same_payload_are_all_answered(counted: Counted) -> None:
    auth = PowAuth(counted.key)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: counted.post("four", "0.1,0.9,0.25,0.3", auth=auth), range(80)))
    assert [answer.status_code for answer in answers] == [200] * 80


def test_a_retry_of_a_lost_answer_is_answered_and_not_charged(counted: Counted) -> None:
    ledger = open_ledger(counted.ledger)
    payload, headers = "0.3,0.9,0.25,0.3", counted.solution("one", "0.3,0.9,0.25,0.3")
    first = counted.paid("one", payload, headers)
    charged = ledger.account("one", "ada")
    again = [counted.paid("one", payload, headers) for _ in range(6)]
    assert [answer.status_code for answer in again] == [200] * 4 + [402] * 2
    assert {answer.content for answer in again[:4]} == {first.content}
    assert ledger.account("one", "ada") == charged


def test_200_simultaneous_uses_of_one_solution_are_one_outcome_and_five_passes_at_most(counted: Counted) -> None:
    payload, headers = "0.4,0.9,0.25,0.3", counted.solution("four", "0.4,0.9,0.25,0.3")
    before, ledger = counted.samples(), open_ledger(counted.ledger)
    version = ledger.account("four", "ada").version
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: counted.paid("four", payload, headers), range(200)))
    statuses = [answer.status_code for answer in answers]
    assert 1 <= statuses.count(200) <= 5
    assert set(statuses) <= {200, 402, 503}, "503 is TorchServe's own: its queue was full"
    assert len(counted.samples()) - len(before) <= 5
    assert ledger.account("four", "ada").version == version + 1
