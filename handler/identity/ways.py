"""The ways in which a request can show its identity."""

from enum import Enum


class IdentityWay(Enum):
    """Way in which a request shows its identity. They are tried in this order, and the first that is shown decides."""

    key = "key"
    """An API key of the ledger."""

    jwt = "jwt"
    """A JSON Web Token of an identity provider."""

    proxy = "proxy"
    """A name that a trusted proxy vouches for."""

    anonymous = "anonymous"
    """None at all: everybody shares one account."""
