"""Prepaid stamps: one round trip for who believes the announced price, and nothing for who cheats with them."""

import base64
import calendar
import hashlib
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import anyio
import httpx
import pytest
import requests

from calpow.client import PowAuth
from calpow.client.httpx import PowAuth as HttpxPowAuth
from calpow.puzzle.errors import MalformedStamp, WrongStamp
from calpow.puzzle.prepaid import AHEAD_SECONDS, FRESH_SECONDS, prepaid_resource, read_prepaid, stamp_id
from calpow.puzzle.profiles import Kind
from calpow.puzzle.puzzle import Puzzle
from calpow.puzzle.solving.solver import solve
from calpow.puzzle.stamp import Stamp
from tests.support.guarded import TIMEOUT, Site

RESOURCE = prepaid_resource("digits@9f2c41", "cp_0_secret")
SHA1 = Kind("hashcash-sha1")
VECTOR = "0.1,0.9,0.3,0.2"


@pytest.fixture(scope="module")
def stamps() -> list[str]:
    return solve(Puzzle(SHA1.algorithm, RESOURCE, 6, 18))


def made_at(stamp: str) -> int:
    return calendar.timegm(time.strptime(Stamp.parse(stamp).date, "%y%m%d%H%M%S"))


def test_stamps_are_worth_what_they_claim_and_remembered_by_their_own_digests(stamps: list[str]) -> None:
    paid = read_prepaid(stamps, SHA1, RESOURCE)
    assert paid.hashes == 18 * 2**6
    assert paid.ids == tuple(map(stamp_id, stamps))
    assert len(set(paid.ids)) == 18
    assert (paid.oldest, paid.youngest) == (min(map(made_at, stamps)), max(map(made_at, stamps)))
    assert paid.stale_at == paid.oldest + FRESH_SECONDS


def test_an_id_is_the_base64_of_the_sha256_of_a_stamps_text() -> None:
    text = "1:6:260115120000:digits@9f2c41/0123456789abcdef:0:r:0"
    expected = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode()
    assert stamp_id(text) == expected.rstrip("=")
    assert len(stamp_id(text)) == 43


def test_stamps_of_several_sizes_add_up() -> None:
    mixed = [f"1:{bits}:260115120000:{RESOURCE}:0:r:{bits}" for bits in (1, 6, 40, 160)]
    assert read_prepaid(mixed, SHA1, RESOURCE).hashes == 2 + 2**6 + 2**40 + 2**160


def test_no_digest_is_taken_of_what_is_read(monkeypatch: pytest.MonkeyPatch, stamps: list[str]) -> None:
    monkeypatch.setattr("calpow.puzzle.algorithms.HASHES", {})
    assert read_prepaid(stamps, SHA1, RESOURCE).hashes == 18 * 2**6


def test_the_resource_names_who_pays_without_giving_the_key_away() -> None:
    assert RESOURCE.startswith("digits@9f2c41/")
    assert len(RESOURCE.partition("/")[2]) == 16
    assert "secret" not in RESOURCE
    assert prepaid_resource("digits@9f2c41", "another") != RESOURCE


def test_stamps_are_good_for_ten_minutes(stamps: list[str]) -> None:
    paid = read_prepaid(stamps, SHA1, RESOURCE)
    for now in (paid.oldest + FRESH_SECONDS - 1, paid.youngest - AHEAD_SECONDS):
        assert paid.is_fresh(now)
    for now in (paid.oldest + FRESH_SECONDS, paid.youngest - AHEAD_SECONDS - 1):
        assert not paid.is_fresh(now)


def test_one_stale_or_early_stamp_is_enough() -> None:
    dated = [f"1:6:{date}:{RESOURCE}:0:r:{date}" for date in ("260115120000", "260115120959", "260115121100")]
    paid = read_prepaid(dated, SHA1, RESOURCE)
    noon = calendar.timegm((2026, 1, 15, 12, 0, 0))
    assert (paid.oldest, paid.youngest) == (noon, noon + 660)
    assert not any(paid.is_fresh(noon + second) for second in range(0, 800, 10))
    assert read_prepaid(dated[:2], SHA1, RESOURCE).is_fresh(noon + 599)


def test_hostile_stamps_are_refused(stamps: list[str]) -> None:
    stamp = Stamp.parse(stamps[0])
    fields = stamp.text.split(":")
    dateless, to_the_minute = (":".join([*fields[:2], fields[2][:length], *fields[3:]]) for length in (6, 10))
    free = ":".join([fields[0], "0", *fields[2:]])
    for hostile, error in (
        ([stamp.text, stamp.text], WrongStamp),
        ([free], WrongStamp),
        ([dateless], MalformedStamp),
        ([to_the_minute], MalformedStamp),
        ([stamp.text.replace(RESOURCE, RESOURCE[:-1])], WrongStamp),
        ([stamp.text.replace(fields[2], "269923991399")], MalformedStamp),
        (["\N{SNOWMAN}"], MalformedStamp),
    ):
        with pytest.raises(error):
            read_prepaid(hostile, SHA1, RESOURCE)


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
    auth, url = PowAuth(site.key("prepaying-threads")), site.server.url("function")
    requests.post(url, data=VECTOR, auth=auth, timeout=TIMEOUT)
    with ThreadPoolExecutor(4) as pool:
        answers = list(
            pool.map(lambda n: requests.post(url, data=f"{VECTOR}{n}", auth=auth, timeout=TIMEOUT), range(16))
        )
    assert [(each.status_code, len(each.history)) for each in answers] == [(200, 0)] * 16


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
    assert site.totals("prepaid-replay").queries == 2


def test_who_is_asked_for_more_than_was_announced_pays_the_difference(site: Site) -> None:
    url, auth = site.server.url("vector"), PowAuth(site.key("prepaying-too-little"))
    requests.post(url, data=VECTOR, auth=auth, timeout=TIMEOUT)
    auth._payer.purse._change(url, lambda account: replace(account, next_hashes=2))
    answers = [requests.post(url, data=f"{VECTOR}{number}", auth=auth, timeout=TIMEOUT) for number in range(3)]
    assert [answer.status_code for answer in answers] == [200] * 3
    assert [1 + len(answer.history) for answer in answers] == [2, 1, 1]
    assert [answer.json()["type"] for answer in answers[0].history] == ["urn:calpow:problem:more-required"]


def test_httpx_pays_beforehand_too(site: Site) -> None:
    async def ask() -> list[httpx.Response]:
        auth = HttpxPowAuth(site.key("prepaying-httpx"))
        async with httpx.AsyncClient(auth=auth, timeout=TIMEOUT) as client:
            return [await client.post(site.server.url("vector"), content=f"{VECTOR}{number}") for number in range(4)]

    answers = anyio.run(ask)
    assert [(answer.status_code, len(answer.history)) for answer in answers] == [(200, 1), (200, 0), (200, 0), (200, 0)]
