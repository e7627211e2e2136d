"""API keys lead to their accounts until they are revoked; deployment and secrets are made once."""

import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from calpow.handler.errors import LedgerError
from calpow.handler.ledger.api_key import ApiKey
from calpow.handler.ledger.holders import Identity
from calpow.handler.ledger.ledger import Ledger
from calpow.handler.ledger.uri import open_ledger
from tests.support.ledgers import MODEL


def test_everybody_sees_the_same_deployment_and_secrets(uri: str) -> None:
    ledgers = [open_ledger(uri) for _ in range(3)]
    assert len({ledger.deployment() for ledger in ledgers}) == 1
    assert len({ledger.secrets() for ledger in ledgers}) == 1


def test_a_deployment_is_named_by_six_hex_digits(ledger: Ledger) -> None:
    assert re.fullmatch("[0-9a-f]{6}", ledger.deployment())


def test_there_is_a_secret_of_32_bytes_from_the_start(ledger: Ledger) -> None:
    (secret,) = ledger.secrets()
    assert len(secret.value) == 32
    assert secret.id


def test_a_key_leads_to_its_account(uri: str) -> None:
    key = open_ledger(uri).add_key("ada")
    assert re.fullmatch("cp_[0-9a-f]+_[0-9a-f]+", key)
    assert open_ledger(uri).account_of(key) == "ada"


def test_several_keys_may_share_an_account(ledger: Ledger) -> None:
    keys = {ledger.add_key("ada") for _ in range(3)}
    assert {ledger.account_of(key) for key in keys} == {"ada"}
    listed = ledger.keys()
    assert [key.account for key in listed] == ["ada"] * 3


def test_a_new_key_has_an_id_of_its_own(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    first = ledger.add_key("ada")
    taken, free = ApiKey(first.split("_")[1], first[:-1] + "0"), ApiKey.generate()
    keys = iter([taken, taken, free])
    monkeypatch.setattr(ApiKey, "generate", lambda: next(keys))
    assert ledger.add_key("bob") == free.text
    assert ledger.account_of(first) == "ada"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda key: "",
        lambda key: key[:-1],
        lambda key: key + "0",
        lambda key: key + "\n",
        lambda key: key.upper(),
        lambda key: key[:-1] + ("0" if key[-1] != "0" else "1"),
        lambda key: "cp_00000000_" + key.split("_")[2],
        lambda key: key.split("_")[1],
        lambda key: "cp__",
        lambda key: "\ud800" * 20,
        lambda key: "cp_" + "٣" * 8 + "_" + "٣" * 48,
        lambda key: "x" * 8000,
        lambda key: "' OR 1=1 --",
    ],
)
def test_what_is_not_quite_a_key_leads_nowhere(ledger: Ledger, spoil: Callable[[str], str]) -> None:
    spoiled = spoil(ledger.add_key("ada"))
    assert ledger.account_of(spoiled) is None
    assert ledger.holders(MODEL, [(Identity(spoiled), ["a"])]) == [None]


def test_a_revoked_key_is_refused_at_once_everywhere(uri: str, ledger: Ledger) -> None:
    worker = open_ledger(uri)
    kept, lost = worker.add_key("ada"), worker.add_key("ada")
    assert worker.account_of(lost) == "ada"
    ledger.revoke_key(lost.split("_")[1])
    assert worker.account_of(lost) is None
    assert worker.account_of(kept) == "ada"


def test_a_key_that_expires_is_refused_from_then_on_everywhere(
    uri: str, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker, now = open_ledger(uri), time.time()
    key, lasting = ledger.add_key("ada", now + 60), ledger.add_key("ada")
    for moment, account in ((now, "ada"), (now + 59.9, "ada"), (now + 60.1, None), (now + 1e9, None)):
        monkeypatch.setattr(time, "time", lambda moment=moment: moment)
        assert worker.account_of(key) == account
        (holder,) = worker.holders(MODEL, [(Identity(key), [])])
        assert (None if holder is None else holder.name) == account
        assert worker.account_of(lasting) == "ada"
    first, second = ledger.keys()
    assert (first.expires, first.ends, second.expires, second.ends) == (now + 60, now + 60, None, None)
    ledger.revoke_key(key.split("_")[1])
    assert ledger.keys()[0].ends == now + 60


def test_the_time_of_the_first_revocation_stays(ledger: Ledger) -> None:
    key_id = ledger.add_key("ada").split("_")[1]
    ledger.revoke_key(key_id)
    (before,) = ledger.keys()
    ledger.revoke_key(key_id)
    assert ledger.keys() == (before,)
    assert before.revoked is not None
    assert before.revoked >= before.created


@pytest.mark.parametrize("name", ["nobody", "", "\udcff"])
def test_a_key_that_does_not_exist_cannot_be_revoked(ledger: Ledger, name: str) -> None:
    with pytest.raises(LedgerError, match="no key"):
        ledger.revoke_key(name)


INVISIBLE = [
    f"a{character}da" for character in "\u200b\u200d\u202e\u2066\ufeff\u00ad\u034f\u3164\u115f\ufe0f\u2800\U000e0041"
]


@pytest.mark.parametrize(
    "name",
    ["", " ada", "ada ", "a\nb", "a\x00b", "x" * 200, "\ud800", "jose\u0301", "\u212bngstr\u00f6m", *INVISIBLE],
)
def test_an_account_needs_a_name_that_can_be_written_down(ledger: Ledger, name: str) -> None:
    with pytest.raises(LedgerError, match="account"):
        ledger.add_key(name)
    assert ledger.keys() == ()


def test_another_ledger_takes_over_keys_which_then_work_there(ledger: Ledger, tmp_path: Path) -> None:
    key, revoked = ledger.add_key("ada", 2e9), ledger.add_key("bob")
    ledger.revoke_key(revoked.split("_")[1])
    records = ledger.key_records()
    assert [(record.account, record.expires) for record in records] == [("ada", 2e9), ("bob", None)]
    other = open_ledger(f"sqlite:///{tmp_path}/other.db")
    for _ in range(2):
        other.restore_keys(records)
    assert (other.account_of(key), other.account_of(revoked)) == ("ada", None)
    assert other.keys() == ledger.keys()
    other.restore_keys([records[0]._replace(account="eve")])
    assert other.account_of(key) == "ada"


def test_secrets_are_renewed_and_the_last_one_stays_good(uri: str, ledger: Ledger) -> None:
    (first,) = ledger.secrets()
    second = ledger.rotate_secret()
    assert open_ledger(uri).secrets() == (first, second)
    third = ledger.rotate_secret()
    assert open_ledger(uri).secrets() == (second, third)
    assert len({first.value, second.value, third.value}) == 3
