"""Signed challenges: only tokens that were signed here pass, whole and unaltered."""

import base64
import dataclasses
import hmac
import json
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calpow.handler.errors import BadToken
from calpow.handler.gate.tokens import HEADER, Claims, Rest, Signer
from calpow.handler.ledger.holders import Secret
from calpow.puzzle.algorithms import ScryptCost

OLD, NEW = Secret("1", b"o" * 32), Secret("2", b"n" * 32)
CLAIMS = Claims("5f0c", "opaque", "digits", 2_000_000_000, "hashcash-sha1", 12, 18)
RESTS = (
    Rest(("5f0d",), 4096, 2_000_003_600),
    Rest(("5f0d", "5f0e"), 2**53, 2_000_003_600, "5eed", "00ff"),
    Rest((), 0, 2_000_003_600, "5eed", "00ff"),
)


def signer(*secrets: Secret) -> Signer:
    return Signer(lambda: secrets)


def encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def forge(header: object, claims: object, key: bytes) -> str:
    signing = f"{encode(json.dumps(header).encode())}.{encode(json.dumps(claims).encode())}"
    return f"{signing}.{encode(hmac.digest(key, signing.encode(), sha256))}"


def members(claims: Claims) -> dict[str, object]:
    """The claims as a token has them, where they have neither cost nor rest."""
    return {name: value for name, value in dataclasses.asdict(claims).items() if name not in ("cost", "rest")}


@pytest.mark.parametrize(
    "claims",
    [
        CLAIMS,
        dataclasses.replace(CLAIMS, algorithm="scrypt", cost=ScryptCost(32, 8, 1)),
        *(dataclasses.replace(CLAIMS, rest=rest) for rest in RESTS),
        dataclasses.replace(CLAIMS, algorithm="scrypt", cost=ScryptCost(32, 8, 1), rest=RESTS[1]),
    ],
)
def test_what_was_signed_is_read_back(claims: Claims) -> None:
    assert signer(NEW).verify(signer(NEW).sign(claims)) == claims


def test_the_claims_are_as_they_are_documented() -> None:
    token = signer(NEW).sign(dataclasses.replace(CLAIMS, rest=RESTS[1]))
    payload = token.split(".")[1]
    assert json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))) == members(CLAIMS) | {
        "ids": ["5f0d", "5f0e"],
        "work": 2**53,
        "until": 2_000_003_600,
        "withheld": "5eed",
        "dig": "00ff",
    }


def test_a_subject_is_opaque_and_stays_with_its_account() -> None:
    subjects = {name: signer(NEW).subject(name) for name in ("ada", "bob", "", "\N{SNOWMAN}", "a" * 128)}
    assert len(set(subjects.values())) == len(subjects)
    assert {len(subject) for subject in subjects.values()} == {22}
    for name, subject in subjects.items():
        assert signer(NEW).subject(name) == subject
        assert [other for other in subjects if signer(NEW).is_subject(subject, other)] == [name]


def test_a_subject_cannot_be_made_or_recognised_without_the_secret() -> None:
    assert signer(OLD).subject("ada") != signer(NEW).subject("ada")
    assert not signer(NEW).is_subject(signer(OLD).subject("ada"), "ada")
    for guess in ("ada", "", sha256(b"ada").hexdigest()[:22], "\N{SNOWMAN}", signer(NEW).subject("ada")[:-1]):
        assert not signer(NEW).is_subject(guess, "ada")


def test_a_subject_outlives_the_rotation_of_its_secret() -> None:
    rotated = signer(OLD, NEW)
    assert rotated.subject("ada") == signer(NEW).subject("ada")
    assert rotated.is_subject(signer(OLD).subject("ada"), "ada")
    assert not rotated.is_subject(signer(OLD).subject("ada"), "bob")


def test_no_token_signs_a_subject_nor_a_subject_a_token() -> None:
    """A subject's HMAC has a domain of its own, which no token can have: there is no colon in one."""
    signature = signer(NEW).sign(CLAIMS).rsplit(".", 1)
    assert ":" not in signature[0]
    assert hmac.digest(NEW.value, b"subject:ada", sha256)[:16] == base64.urlsafe_b64decode(
        signer(NEW).subject("ada") + "=="
    )


@pytest.mark.parametrize("account", ["ada", "ädä", "\N{SNOWMAN}"])
def test_tokens_of_version_1_are_refused(account: str) -> None:
    """They held the account's own name and the digest of the payload; the secrets have stayed the same."""
    old = members(CLAIMS) | {"sub": account, "dig": "00ff"}
    with pytest.raises(BadToken):
        signer(NEW).verify(forge(HEADER, old, NEW.value))


def test_a_secret_that_was_taken_out_signs_nothing_more() -> None:
    secrets, now = [OLD, NEW], [0.0]
    worker = Signer(lambda: tuple(secrets), lambda: now[0])
    assert worker.verify(signer(OLD).sign(CLAIMS)) == CLAIMS
    secrets.remove(OLD)
    now[0] = 10.0
    with pytest.raises(BadToken):
        worker.verify(signer(OLD).sign(CLAIMS))


def test_the_token_is_a_json_web_token_that_anyone_can_check() -> None:
    token = signer(NEW).sign(CLAIMS)
    header, payload, signature = token.split(".")
    assert json.loads(base64.urlsafe_b64decode(header + "==")) == {"alg": "HS256", "typ": "JWT"}
    assert json.loads(base64.urlsafe_b64decode(payload + "=="))["sub"] == "opaque"
    expected = hmac.new(NEW.value, f"{header}.{payload}".encode(), "sha256").digest()
    assert base64.urlsafe_b64decode(signature + "==") == expected


def test_the_newest_secret_signs_and_every_known_one_is_accepted() -> None:
    rotated = signer(OLD, NEW)
    assert rotated.verify(signer(OLD).sign(CLAIMS)) == CLAIMS
    assert signer(NEW).verify(rotated.sign(CLAIMS)) == CLAIMS


def test_a_worker_that_does_not_know_a_new_secret_yet_reads_them_again() -> None:
    secrets, now = [OLD], [0.0]
    worker = Signer(lambda: tuple(secrets), lambda: now[0])
    worker.sign(CLAIMS)
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
            worker.verify(forge(HEADER, members(CLAIMS), b"guess"))
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
        forge(HEADER, members(CLAIMS), b"wrong key"),
        forge({"alg": "none", "typ": "JWT"}, members(CLAIMS), NEW.value),
        forge({"alg": "HS512", "typ": "JWT"}, members(CLAIMS), NEW.value),
        forge(HEADER, {"jti": "5f0c"}, NEW.value),
        forge(HEADER, [1, 2], NEW.value),
        forge(HEADER, members(CLAIMS) | {"algorithm": "scrypt"}, NEW.value),
        forge(HEADER, members(CLAIMS) | {"ids": ["5f0d"]}, NEW.value),
        forge({"alg": "none"}, members(CLAIMS), b"").rsplit(".", 1)[0] + ".",
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
