"""Identification: the first way that is shown decides, and what proves nothing names nobody."""

import json
import logging
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import pytest

from calpow.handler.errors import GateMisconfigured, UnknownIdentity
from calpow.handler.identity import identification, watched_file
from calpow.handler.identity.credentials import Credentials
from calpow.handler.identity.identification import Identification
from calpow.handler.identity.ways import IdentityWay
from calpow.handler.ledger.holders import Identity
from calpow.handler.logs.rate_limited_log import RateLimitedLog
from tests.support.identity_provider import Provider

ALL = tuple(IdentityWay)
SECRET = "a secret of the proxy"


def identify(environment: Mapping[str, str], *ways: IdentityWay, **shown: str) -> Identity | None:
    return Identification.load(ways or ALL, environment).identify(Credentials(**shown))


@pytest.fixture
def environment(provider: Provider) -> dict[str, str]:
    return {"CALPOW_IDENTITY": str(provider.settings_file()), "CALPOW_PROXY_SECRET": SECRET}


def test_key_then_token_then_proxy_then_nothing_is_looked_at(provider: Provider, environment: dict[str, str]) -> None:
    shown = {"key": "cp_1", "token": provider.token(sub="ada"), "account": "bob", "secret": SECRET}
    expected = [Identity("cp_1"), Identity(None, "jwt:ada"), Identity(None, "proxy:bob"), Identity(None, "anonymous")]
    for gone, identity in zip(("", "key", "token", "account"), expected, strict=True):
        shown.pop(gone, None)
        assert identify(environment, **shown) == identity
    assert identify(environment, IdentityWay.key, IdentityWay.jwt, IdentityWay.proxy, secret=SECRET) is None


def test_what_one_way_refuses_is_tried_in_no_other(provider: Provider, environment: dict[str, str]) -> None:
    for shown in (
        {"token": provider.unsigned()},
        {"token": provider.unsigned(), "account": "bob", "secret": SECRET},
        {"account": "bob"},
        {"account": "bob", "secret": "a secret of a thief"},
        {"account": "bob", "secret": SECRET + " "},
        {"account": "bob\nroot", "secret": SECRET},
        {"account": "b" * 129, "secret": SECRET},
    ):
        with pytest.raises(UnknownIdentity) as refused:
            identify(environment, **shown)
        assert SECRET not in str(refused.value)
        assert "thief" not in str(refused.value)


def test_headers_of_ways_that_are_not_allowed_are_not_looked_at(environment: dict[str, str]) -> None:
    assert identify({}, IdentityWay.key, token="x", account="bob", secret=SECRET) is None
    assert identify({}, IdentityWay.anonymous, key="cp_1", token="x") == Identity(None, "anonymous")
    assert identify(environment, IdentityWay.proxy, key="cp_1", token="x") is None


def test_a_header_in_two_spellings_is_refused() -> None:
    shown = Credentials.read([("X-Api-Key", "cp_1"), ("accept", "*/*"), ("x-api-key", "cp_1")])
    assert shown.repeated == "x-api-key"
    with pytest.raises(UnknownIdentity):
        Identification(ALL).identify(shown)
    assert Credentials.read([("PoW-Identity", ""), ("Host", "x"), ("POW-ACCOUNT", "bob")]) == Credentials(account="bob")


def test_no_secret_is_shown_where_credentials_are() -> None:
    shown = Credentials("a key", "a token", "bob", "a secret")
    assert repr(shown) == "Credentials(account='bob', repeated=None)"


def test_the_log_says_why_an_identity_is_refused_once_a_minute(
    provider: Provider, environment: dict[str, str], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = RateLimitedLog(logging.getLogger("calpow.test"), "calpow: an identity is refused: ")
    monkeypatch.setattr(identification, "_refusals", fresh)
    known = Identification.load(ALL, environment)
    tokens = [provider.token(exp=1), provider.token(aud="letters"), provider.unsigned(), provider.token(exp=2)]
    for token in tokens:
        with pytest.raises(UnknownIdentity):
            known.identify(Credentials(token=token))
    assert [record.message.split(": ")[2] for record in caplog.records] == [
        "a token has expired",
        "a token is not valid",
        "a token's algorithm is not allowed",
    ]
    assert not any(part in caplog.text for token in tokens for part in token.split(".") if part)


def test_a_proxy_names_tenants_only_where_the_settings_say_so_and_then_always(provider: Provider) -> None:
    def named(name: str, **section: object) -> str | None:
        settings = str(provider.settings_file(proxy=section))
        environment = {"CALPOW_IDENTITY": settings, "CALPOW_PROXY_SECRET": SECRET}
        identity = identify(environment, IdentityWay.proxy, account=name, secret=SECRET)
        return None if identity is None else identity.account

    names = ["bob", "acme/bob", "a/b/c", "100%"]
    assert [named(name) for name in names] == ["proxy:bob", "proxy:acme%2Fbob", "proxy:a%2Fb%2Fc", "proxy:100%25"]
    assert named("acme/bob", tenants=True, prefix="") == "acme/bob"
    assert named("a/b/c", tenants=True) == "proxy:a/b%2Fc"
    for name in ("acme", "/bob", "acme/", "acme /bob"):
        with pytest.raises(UnknownIdentity):
            named(name, tenants=True)


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("name", ["jos\u00e9", "\u0141ukasz", "\u5c71\u7530"])
def test_a_proxys_name_is_one_account_however_its_letters_are_written(
    environment: dict[str, str], form: Literal["NFC", "NFD"], name: str
) -> None:
    sent = unicodedata.normalize(form, name)
    by_http = sent.encode().decode("latin-1")  # as TorchServe reads it
    for account in (sent, by_http):
        assert identify(environment, account=account, secret=SECRET) == Identity(None, f"proxy:{name}")


def test_a_secret_beyond_ascii_is_known_as_torchserve_reads_it() -> None:
    secret = "schl\u00fcssel des Hauses"
    environment = {"CALPOW_PROXY_SECRET": secret}
    for sent in (secret, secret.encode().decode("latin-1")):
        assert identify(environment, IdentityWay.proxy, account="bob", secret=sent) == Identity(None, "proxy:bob")
    with pytest.raises(UnknownIdentity):
        identify(environment, IdentityWay.proxy, account="bob", secret=secret.replace("\u00fc", "u"))


def test_a_name_that_holds_what_shows_nothing_is_refused(environment: dict[str, str]) -> None:
    for name in ("a\u200bda", "a\u3164da", "a\u202eda", "a\x1bda"):
        for account in (name, name.encode().decode("latin-1")):
            with pytest.raises(UnknownIdentity):
                identify(environment, account=account, secret=SECRET)


def test_names_that_tokens_and_keys_share_are_told_at_load(
    provider: Provider, caplog: pytest.LogCaptureFixture
) -> None:
    file = provider.settings_file()
    file.write_text(file.read_text().replace('"jwt": {', '"jwt": {"prefix": "", '))
    settings = {"CALPOW_IDENTITY": str(file)}
    Identification.load((IdentityWay.key, IdentityWay.jwt), settings)
    assert "jwt.prefix is empty" in caplog.text
    caplog.clear()
    Identification.load((IdentityWay.jwt,), settings)
    assert caplog.text == ""


def test_the_proxys_secret_changes_without_a_restart(
    tmp_path: Path, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watched_file, "SECONDS_BETWEEN_LOOKS", 0.0)
    file = tmp_path / "secret"
    file.write_text(SECRET)
    environment = {"CALPOW_IDENTITY": str(provider.settings_file(proxy={"secret_file": str(file)}))}
    known = Identification.load(ALL, environment)
    bob = Credentials(account="bob", secret=SECRET)
    assert known.identify(bob) == Identity(None, "proxy:bob")
    file.write_text("short")
    assert known.identify(bob) == Identity(None, "proxy:bob")
    file.write_text("another secret of the proxy\n")
    with pytest.raises(UnknownIdentity):
        known.identify(bob)


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({}, "the identity jwt needs the settings"),
        ({"CALPOW_IDENTITY": "identity.json"}, "absolute path"),
        ({"CALPOW_IDENTITY": "/nowhere/identity.json"}, "cannot be used"),
    ],
)
def test_tokens_need_settings(environment: Mapping[str, str], message: str) -> None:
    with pytest.raises(GateMisconfigured, match=message):
        Identification.load([IdentityWay.jwt], environment)


@pytest.mark.parametrize("environment", [{}, {"CALPOW_PROXY_SECRET": "short"}, {"CALPOW_PROXY_SECRET": ""}])
def test_a_proxy_needs_a_secret_of_some_length(environment: Mapping[str, str]) -> None:
    with pytest.raises(GateMisconfigured, match="secret"):
        Identification.load([IdentityWay.proxy], environment)


def test_one_secret_of_the_proxy_is_enough(tmp_path: Path, provider: Provider) -> None:
    file = tmp_path / "secret"
    file.write_text(SECRET)
    settings = str(provider.settings_file(proxy={"secret_file": str(file)}))
    with pytest.raises(GateMisconfigured, match="either"):
        Identification.load([IdentityWay.proxy], {"CALPOW_IDENTITY": settings, "CALPOW_PROXY_SECRET": SECRET})


def test_pyjwt_is_named_where_it_is_missing(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identification, "find_spec", lambda name: None)
    with pytest.raises(GateMisconfigured, match=r"pip install 'PyJWT\[crypto\]"):
        Identification.load([IdentityWay.jwt], {"CALPOW_IDENTITY": str(provider.settings_file())})


@pytest.mark.parametrize(
    ("tokens", "proxy"), [("", None), ("", {"prefix": "p:"}), ("jwt:", {"prefix": ""}), ("p:", {"prefix": "p:q:"})]
)
def test_no_subject_of_a_token_can_be_a_user_of_the_proxy(
    provider: Provider, tokens: str, proxy: dict[str, str] | None
) -> None:
    path = provider.settings_file(proxy=proxy)
    document = json.loads(path.read_text())
    document["jwt"]["prefix"] = tokens
    path.write_text(json.dumps(document))
    environment = {"CALPOW_IDENTITY": str(path), "CALPOW_PROXY_SECRET": SECRET}
    with pytest.raises(GateMisconfigured, match="begin alike"):
        Identification.load((IdentityWay.jwt, IdentityWay.proxy), environment)
    Identification.load((IdentityWay.proxy,), environment)
    document["proxy"] = {"prefix": tokens}
    path.write_text(json.dumps(document))
    Identification.load((IdentityWay.jwt, IdentityWay.proxy), environment)
