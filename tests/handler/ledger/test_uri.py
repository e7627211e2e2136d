"""A URI names a ledger, or is refused in one line."""

import pytest

from calpow.handler.errors import LedgerError
from calpow.handler.ledger.uri import DEFAULT_URI, holds_password, ledger_uri, open_ledger, without_password


def test_the_uri_is_what_was_given_else_the_environments_else_at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CALPOW_LEDGER", raising=False)
    assert ledger_uri(None) == DEFAULT_URI
    monkeypatch.setenv("CALPOW_LEDGER", "sqlite:///env.db")
    assert ledger_uri(None) == "sqlite:///env.db"
    assert ledger_uri("sqlite:///given.db") == "sqlite:///given.db"


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "ledger.db",
        "/tmp/ledger.db",
        "postgres://host/db",
        "sqlite://",
        "sqlite:///",
        "sqlite://ledger.db",
        "sqlite:///folder/",
        "sqlite:///:memory:",
        "sqlite:///~nobody-of-this-name/ledger.db",
    ],
)
def test_a_uri_that_names_no_ledger_is_refused_in_one_line(uri: str) -> None:
    with pytest.raises(LedgerError, match="sqlite:///") as caught:
        open_ledger(uri)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("uri", "shown", "has_password"),
    [
        ("redis://user:p@ss:w0rd@host:6379/0", "redis://host:6379/0", True),
        ("redis://:pa/ss@host/0", "redis://host/0", True),
        ("rediss://:secret@host/1?prefix=a", "rediss://host/1?prefix=a", True),
        ("redis://host/0?password=secret", "redis://host/0", True),
        ("redis://host/0?password=secret&prefix=b&timeout=1", "redis://host/0?prefix=b", True),
        ("redis://host:6379/0?prefix=a@b", "redis://host:6379/0?prefix=a%40b", False),
        ("sqlite:////srv/a@b/ledger.db", "sqlite:////srv/a@b/ledger.db", False),
    ],
)
def test_messages_show_a_uri_without_its_password(uri: str, shown: str, has_password: bool) -> None:
    assert without_password(uri) == shown
    assert holds_password(uri) == has_password
