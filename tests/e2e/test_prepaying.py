"""Clients of a protected TorchServe pay beforehand: one round trip an answer once they know the price."""

from concurrent.futures import ThreadPoolExecutor

import anyio
import httpx
import pytest
import requests

from calpow.client import PowAuth
from calpow.client.httpx import PowAuth as HttpxPowAuth
from calpow.client.reply import Reply
from tests.support.guarded import TIMEOUT, Site

pytestmark = pytest.mark.server

VECTOR = "0.1,0.9,0.3,0.2"


def test_a_session_pays_beforehand_once_it_knows_the_price(site: Site) -> None:
    with requests.Session() as session:
        session.auth = PowAuth(site.key("prepaying"))
        round_trips = []
        for number in range(6):
            answer = session.post(site.server.url("vector"), data=f"{VECTOR}{number}", timeout=TIMEOUT)
            assert answer.status_code == 200
            round_trips.append(1 + len(answer.history))
    assert round_trips == [2, 1, 1, 1, 1, 1]
    assert site.history("prepaying").queries == 6


def test_threads_share_what_a_server_announced(site: Site) -> None:
    auth, url = PowAuth(site.key("prepaying-threads")), site.server.url("function")
    requests.post(url, data=VECTOR, auth=auth, timeout=TIMEOUT)
    with ThreadPoolExecutor(4) as pool:
        answers = list(
            pool.map(lambda n: requests.post(url, data=f"{VECTOR}{n}", auth=auth, timeout=TIMEOUT), range(16))
        )
    assert [(answer.status_code, len(answer.history)) for answer in answers] == [(200, 0)] * 16


def test_prepaid_stamps_buy_one_answer_and_its_retry_over_http(site: Site) -> None:
    url, auth = site.server.url("vector"), PowAuth(site.key("prepaid-replay"))
    requests.post(url, data=VECTOR, auth=auth, timeout=TIMEOUT)
    paid = requests.post(url, data=f"{VECTOR}1", auth=auth, timeout=TIMEOUT)
    assert not paid.history
    headers = dict(paid.request.headers)
    again = requests.post(url, data=f"{VECTOR}1", headers=headers, timeout=TIMEOUT)
    assert (again.status_code, again.content) == (200, paid.content)
    other = requests.post(url, data=f"{VECTOR}2", headers=headers, timeout=TIMEOUT)
    assert other.status_code == 402
    assert other.json()["type"] == "urn:calpow:problem:challenge-spent"
    assert site.history("prepaid-replay").queries == 2


def test_who_is_asked_for_more_than_was_announced_pays_the_difference(site: Site) -> None:
    url, auth = site.server.url("vector"), PowAuth(site.key("prepaying-too-little"))
    requests.post(url, data=VECTOR, auth=auth, timeout=TIMEOUT)
    auth._wallet.learn_from_answer(url, Reply(200, {"pow-next": "2"}))
    answers = [requests.post(url, data=f"{VECTOR}{number}", auth=auth, timeout=TIMEOUT) for number in range(3)]
    assert [answer.status_code for answer in answers] == [200] * 3
    assert [1 + len(answer.history) for answer in answers] == [2, 1, 1]
    assert [answer.json()["type"] for answer in answers[0].history] == ["urn:calpow:problem:more-required"]


def test_httpx_pays_beforehand_too(site: Site) -> None:
    async def answers_to_four() -> list[httpx.Response]:
        auth = HttpxPowAuth(site.key("prepaying-httpx"))
        async with httpx.AsyncClient(auth=auth, timeout=TIMEOUT) as client:
            return [await client.post(site.server.url("vector"), content=f"{VECTOR}{number}") for number in range(4)]

    answers = anyio.run(answers_to_four)
    assert [(answer.status_code, len(answer.history)) for answer in answers] == [(200, 1), (200, 0), (200, 0), (200, 0)]
