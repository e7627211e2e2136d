"""Whoever does not pay costs the server a signature: no pass, no row, no memory, hardly any time."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from calpow.client.httpx import PowAuth
from tests.support.guarded import TIMEOUT, Site
from tests.support.pictures import png

SIDE = 7_000
REQUESTS = 1_000
# What the worker's allocator may still take for bodies of a hundred kilobytes.
MOST_GROWTH_KIB = 40 << 10


@pytest.fixture(scope="module")
def picture() -> bytes:
    """The beginning of a PNG file of as many pixels as are allowed: 147 MB when it is decoded."""
    return png(SIDE, SIDE, packed=120)


def resident_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def rows(site: Site) -> list[int]:
    path = site.ledger_uri.removeprefix("sqlite:///")
    with sqlite3.connect(path) as connection:
        tables = ("accounts", "uses", "outcomes")
        return [connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables]


def test_a_thousand_unpaid_pictures_leave_memory_and_ledger_as_they_were(site: Site, picture: bytes) -> None:
    key = site.key("painter")
    (pid,) = site.server.worker_pids("eager")
    for _ in range(50):
        assert site.raw("eager", picture, key).status_code == 402
    before, written = resident_kib(pid), rows(site)
    with ThreadPoolExecutor(4) as pool:
        statuses = list(pool.map(lambda _: site.raw("eager", picture, key).status_code, range(REQUESTS)))
    assert set(statuses) == {402}
    assert site.server.worker_pids("eager") == [pid]
    assert resident_kib(pid) - before < MOST_GROWTH_KIB
    assert rows(site) == written


def test_refusing_a_picture_that_was_paid_for_keeps_none_of_its_memory(site: Site, picture: bytes) -> None:
    key = site.key("refused-painter")
    (pid,) = site.server.worker_pids("eager")
    assert site.paid("eager", picture, key).status_code == 400
    before = resident_kib(pid)
    for _ in range(6):
        assert site.paid("eager", picture, key).status_code == 400
    assert site.server.worker_pids("eager") == [pid]
    assert resident_kib(pid) - before < MOST_GROWTH_KIB


def test_eight_threads_of_httpx_with_the_same_picture_are_all_answered(site: Site) -> None:
    auth = PowAuth(site.key("eight-httpx"))
    with httpx.Client(auth=auth, timeout=TIMEOUT) as client, ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: client.post(site.server.url("eager"), content=site.picture), range(40)))
    assert [answer.status_code for answer in answers] == [200] * 40
