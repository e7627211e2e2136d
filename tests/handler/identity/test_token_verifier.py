"""Tokens: only those that the provider signed for this deployment name an account, and only while they are valid."""

import json
import math
import time
from collections.abc import Callable
from typing import Any

import jwt
import pytest

from calpow.handler.errors import UnknownIdentity
from calpow.handler.identity import recent_tokens, token_verifier, watched_file
from calpow.handler.identity.token_verifier import MOST_CHARACTERS, TokenVerifier
from tests.support.identity_provider import ISSUER, Provider, encoded


def refusal(verifier: TokenVerifier, token: str) -> UnknownIdentity:
    with pytest.raises(UnknownIdentity) as refused:
        verifier.account(token)
    return refused.value


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make verifiers look at their files at every token."""
    monkeypatch.setattr(watched_file, "SECONDS_BETWEEN_LOOKS", 0.0)


@pytest.fixture
def verified(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The tokens whose signatures were verified."""
    tokens: list[str] = []
    real = jwt.decode

    def decode(token: str, *arguments: Any, **options: Any) -> Any:
        tokens.append(token)
        return real(token, *arguments, **options)

    monkeypatch.setattr(jwt, "decode", decode)
    return tokens


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
def test_a_token_of_the_provider_names_its_account(provider: Provider, algorithm: str) -> None:
    provider.add("second", algorithm)
    verifier = TokenVerifier(provider.settings())
    assert verifier.account(provider.token(sub="bob")) == "jwt:bob"
    assert verifier.account(provider.token(sub="bob", aud=["letters", "digits"], nbf=0, iat=0)) == "jwt:bob"


def test_the_claims_that_name_account_and_tenant_can_be_chosen(provider: Provider) -> None:
    verifier = TokenVerifier(provider.settings(account_claim="email", tenant_claim="org", prefix=""))
    assert verifier.account(provider.token(email="ada@acme.example", org="acme")) == "acme/ada@acme.example"
    assert refusal(verifier, provider.token(email="ada@acme.example")).detail == "org"
    assert refusal(verifier, provider.token(org="acme")).detail == "email"


def test_no_subject_enters_a_tenant_and_no_two_identities_share_a_name(provider: Provider) -> None:
    alone = TokenVerifier(provider.settings())
    assert alone.account(provider.token(sub="acme/ada")) == "jwt:acme%2Fada"
    tenants = TokenVerifier(provider.settings(tenant_claim="org"))
    pairs = [("a", "b/c"), ("a/b", "c"), ("a%2Fb", "c"), ("a", "b%2Fc"), ("a", "b")]
    names = {tenants.account(provider.token(org=org, sub=sub)) for org, sub in pairs}
    assert len(names) == len(pairs)
    assert all(name.count("/") == 1 for name in names)


FORGERIES: dict[str, Callable[[Provider], str]] = {
    "the algorithm none": lambda provider: provider.unsigned(),
    "HS256 with the public key": lambda provider: provider.confused(),
    "an algorithm that does not exist": lambda provider: provider.token(headers={"alg": "RS999"}),
    "an algorithm that is no text": lambda provider: provider.token(headers={"alg": ["RS256"]}),
    "another algorithm of the key": lambda provider: provider.token(headers={"alg": "PS256"}),
    "the algorithm of another kind of key": lambda provider: provider.token(headers={"alg": "ES256"}),
    "a key that does not exist": lambda provider: provider.token(headers={"kid": "second"}),
    "a key's name with a path": lambda provider: provider.token(headers={"kid": "../../dev/null"}),
    "a key's name that is no text": lambda provider: provider.token(headers={"kid": 0}),
    "an extension": lambda provider: provider.token(headers={"crit": ["b64"], "b64": True}),
    "a key that it brings along": lambda provider: _own_key(provider),
    "no signature": lambda provider: provider.token().rpartition(".")[0] + ".",
    "an altered signature": lambda provider: provider.token()[:-8] + "AAAAAAAA",
    "altered claims": lambda provider: _altered(provider.token()),
    "another issuer": lambda provider: provider.token(iss="https://login.example.net/"),
    "a part of the issuer's name": lambda provider: provider.token(iss="https://login.example.org"),
    "no issuer": lambda provider: provider.token(iss=None),
    "another audience": lambda provider: provider.token(aud="letters"),
    "no audience": lambda provider: provider.token(aud=None),
    "no expiry": lambda provider: provider.token(exp=None),
    "an expiry that is no number": lambda provider: provider.token(exp="tomorrow"),
    "an expiry that is not a number": lambda provider: provider.token(exp=math.nan),
    "an expiry that is true": lambda provider: provider.token(exp=True),
    "no subject": lambda provider: provider.token(sub=None),
    "an empty subject": lambda provider: provider.token(sub=""),
    "a subject that is no text": lambda provider: provider.token(sub=7),
    "a subject with a line's end": lambda provider: provider.token(sub="ada\nroot"),
    "a subject with a null character": lambda provider: provider.token(sub="ada\0"),
    "a subject with a surrogate": lambda provider: provider.token(sub="\ud800"),
    "a subject with space at its end": lambda provider: provider.token(sub="ada "),
    "a subject that is too long": lambda provider: provider.token(sub="a" * 125),
    "too long a token": lambda provider: provider.token(pad="x" * MOST_CHARACTERS),
    "nothing": lambda provider: "",
    "no token": lambda provider: "x.y.z",
    "characters of no token": lambda provider: "ä.\ud800." + "\0",
    "deep claims": lambda provider: f"{encoded({'alg': 'RS256', 'kid': 'first'})}.{'W1tb' * 1500}.AAAA",
    "a Bearer token": lambda provider: f"Bearer {provider.token()}",
    "two tokens": lambda provider: f"{provider.token()},{provider.token()}",
}


def _own_key(provider: Provider) -> str:
    thief = Provider(provider.path.parent / "thief")
    thief.path.parent.mkdir()
    thief.add("first")
    return thief.token(headers={"jwk": thief.public("first"), "jku": "https://thief.example/jwks"})


def _altered(token: str) -> str:
    header, _, signature = token.split(".")
    claims = {"iss": ISSUER, "aud": "digits", "sub": "root", "exp": int(time.time()) + 600}
    return f"{header}.{encoded(claims)}.{signature}"


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_token_names_nobody_and_no_reason_quotes_it(provider: Provider, name: str) -> None:
    token = FORGERIES[name](provider)
    verifier = TokenVerifier(provider.settings())
    for _ in range(2):
        reason = str(refusal(verifier, token))
        assert reason.isprintable()
        assert len(reason) < 120
        assert not any(part and part in reason for part in token.split("."))
    assert verifier.account(provider.token()) == "jwt:ada"


def test_a_token_counts_from_its_start_to_its_expiry_also_where_it_was_verified_before(
    provider: Provider, verified: list[str]
) -> None:
    clock = [1000.0]
    verifier = TokenVerifier(provider.settings(leeway_seconds=10.0), clock=lambda: clock[0])
    token = provider.token(nbf=1100, iat=1050, exp=1200)
    for now, valid in ((1089.9, False), (1090.0, True), (1209.9, True), (1210.0, False), (1150.0, True)):
        clock[0] = now
        if valid:
            assert verifier.account(token) == "jwt:ada"
        else:
            assert refusal(verifier, token).kind in ("a token is not valid yet", "a token has expired")
    assert verified == [token]
    clock[0] = 1150.0
    assert refusal(verifier, provider.token(iat=1161, exp=1200)).kind == "a token is not valid yet"
    assert verifier.account(provider.token(exp=10**400)) == "jwt:ada"


def test_a_signature_is_verified_once_and_a_flood_of_forged_tokens_displaces_no_honest_one(
    provider: Provider, verified: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_verifier, "_REMEMBERED_REJECTED", 8)
    verifier = TokenVerifier(provider.settings())
    token = provider.token()
    forged = [f"{token[:-9]}{number:03}{token[-6:]}" for number in range(20)]
    for sent in (token, token, *forged, forged[-1], token):
        if sent == token:
            assert verifier.account(sent) == "jwt:ada"
        else:
            refusal(verifier, sent)
    assert len(verified) == 1 + len(forged)


def test_the_tokens_that_are_remembered_are_few_and_only_digests_of_them_are_kept() -> None:
    recent: recent_tokens.RecentTokens[int] = recent_tokens.RecentTokens(3)
    for number in range(1, 4):
        recent.keep(bytes([number]), number)
    assert recent.find(b"\1") == 1
    recent.keep(b"\4", 4)
    assert [recent.find(bytes([number])) for number in range(1, 5)] == [1, None, 3, 4]


@pytest.mark.usefixtures("impatient")
def test_keys_rotate_without_a_restart_and_what_a_removed_one_signed_is_refused_at_once(provider: Provider) -> None:
    verifier = TokenVerifier(provider.settings())
    old = provider.token("first")
    assert verifier.account(old) == "jwt:ada"
    provider.add("second", "ES256")
    new = provider.token("second")
    assert [verifier.account(token) for token in (old, new)] == ["jwt:ada", "jwt:ada"]
    del provider.keys["first"]
    provider.publish()
    assert refusal(verifier, old).kind == "a token's key is not in the JWKS file"
    assert verifier.account(new) == "jwt:ada"


@pytest.mark.usefixtures("impatient")
def test_a_broken_file_keeps_the_last_good_keys_and_is_logged_once(
    provider: Provider, caplog: pytest.LogCaptureFixture
) -> None:
    verifier = TokenVerifier(provider.settings())
    good = provider.path.read_text()
    for broken in ("", "{", "[]", '{"keys": {}}', '{"keys": [3]}', '{"keys": [{"kty": "RSA"}]}'):
        provider.write(broken)
        for _ in range(3):
            assert verifier.account(provider.token()) == "jwt:ada"
        assert len(caplog.records) == 1
        assert "stays in force" in caplog.text
        caplog.clear()
    provider.path.unlink()
    for _ in range(3):
        assert verifier.account(provider.token()) == "jwt:ada"
    assert len(caplog.records) == 1
    provider.write(good)
    assert verifier.account(provider.token()) == "jwt:ada"
    assert "has changed and is in force" in caplog.text


@pytest.mark.usefixtures("impatient")
def test_an_empty_list_of_keys_shuts_everybody_out_and_is_logged(
    provider: Provider, caplog: pytest.LogCaptureFixture
) -> None:
    """An operator whose provider is in wrong hands empties the file."""
    verifier, good = TokenVerifier(provider.settings()), provider.path.read_text()
    token = provider.token()
    assert verifier.account(token) == "jwt:ada"
    provider.write('{"keys": []}')
    for _ in range(3):
        assert refusal(verifier, token).kind == "a token's key is not in the JWKS file"
    assert caplog.text.count("every token is refused") == 1
    assert refusal(TokenVerifier(provider.settings()), token), "a worker that is started now loads, and refuses"
    provider.write(good)
    assert verifier.account(token) == "jwt:ada"


def test_names_that_look_alike_are_one_account_and_invisible_ones_none(provider: Provider) -> None:
    verifier = TokenVerifier(provider.settings())
    for subject in ("jos\u00e9", "jose\u0301"):
        assert verifier.account(provider.token(sub=subject)) == "jwt:jos\u00e9"
    for subject in ("a\u200bda", "a\u3164da", "\u202eada", "ada\u0085"):
        assert refusal(verifier, provider.token(sub=subject)).kind == "its name cannot be an account's"


def test_a_token_without_a_keys_name_is_of_the_only_key_that_it_can_be_of(provider: Provider) -> None:
    provider.add("elliptic", "ES256")
    nameless = [_nameless(provider, name) for name in ("first", "elliptic")]
    verifier = TokenVerifier(provider.settings())
    assert [verifier.account(token) for token in nameless] == ["jwt:ada", "jwt:ada"]
    provider.add("another")
    verifier = TokenVerifier(provider.settings())
    assert refusal(verifier, nameless[0]).kind == "a token's key is not in the JWKS file"
    assert verifier.account(nameless[1]) == "jwt:ada"


def _nameless(provider: Provider, name: str) -> str:
    algorithm, key = provider.keys[name]
    claims = json.loads(json.dumps({"iss": ISSUER, "aud": "digits", "sub": "ada", "exp": int(time.time()) + 60}))
    return jwt.encode(claims, key, algorithm=algorithm)
