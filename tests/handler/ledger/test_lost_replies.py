"""A change that Redis has made, and whose reply was lost on the way, is made once: a proxy loses replies."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from calpow.handler.errors import LedgerUnavailable
from calpow.handler.gate.interface import Purpose
from calpow.handler.ledger.account import Account
from calpow.handler.ledger.solutions import Admission
from calpow.handler.ledger.uri import open_ledger
from calpow.handler.observe.observer import Observer
from tests.support.calibrations import calibrated_policy
from tests.support.ledger_child import charged, charged_account, history_of
from tests.support.ledgers import MODEL, admit, outcomes, settle, spending, use
from tests.support.lossy_proxy import LossyProxy, lossy_proxy
from tests.support.redis_servers import RedisServer
from tests.support.text_runner import TextRequest, TextRunner

# A part of the script of settlements, which no other has.
SETTLES = b"expires = math.max(expires"


@pytest.fixture
def proxy(redis: RedisServer) -> Iterator[LossyProxy]:
    with lossy_proxy(redis.port) as proxy:
        yield proxy


@pytest.fixture
def direct(redis: RedisServer) -> str:
    """The URI of a ledger without the proxy."""
    return redis.uri()


@pytest.fixture
def lossy(proxy: LossyProxy, redis: RedisServer, direct: str) -> str:
    """The URI of the same ledger through the proxy."""
    return direct.replace(f":{redis.port}/", f":{proxy.port}/")


def test_a_charge_whose_reply_is_lost_is_made_once(proxy: LossyProxy, direct: str, lossy: str) -> None:
    ledger, changes = open_ledger(lossy), {"ada": charged_account}
    proxy.lose = SETTLES
    with pytest.raises(LedgerUnavailable):
        ledger.charge(MODEL, changes, "first")
    # What is tried again finds that nothing is left to do.
    for _ in range(2):
        ledger.charge(MODEL, changes, "first")
    assert proxy.lost == 1
    assert open_ledger(direct).account(MODEL, "ada") == Account(history_of(1), 0, 1)
    proxy.lose = b""
    ledger.charge(MODEL, changes, "second")
    assert open_ledger(direct).account(MODEL, "ada").history == history_of(2)


def test_of_a_charge_that_failed_half_way_the_other_half_is_made(proxy: LossyProxy, direct: str, lossy: str) -> None:
    """A process that ends, or a cluster's node that is down, leaves some accounts charged and others not."""
    members = ["acme/ada", "acme/bob", "zoe"]
    open_ledger(direct).charge(MODEL, dict.fromkeys(members[:2], charged_account), "whole")
    open_ledger(lossy).charge(MODEL, dict.fromkeys(members, charged_account), "whole")
    ledger = open_ledger(direct)
    assert {name: ledger.account(MODEL, name).history for name in members} == dict.fromkeys(members, history_of(1))
    assert ledger.account(MODEL, "acme").version == 2


def test_what_is_observed_is_counted_once(proxy: LossyProxy, direct: str, lossy: str, tmp_path: Path) -> None:
    ledger, proxy.lose = open_ledger(direct), SETTLES
    key = ledger.add_key("ada")
    observer = Observer(MODEL, open_ledger(lossy), calibrated_policy(), tmp_path / "records.jsonl")
    for number in range(6):
        proxy.lose = SETTLES if number % 2 == 0 else b""
        text = f"1.0#{number}"
        request = TextRequest(key, None, 1, Purpose.predict, text, lambda: "digest")
        observer.answer([request], TextRunner().run)
        assert observer.flush(10.0)
    assert proxy.lost == 3
    assert ledger.account(MODEL, "ada").history.queries == 6


def test_a_settlement_is_made_once_and_its_retry_is_a_repeat(proxy: LossyProxy, direct: str, lossy: str) -> None:
    ledger, now = open_ledger(lossy), time.time()
    paid = use("a", expires=now + 600)
    assert admit(ledger, paid, now=now) == [Admission.FRESH]
    proxy.lose = SETTLES
    with pytest.raises(LedgerUnavailable):
        settle(ledger, spending(paid, settled=now), change=charged)
    proxy.lose = b""
    assert proxy.lost == 1
    assert set(outcomes(ledger, "a")) == {"a"}
    assert admit(ledger, paid, now=now) == [Admission.REPEAT]
    assert not settle(ledger, spending(paid, settled=now), change=charged)
    assert open_ledger(direct).account(MODEL, "ada").history == history_of(1)
