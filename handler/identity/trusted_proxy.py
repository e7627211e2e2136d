"""Accounts that a trusted proxy names, which proves itself with a secret."""

import hmac
from collections.abc import Mapping
from pathlib import Path

from calpow.handler.errors import GateMisconfigured, IdentityFileError, UnknownIdentity
from calpow.handler.identity.account_name import account_name
from calpow.handler.identity.identity_settings import SECRET_VARIABLE, ProxySettings
from calpow.handler.identity.watched_file import WatchedFile

LEAST_CHARACTERS = 16


class TrustedProxy:
    """Tells the accounts that a proxy names. Without one of its secrets, nothing that a request says is believed."""

    def __init__(self, settings: ProxySettings, environment: Mapping[str, str]) -> None:
        """Raise GateMisconfigured where there is no secret."""
        self._settings = settings
        given = environment.get(SECRET_VARIABLE)
        if (settings.secret_file is None) is (given is None):
            raise GateMisconfigured(
                f"the identity proxy needs a secret: set either {SECRET_VARIABLE} or proxy.secret_file"
            )
        self._file = None if settings.secret_file is None else WatchedFile(Path(settings.secret_file), read_secrets)
        try:
            self._given = () if given is None else read_secrets(given.encode("utf-8", "surrogatepass"))
        except IdentityFileError as error:
            raise GateMisconfigured(f"{SECRET_VARIABLE} cannot be used: {error}") from error

    def account(self, name: str, secret: str | None) -> str:
        """Return the name of the account of a user whom the proxy names. Raises UnknownIdentity."""
        if secret is None:
            raise UnknownIdentity("a name came without the proxy's secret")
        presented = _decoded(secret).encode("utf-8", "surrogatepass")
        known = self._given if self._file is None else self._file.value()
        if not any(hmac.compare_digest(presented, one) for one in known):
            raise UnknownIdentity("a name came with a wrong secret of the proxy")
        name = _decoded(name)
        if not self._settings.tenants:
            return account_name(self._settings.prefix, None, name)
        tenant, separator, user = name.partition("/")
        if not separator:  # the account of that name is the tenant's group
            raise UnknownIdentity("a name has no tenant")
        return account_name(self._settings.prefix, tenant, user)


def _decoded(text: str) -> str:
    """Return a text as the proxy wrote it, in UTF-8: TorchServe takes each byte of a header for a character."""
    try:
        return text.encode("latin-1").decode("utf-8")
    except UnicodeError:  # it came by gRPC, or in Latin-1
        return text


def read_secrets(content: bytes) -> tuple[bytes, ...]:
    """Return the secrets of a file, one a line. Raises IdentityFileError, which does not quote them."""
    secrets = tuple(line.strip() for line in content.splitlines() if line.strip())
    if not secrets:
        raise IdentityFileError("it has no secret: write one a line")
    if any(len(secret) < LEAST_CHARACTERS for secret in secrets):
        raise IdentityFileError(f"a secret is shorter than {LEAST_CHARACTERS} characters")
    return secrets
