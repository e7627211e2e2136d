"""The settings of a deployment's identities: the JSON file that CALPOW_IDENTITY names.

{"schema": 1,
 "jwt": {"issuer": "https://login.example.org/", "audience": "digits", "algorithms": ["RS256"],
         "jwks": "/etc/calpow/jwks.json"},
 "proxy": {"secret_file": "/run/secrets/calpow-proxy"}}

`jwt` is for the way of that name, `proxy` for the other; either may be left out.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from calpow.handler.errors import DecodingError, GateMisconfigured, UnknownIdentity
from calpow.handler.identity.account_name import account_name
from calpow.handler.json_documents import decode, parse_object

SCHEMA = 1
PATH_VARIABLE = "CALPOW_IDENTITY"
SECRET_VARIABLE = "CALPOW_PROXY_SECRET"  # noqa: S105  # a variable's name
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Algorithms that can be allowed. All are asymmetric: whoever can verify a token cannot sign one."""
MOST_LEEWAY_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class JwtSettings:
    """Tokens that are accepted, and the names of their accounts.

    issuer, audience: the claims `iss` and `aud` that a token must have; of several audiences, one.
    algorithms: the ones that a signature may have, out of ALGORITHMS.
    jwks: absolute path of the file with the public keys (RFC 7517, section 5). It is read again when it changes.
    leeway_seconds: how far clocks may differ.
    account_claim: the claim that names the account.
    tenant_claim: the claim that names its tenant; None where accounts have none.
    prefix: beginning of the accounts' names, which keeps them apart from those of API keys.
    """

    issuer: str
    audience: str
    algorithms: tuple[str, ...]
    jwks: str
    leeway_seconds: float
    account_claim: str
    tenant_claim: str | None
    prefix: str


@dataclass(frozen=True, slots=True)
class ProxySettings:
    """Accounts that a trusted proxy names.

    secret_file: absolute path of the file with the proxy's secrets, one a line; None for CALPOW_PROXY_SECRET. It is
        read again when it changes.
    tenants: whether names are TENANT/USER, all of them; otherwise a slash is a part of the user's name.
    prefix: as in JwtSettings.
    """

    secret_file: str | None
    tenants: bool
    prefix: str


@dataclass(frozen=True, slots=True)
class IdentitySettings:
    """The settings of all ways of identification that have some; None for those that the file leaves out."""

    schema: int
    jwt: JwtSettings | None
    proxy: ProxySettings | None

    @property
    def prefixes(self) -> tuple[str, str]:
        """The beginnings of the names of tokens' and of the proxy's accounts."""
        return (self.jwt.prefix if self.jwt else DEFAULT_JWT_PREFIX), (self.proxy or DEFAULT_PROXY).prefix

    @classmethod
    def load(cls, environment: Mapping[str, str]) -> "IdentitySettings":
        """Read the file that the environment names; without one, all settings have their defaults.

        Raises GateMisconfigured.
        """
        path = environment.get(PATH_VARIABLE)
        if not path:
            return cls(SCHEMA, None, None)
        _check_absolute(path, PATH_VARIABLE)
        try:
            settings = cls.parse(Path(path).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, DecodingError) as error:
            raise GateMisconfigured(f"{PATH_VARIABLE}={path} cannot be used: {error}") from error
        settings._check()
        return settings

    @classmethod
    def parse(cls, text: str) -> "IdentitySettings":
        """Return the settings of a file's text. Raises DecodingError."""
        document = dict(parse_object(text, SCHEMA, "the settings of identities"))
        for section, defaults in _DEFAULTS.items():
            given = document.setdefault(section, None)
            if isinstance(given, dict):
                document[section] = {**defaults, **given}
        return decode(cls, document)

    def _check(self) -> None:
        """Raise GateMisconfigured for values that no deployment can mean."""
        if self.jwt is not None:
            _check_jwt(self.jwt)
        if self.proxy is not None:
            _check_prefix(self.proxy.prefix, "proxy.prefix")
            if self.proxy.secret_file is not None:
                _check_absolute(self.proxy.secret_file, "proxy.secret_file")


DEFAULT_JWT_PREFIX = "jwt:"
DEFAULT_PROXY = ProxySettings(secret_file=None, tenants=False, prefix="proxy:")
_DEFAULTS: Mapping[str, Mapping[str, object]] = {
    "jwt": {"leeway_seconds": 30.0, "account_claim": "sub", "tenant_claim": None, "prefix": DEFAULT_JWT_PREFIX},
    "proxy": {"secret_file": None, "tenants": False, "prefix": DEFAULT_PROXY.prefix},
}


def _check_jwt(settings: JwtSettings) -> None:
    for name in ("issuer", "audience", "account_claim"):
        if not getattr(settings, name):
            raise GateMisconfigured(f"{PATH_VARIABLE}: jwt.{name} is empty")
    unknown = [name for name in settings.algorithms if name not in ALGORITHMS]
    if unknown or not settings.algorithms:
        raise GateMisconfigured(
            f"{PATH_VARIABLE}: jwt.algorithms must be some of {', '.join(ALGORITHMS)},"
            f" not {', '.join(unknown) or 'an empty list'}"
        )
    if not 0 <= settings.leeway_seconds <= MOST_LEEWAY_SECONDS:
        raise GateMisconfigured(f"{PATH_VARIABLE}: jwt.leeway_seconds must be 0 to {MOST_LEEWAY_SECONDS:g}")
    _check_absolute(settings.jwks, "jwt.jwks")
    _check_prefix(settings.prefix, "jwt.prefix")


def _check_absolute(path: str, name: str) -> None:
    if not path.startswith("/") and not Path(path).is_absolute():
        raise GateMisconfigured(f"{name} is {path!r}: workers run in folders of their own, so give an absolute path")


def _check_prefix(prefix: str, name: str) -> None:
    try:
        account_name(prefix, None, "x")
    except UnknownIdentity as error:
        raise GateMisconfigured(f"{PATH_VARIABLE}: {name} cannot begin a name: {error.detail}") from error


def check_apart(first: str, second: str) -> None:
    """Raise GateMisconfigured for prefixes of tokens and of a proxy one of which begins the other.

    After `""`, the subject `proxy:bob` would be the proxy's `bob`. Equal ones are meant: both name the same accounts.
    """
    if first != second and (first.startswith(second) or second.startswith(first)):
        raise GateMisconfigured(
            f"{PATH_VARIABLE}: jwt.prefix {first!r} and proxy.prefix {second!r} begin alike, so that a name by one way"
            " can be another's by the other: make them differ, or make them the same"
        )
