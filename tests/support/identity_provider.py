"""An identity provider of tests: its keys, its JWKS file, the tokens that it signs, and forged ones."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from calpow.handler.identity.identity_settings import JwtSettings

ISSUER = "https://login.example.org/"
AUDIENCE = "digits"
SIGNERS: Mapping[str, Any] = {
    "RS256": RSAAlgorithm(RSAAlgorithm.SHA256),
    "ES256": ECAlgorithm(ECAlgorithm.SHA256),
    "EdDSA": OKPAlgorithm(),
}


class Provider:
    """An identity provider with one key for each name, in a JWKS file of `folder`."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "jwks.json"
        self.keys: dict[str, tuple[str, Any]] = {}

    def add(self, name: str, algorithm: str = "RS256", bits: int = 2048) -> None:
        """Make a key of this name, and publish it."""
        if algorithm == "EdDSA":
            key: Any = ed25519.Ed25519PrivateKey.generate()
        elif algorithm.startswith("ES"):
            key = ec.generate_private_key(ec.SECP256R1())
        else:
            key = rsa.generate_private_key(65537, bits)
        self.keys[name] = (algorithm, key)
        self.publish()

    def public(self, name: str) -> dict[str, Any]:
        """Return the public part of a key as a JWK."""
        algorithm, key = self.keys[name]
        return {**SIGNERS[algorithm].to_jwk(key.public_key(), as_dict=True), "kid": name, "use": "sig"}

    def publish(self, *others: object) -> None:
        """Write the JWKS file, with all keys and others."""
        self.write(json.dumps({"keys": [*map(self.public, self.keys), *others]}))

    def write(self, content: str) -> None:
        """Put a file in the place of the JWKS file at once, as operators should."""
        new = self.path.with_suffix(".new")
        new.write_text(content)
        new.replace(self.path)

    def token(self, name: str | None = None, headers: Mapping[str, object] | None = None, **claims: object) -> str:
        """Sign a token with a key, the last one by default. A claim of None is left out."""
        name = name or list(self.keys)[-1]
        algorithm, key = self.keys[name]
        given = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ada", "exp": int(time.time()) + 600, **claims}
        members = {claim: value for claim, value in given.items() if value is not None}
        # PyJWT refuses to sign some claims that a forger would send.
        segments = [{"alg": algorithm, "typ": "JWT", "kid": name, **(headers or {})}, members]
        signing = ".".join(encoded(segment) for segment in segments)
        return f"{signing}.{_text(SIGNERS[algorithm].sign(signing.encode(), key))}"

    def unsigned(self) -> str:
        """Return a token with the algorithm `none`."""
        return f"{encoded({'alg': 'none', 'typ': 'JWT'})}.{self.token().split('.')[1]}."

    def confused(self) -> str:
        """Return a token that is signed by HS256 with the public key as its secret."""
        name, (_, key) = list(self.keys.items())[-1]
        kind = serialization.PublicFormat.SubjectPublicKeyInfo
        public = key.public_key().public_bytes(serialization.Encoding.PEM, kind)
        header = encoded({"alg": "HS256", "typ": "JWT", "kid": name})
        signing = f"{header}.{self.token().split('.')[1]}"
        return f"{signing}.{_text(hmac.digest(public, signing.encode(), hashlib.sha256))}"

    def settings(self, **changes: Any) -> JwtSettings:
        """Return settings that accept its tokens."""
        members: dict[str, Any] = {
            "issuer": ISSUER,
            "audience": AUDIENCE,
            "algorithms": tuple(SIGNERS),
            "jwks": str(self.path),
            "leeway_seconds": 0.0,
            "account_claim": "sub",
            "tenant_claim": None,
            "prefix": "jwt:",
        }
        return JwtSettings(**{**members, **changes})

    def settings_file(self, **sections: object) -> Path:
        """Write the file for CALPOW_IDENTITY that accepts its tokens, with more sections; return its path."""
        jwt_section = {"issuer": ISSUER, "audience": AUDIENCE, "algorithms": ["RS256"], "jwks": str(self.path)}
        path = self.path.with_name("identity.json")
        path.write_text(json.dumps({"schema": 1, "jwt": jwt_section, **sections}))
        return path


def encoded(value: object) -> str:
    """Return a part of a token."""
    return _text(json.dumps(value).encode())


def claims_of(token: str) -> Mapping[str, Any]:
    """Return the claims of a token, unverified."""
    claims: Mapping[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
