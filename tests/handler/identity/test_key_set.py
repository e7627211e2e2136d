"""A JWKS file: keys that verify signatures are read, others are left out, and harmful ones spoil the file."""

import json
from typing import Any

import pytest

from calpow.handler.errors import IdentityFileError
from calpow.handler.identity.key_set import read_key_set
from tests.support.identity_provider import SIGNERS, Provider

ALL = ("RS256", "PS256", "ES256", "EdDSA")


def file_of(*keys: object) -> bytes:
    return json.dumps({"keys": keys}).encode()


def test_each_key_is_good_for_the_allowed_algorithms_of_its_kind_or_for_its_own_alone(provider: Provider) -> None:
    provider.add("elliptic", "ES256")
    provider.add("edwards", "EdDSA")
    keys = [provider.public(name) for name in ("first", "elliptic", "edwards")]
    found = read_key_set(file_of(*keys), ALL)
    assert [sorted(key.by_algorithm) for key in found.keys] == [["PS256", "RS256"], ["ES256"], ["EdDSA"]]
    (only,) = read_key_set(file_of({**keys[0], "alg": "PS256"}, *keys[1:]), ["RS256", "PS256"]).keys
    assert list(only.by_algorithm) == ["PS256"]


@pytest.mark.parametrize(
    "changes",
    [
        {"use": "enc"},
        {"key_ops": ["encrypt"]},
        {"key_ops": "verify"},
        {"kty": "oct", "k": "c2VjcmV0"},
        {"kty": "future"},
        {"kty": ["RSA"]},
        {"kty": "EC", "crv": ["P-256"]},
        {"alg": "HS256"},
        {"alg": "none"},
        {"alg": "RS512"},
    ],
)
def test_keys_for_something_else_are_left_out(provider: Provider, changes: dict[str, object]) -> None:
    provider.add("good")
    other = {**provider.public("first"), **changes}
    assert [key.id for key in read_key_set(file_of(other, provider.public("good")), ALL).keys] == ["good"]
    with pytest.raises(IdentityFileError, match="it has no key for"):
        read_key_set(file_of(other), ALL)


def test_private_weak_and_spoiled_keys_spoil_the_file(provider: Provider) -> None:
    public = provider.public("first")
    provider.add("weak", bits=1024)
    private: dict[str, Any] = SIGNERS["RS256"].to_jwk(provider.keys["first"][1], as_dict=True)
    cases = [
        (private, "is private"),
        (provider.public("weak"), "has 1024 bits"),
        ({**public, "kid": 7}, "kid is no text"),
        ({**public, "n": "?"}, "cannot be read"),
        ({"kty": "RSA"}, "cannot be read"),
    ]
    for key, message in cases:
        with pytest.raises(IdentityFileError, match=message) as refused:
            read_key_set(file_of(public, key), ALL)
        assert "\n" not in str(refused.value)


def test_a_name_that_two_keys_share_finds_neither(provider: Provider) -> None:
    provider.add("second")
    first, second = provider.public("first"), {**provider.public("second"), "kid": "first"}
    found = read_key_set(file_of(first, second), ALL)
    assert found.find("first", "RS256") is None
    assert read_key_set(file_of(first), ALL).find("first", "RS256") is not None
