"""Prepaid stamps: one round trip for who believes the announced price, and nothing for who cheats with them."""

import calendar
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import anyio
import httpx
import pytest
import requests

from calpow.client import PowAuth
from calpow.client.httpx import PowAuth as HttpxPowAuth
from calpow.puzzle.errors import MalformedStamp, StaleStamp, WrongStamp
from calpow.puzzle.prepaid import AHEAD_SECONDS, FRESH_SECONDS, check_prepaid, prepaid_resource
from calpow.puzzle.profiles import Kind
from calpow.puzzle.puzzle import Puzzle
from calpow.puzzle.solver import solve
from calpow.puzzle.stamp import Stamp
from tests.guarded import TIMEOUT, Site

RESOURCE = prepaid_resource("digits@9f2c41", "cp_0_secret")
SHA1 = Kind("hashcash-sha1")
VECTOR = "0.1,0.9,0.3,0.2"


@pytest.fixture(scope="module")
def stamps() -> list[str]:
    return solve(Puzzle(SHA1.algorithm, RESOURCE, 6, 18))


def made_at(stamp: str) -> int:
    return calendar.timegm(time.strptime(Stamp.parse(stamp).date, "%y%m%d%H%M%S"))


def test_stamps_are_worth_what_they_claim_and_have(stamps: list[str]) -> None:
    work = check_prepaid(stamps, SHA1, RESOURCE, time.time())
    assert work.hashes == 18 * 2**6
    assert len(set(work.ids)) == 18
    assert work.stale_at == min(map(made_at, stamps)) + FRESH_SECONDS


def test_the_resource_names_who_pays_without_giving_the_key_away() -> None:
    assert RESOURCE.startswith("digits@9f2c41/")
    assert len(RESOURCE.partition("/")[2]) == 16
    assert "secret" not in RESOURCE
    assert prepaid_resource("digits@9f2c41", "another") != RESOURCE


def test_stamps_are_good_for_ten_minutes(stamps: list[str]) -> None:
    first, last = made_at(stamps[0]), made_at(stamps[-1])
    check_prepaid(stamps, SHA1, RESOURCE, first + FRESH_SECONDS - 1)
    check_prepaid(stamps, SHA1, RESOURCE, last - AHEAD_SECONDS)
    for now in (first + FRESH_SECONDS, last - AHEAD_SECONDS - 1):
        with pytest.raises(StaleStamp):
            check_prepaid(stamps, SHA1, RESOURCE, now)


def test_hostile_stamps_are_refused(stamps: list[str]) -> None:
    stamp = Stamp.parse(stamps[0])
    fields = stamp.text.split(":")
    dateless, to_the_minute = (":".join([*fields[:2], fields[2][:length], *fields[3:]]) for length in (6, 10))
    free = ":".join([fields[0], "0", *fields[2:]])
    boasting = ":".join([fields[0], "60", *fields[2:]])
    for hostile, error in (
        ([stamp.text, stamp.text], WrongStamp),
        ([boasting], WrongStamp),
        ([free], WrongStamp),
        ([dateless], MalformedStamp),
        ([to_the_minute], MalformedStamp),
        ([stamp.text.replace(RESOURCE, RESOURCE[:-1])], WrongStamp),
        ([stamp.text.replace(fields[2], "269923991399")], MalformedStamp),
        (["\N{SNOWMAN}"], MalformedStamp),
    ):
        with pytest.raises(error):
            check_prepaid(hostile, SHA1, RESOURCE, time.time())


def test_a_session_pays_beforehand_once_it_knows_the_price(site: Site) -> None:
    with requests.Session() as session:
        session.auth = PowAuth(site.key("prepaying"))
        trips = []
        for number in range(6):
            answer = session.post(site.server.url("vector"), data=f"{VECTOR}{number}", timeout=TIMEOUT)
            assert answer.status_code == 200
            trips.append(1 + len(answer.history))
    assert trips == [2, 1, 1, 1, 1, 1]
    assert site.totals("prepaying").queries == 6


def test_threads_share_what_a_server_announced(site: Site) -> None:
    auth, url = PowAuth(site.key("prepaying-threads")), site.server.url("bare")
    requests.post(url, data=VECTOR, auth=auth, timeout=TIMEOUT)
    with ThreadPoolExecutor(4) as pool:
        answers = list(
            pool.map(lambda n: requests.post(url, data=f"{VECTOR}{n}", auth=auth, timeout=TIMEOUT), range(16))
        )
    assert [(each.status_code, len(each.history)) for each in answers] == [(200, 0)] * 16


def test_prepaid_stamps_cannot_be_replayed_over_http(site: Site) -> None:
    url, auth = site.server.url("vector"), PowAuth(site.key("prepaid-replay"))
    requests.post(url, data=VECTOR, auth=auth, timeout=TIMEOUT)
    paid = requests.post(url, data=f"{VECTOR}1", auth=auth, timeout=TIMEOUT)
    assert not paid.history
    headers = dict(paid.request.headers)
    for payload in (f"{VECTOR}1", f"{VECTOR}2"):
        headers["Content-Length"] = str(len(payload))
        replayed = requests.post(url, data=payload, headers=headers, timeout=TIMEOUT)
        assert replayed.status_code == 402
        assert replayed.json()["type"] == "urn:calpow:problem:challenge-spent"


def test_who_is_asked_for_more_than_was_announced_pays_the_difference(site: Site) -> None:
    url, auth = site.server.url("vector"), PowAuth(site.key("prepaying-too-little"))
    requests.post(url, data=VECTOR, auth=auth, timeout=TIMEOUT)
    auth._payer.purse._change(url, lambda account: replace(account, next_hashes=2))
    answers = [requests.post(url, data=f"{VECTOR}{number}", auth=auth, timeout=TIMEOUT) for number in range(3)]
    assert [answer.status_code for answer in answers] == [200] * 3
    assert [1 + len(answer.history) for answer in answers] == [2, 1, 1]
    assert str(answers[0].request.headers["PoW-Solution"]).startswith("prepaid ")


def test_httpx_pays_beforehand_too(site: Site) -> None:
    async def ask() -> list[httpx.Response]:
        auth = HttpxPowAuth(site.key("prepaying-httpx"))
        async with httpx.AsyncClient(auth=auth, timeout=TIMEOUT) as client:
            return [await client.post(site.server.url("vector"), content=f"{VECTOR}{number}") for number in range(4)]

    answers = anyio.run(ask)
    assert [(answer.status_code, len(answer.history)) for answer in answers] == [(200, 1), (200, 0), (200, 0), (200, 0)]
