"""Signed challenges: nothing but our own tokens pass, whole and unaltered."""

import base64
import dataclasses
import hmac
import json
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calpow.handler.challenge import HEADER, BadToken, Claims, Signer
from calpow.handler.ledger.base import Secret

OLD, NEW = Secret("1", b"o" * 32), Secret("2", b"n" * 32)
CLAIMS = Claims("5f0c", "ada", "digits", 2_000_000_000, "00ff", "hashcash-sha1", 12, 18)


def signer(*secrets: Secret) -> Signer:
    made = Signer(lambda: secrets)
    made.refresh()
    return made


def encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def forge(header: object, claims: object, key: bytes) -> str:
    signing = f"{encode(json.dumps(header).encode())}.{encode(json.dumps(claims).encode())}"
    return f"{signing}.{encode(hmac.digest(key, signing.encode(), sha256))}"


def test_what_was_signed_is_read_back() -> None:
    assert signer(NEW).verify(signer(NEW).sign(CLAIMS)) == CLAIMS


def test_the_token_is_a_json_web_token_that_anyone_can_check() -> None:
    token = signer(NEW).sign(CLAIMS)
    header, payload, signature = token.split(".")
    assert json.loads(base64.urlsafe_b64decode(header + "==")) == {"alg": "HS256", "typ": "JWT"}
    assert json.loads(base64.urlsafe_b64decode(payload + "=="))["sub"] == "ada"
    expected = hmac.new(NEW.value, f"{header}.{payload}".encode(), "sha256").digest()
    assert base64.urlsafe_b64decode(signature + "==") == expected


def test_the_newest_secret_signs_and_every_known_one_is_accepted() -> None:
    rotated = signer(OLD, NEW)
    assert rotated.verify(signer(OLD).sign(CLAIMS)) == CLAIMS
    assert signer(NEW).verify(rotated.sign(CLAIMS)) == CLAIMS


def test_a_worker_that_does_not_know_a_new_secret_yet_reads_them_again() -> None:
    secrets, now = [OLD], [0.0]
    worker = Signer(lambda: tuple(secrets), lambda: now[0])
    worker.refresh()
    secrets.append(NEW)
    now[0] = 2.0
    assert worker.verify(signer(NEW).sign(CLAIMS)) == CLAIMS


def test_forged_tokens_do_not_make_a_worker_read_the_secrets_each_time() -> None:
    reads: list[int] = []

    def read() -> tuple[Secret, ...]:
        reads.append(1)
        return (NEW,)

    worker = Signer(read, lambda: 0.0)
    for _ in range(100):
        with pytest.raises(BadToken):
            worker.verify(forge(HEADER, dataclasses.asdict(CLAIMS), b"guess"))
    assert len(reads) == 1


@pytest.mark.parametrize(
    "token",
    [
        "",
        ".",
        "..",
        "a.b.c",
        "é.b.c",
        "x" * 7000,
        forge(HEADER, dataclasses.asdict(CLAIMS), b"wrong key"),
        forge({"alg": "none", "typ": "JWT"}, dataclasses.asdict(CLAIMS), NEW.value),
        forge({"alg": "HS512", "typ": "JWT"}, dataclasses.asdict(CLAIMS), NEW.value),
        forge(HEADER, {"jti": "5f0c"}, NEW.value),
        forge(HEADER, [1, 2], NEW.value),
        forge({"alg": "none"}, dataclasses.asdict(CLAIMS), b"").rsplit(".", 1)[0] + ".",
    ],
)
def test_what_is_no_token_of_ours_is_refused(token: str) -> None:
    with pytest.raises(BadToken):
        signer(NEW).verify(token)


@given(st.data())
def test_a_token_altered_anywhere_or_cut_anywhere_is_refused(data: st.DataObject) -> None:
    token = signer(NEW).sign(CLAIMS)
    place = data.draw(st.integers(0, len(token) - 1))
    letter = data.draw(st.characters(codec="ascii", categories=("L", "N", "P")).filter(lambda c: c != token[place]))
    for hostile in (token[:place] + letter + token[place + 1 :], token[:place]):
        with pytest.raises(BadToken):
            signer(NEW).verify(hostile)
