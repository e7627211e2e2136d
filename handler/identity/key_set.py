"""The public keys of an identity provider, as its JWKS file lists them (RFC 7517). Imported for the way `jwt` only."""

import json
import logging
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from jwt import PyJWK
from jwt.exceptions import PyJWTError

from calpow.handler.errors import IdentityFileError

log = logging.getLogger(__name__)

LEAST_RSA_BITS = 2048
_RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_CURVES = {"P-256": ("ES256",), "P-384": ("ES384",), "P-521": ("ES512",), "Ed25519": ("EdDSA",), "Ed448": ("EdDSA",)}


class VerificationKey(NamedTuple):
    """A public key: its id, if it has one, and the key for each algorithm that it is good for."""

    id: str | None
    by_algorithm: Mapping[str, PyJWK]


class KeySet(NamedTuple):
    """Public keys that sign tokens."""

    keys: tuple[VerificationKey, ...]

    def find(self, key_id: str | None, algorithm: str) -> PyJWK | None:
        """Return the key of an id for an algorithm; None unless there is exactly one.

        A token without the id of a key may be of any key.
        """
        found = [
            key.by_algorithm[algorithm]
            for key in self.keys
            if algorithm in key.by_algorithm and key_id in (None, key.id)
        ]
        return found[0] if len(found) == 1 else None


def read_key_set(content: bytes, algorithms: Collection[str]) -> KeySet:
    """Return the keys of a JWKS file that can verify signatures of one of some asymmetric algorithms.

    Keys for something else and of unknown kinds are left out (RFC 7517, section 5), symmetric ones as well. An empty
    list says that there are none. Raises IdentityFileError where none of some keys is left, and for a key that is
    spoiled, weak or private.
    """
    try:
        members = json.loads(content)["keys"]
        if not isinstance(members, list):
            raise TypeError
    except (ValueError, KeyError, TypeError, RecursionError):
        raise IdentityFileError('it is no JWKS file, {"keys": [...]}') from None
    keys = tuple(key for number, member in enumerate(members) if (key := _read_key(member, number, algorithms)))
    if not members:
        log.warning("calpow: the JWKS file has no keys: every token is refused")
    elif not keys:
        raise IdentityFileError(f"it has no key for {', '.join(sorted(algorithms))}")
    return KeySet(keys)


def _read_key(member: object, number: int, algorithms: Collection[str]) -> VerificationKey | None:
    if not isinstance(member, dict):
        raise IdentityFileError(f"keys[{number}] is no key")
    if "d" in member:
        raise IdentityFileError(f"keys[{number}] is private: give the public part alone")
    good_for = [name for name in _algorithms_of(member) if name in algorithms]
    if not good_for:
        return None
    name = member.get("kid")
    if name is not None and not isinstance(name, str):
        raise IdentityFileError(f"keys[{number}].kid is no text")
    try:
        key = VerificationKey(name, {algorithm: PyJWK(member, algorithm) for algorithm in good_for})
    except (PyJWTError, ValueError, TypeError) as error:
        raise IdentityFileError(f"keys[{number}] cannot be read ({type(error).__name__})") from error
    public: Any = key.by_algorithm[good_for[0]].key
    if member["kty"] == "RSA" and public.key_size < LEAST_RSA_BITS:
        raise IdentityFileError(f"keys[{number}] has {public.key_size} bits: give at least {LEAST_RSA_BITS}")
    return key


def _algorithms_of(member: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the algorithms that a key can verify and is meant for."""
    operations = member.get("key_ops", ["verify"])
    if member.get("use", "sig") != "sig" or not isinstance(operations, list) or "verify" not in operations:
        return ()
    kind, curve = member.get("kty"), member.get("crv")
    able = _RSA if kind == "RSA" else _CURVES.get(curve, ()) if kind in ("EC", "OKP") and isinstance(curve, str) else ()
    meant = member.get("alg")
    return able if meant is None else tuple(name for name in able if name == meant)
