"""A released answer is the unprotected victim's: status, content type, headers and body, byte for byte."""

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from zipfile import ZipFile

import pytest
import requests

from calpow.puzzle.solving.solver import solve
from calpow.puzzle.wire import Challenge, format_solution
from tests.support.guarded import TIMEOUT, Site

OURS = {"pow-next"}
# TorchServe numbers every request and says how it keeps the connection.
INCIDENTAL = {"x-request-id", "connection"}
VECTOR = b"0.1,0.9,0.3,0.2"


def seen(response: requests.Response) -> tuple[int, str, dict[str, str], bytes]:
    """Return all that a client can tell an answer by."""
    headers = {name.lower(): value for name, value in response.headers.items()}
    return (
        response.status_code,
        response.reason,
        {name: value for name, value in headers.items() if name not in OURS | INCIDENTAL},
        response.content,
    )


def solution_of(challenged: requests.Response) -> str:
    challenge = Challenge.from_problem(challenged.content)
    return format_solution(challenge.token, solve(challenge.puzzle))


@pytest.mark.parametrize("model", ["vector", "function", "eager", "script"])
def test_every_kind_of_victim_answers_as_it_did(site: Site, model: str) -> None:
    payload = site.picture if model in {"eager", "script"} else VECTOR
    answer = site.paid(model, payload, site.key(f"kind-{model}"))
    assert answer.status_code == 200
    assert [response.status_code for response in answer.history] == [402]
    assert seen(answer) == seen(site.plain(model, payload))


@pytest.mark.parametrize(
    "command", ["raw", "tensor", "number", "list", "none", "html", "teapot", "refuse", "raise", "memory"]
)
def test_every_kind_of_answer_and_of_failure_is_the_victims_own(site: Site, command: str) -> None:
    payload = VECTOR + b";" + command.encode()
    assert seen(site.paid("vector", payload, site.key(f"answer-{command}"))) == seen(site.plain("vector", payload))


@pytest.mark.parametrize("command", ["fail", "unwritable", "short", "raise", "refuse", "memory"])
def test_a_victim_that_fails_keeps_nobodys_work(site: Site, command: str) -> None:
    payload, key = VECTOR + b";" + command.encode(), site.key(f"fails-{command}")
    solution = solution_of(site.raw("vector", payload, key))
    charged = site.history(f"fails-{command}")
    for _ in range(2):
        failed = site.raw("vector", payload, key, solution)
        assert failed.status_code >= 500
        assert seen(failed) == seen(site.plain("vector", payload))
    assert site.history(f"fails-{command}") == charged


def test_an_answer_of_the_victims_own_choosing_is_an_answer_and_is_paid_for(site: Site) -> None:
    payload, key = VECTOR + b";teapot", site.key("teapot")
    solution = solution_of(site.raw("vector", payload, key))
    charged = site.history("teapot").queries
    assert site.raw("vector", payload, key, solution).status_code == 418
    assert site.history("teapot").queries == charged + 1
    assert site.raw("vector", VECTOR, key, solution).status_code == 402


def test_released_and_refused_requests_share_a_batch_and_do_not_disturb_each_other(site: Site) -> None:
    key = site.key("mixed")
    payloads = [VECTOR + b";raw", VECTOR + b";teapot"]
    solutions = [solution_of(site.raw("vector", payload, key)) for payload in payloads]
    queries: list[tuple[bytes, str | None, str | None]] = [
        (payloads[0], key, solutions[0]),
        (payloads[1], key, solutions[1]),
        (b"0.5,0.1,0.1,0.1", key, None),
        (VECTOR, None, None),
    ]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda query: site.raw("vector", *query), queries))
    assert [answer.status_code for answer in answers] == [200, 418, 402, 401]
    assert [seen(answer) for answer in answers[:2]] == [seen(site.plain("vector", payload)) for payload in payloads]


def test_a_victim_that_fails_in_a_mixed_batch_answers_as_torchserve_would(site: Site) -> None:
    key = site.key("mixed-failure")
    payload = VECTOR + b";raise"
    solution = solution_of(site.raw("vector", payload, key))
    with ThreadPoolExecutor(3) as pool:
        queries = [(payload, key, solution), (b"0.5,0.1,0.2,0.1", key, None), (VECTOR, None, None)]
        failed, challenged, unknown = pool.map(lambda query: site.raw("vector", *query), queries)
    assert seen(failed) == seen(site.plain("vector", payload))
    assert (challenged.status_code, unknown.status_code) == (402, 401)


def test_the_victims_archive_is_embedded_byte_for_byte(site: Site) -> None:
    for part in site.parts.values():
        with ZipFile(part.guarded) as archive:
            embedded = archive.read("victim.mar")
        assert sha256(embedded).digest() == sha256(part.victim.read_bytes()).digest()


def test_the_victims_frontend_settings_are_kept(site: Site) -> None:
    guarded, plain = (
        requests.get(f"{site.server.management}/models/{name}", timeout=TIMEOUT).json()[0]
        for name in ("vector", "vector-plain")
    )
    for setting in ("batchSize", "maxBatchDelay", "minWorkers", "maxWorkers", "responseTimeout", "modelVersion"):
        assert guarded[setting] == plain[setting]
    assert guarded["batchSize"] == 4


def test_an_explanation_is_not_had_for_a_predictions_work(site: Site) -> None:
    key = site.key("explainer")
    solution = solution_of(site.raw("vector", VECTOR, key))
    url = f"{site.server.inference}/explanations/vector"
    headers = {"X-Api-Key": key, "PoW-Solution": solution}
    paid = Challenge.from_token(solution.split()[0]).puzzle.expected_hashes
    more = requests.post(url, data=VECTOR, headers=headers, timeout=TIMEOUT)
    assert more.status_code == 402
    assert more.json()["type"] == "urn:calpow:problem:more-required"
    rest = Challenge.from_problem(more.content).puzzle.expected_hashes
    assert paid + rest >= 10 * paid
    headers["PoW-Solution"] = solution_of(more)
    explained = requests.post(url, data=VECTOR, headers=headers, timeout=TIMEOUT)
    assert explained.json() == {"class": 1, "explained": True}


def test_a_worker_that_is_killed_while_it_answers_gives_the_work_back(site: Site) -> None:
    payload, key = VECTOR + b";sleep", site.key("crash")
    solution = solution_of(site.raw("vector", payload, key))
    (pid,) = site.server.worker_pids("vector")
    with ThreadPoolExecutor(1) as pool:
        pending = pool.submit(site.raw, "vector", payload, key, solution)
        time.sleep(0.7)
        os.kill(pid, signal.SIGKILL)
        assert pending.result().status_code >= 500
    deadline = time.monotonic() + 60
    while site.server.worker_pids("vector") in ([], [pid]) and time.monotonic() < deadline:
        time.sleep(0.2)
    answered = site.raw("vector", payload, key, solution)
    assert answered.status_code == 200, answered.text
    assert site.history("crash").queries == 1
    assert site.raw("vector", VECTOR, key, solution).status_code == 402
