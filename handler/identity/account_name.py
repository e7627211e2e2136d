"""The name of the account of an identity that is not a key of the ledger."""

from calpow.handler.errors import LedgerError, UnknownIdentity
from calpow.handler.ledger.api_key import check_new_account, normal_name

ANONYMOUS_ACCOUNT = "anonymous"
"""The account of everybody who shows no identity, where the owner allows that."""


def account_name(prefix: str, tenant: str | None, subject: str) -> str:
    """Return PREFIX, then TENANT/SUBJECT, or SUBJECT where there is no tenant.

    `%` and `/` of both are percent-encoded: no subject can enter a tenant, and two identities never share a name unless
    they look alike: both are in the form NFC. Raises UnknownIdentity where a part, or the whole, is no name of an
    account.
    """
    parts = [normal_name(part) for part in (tenant, subject) if part is not None]
    name = prefix + "/".join(part.replace("%", "%25").replace("/", "%2F") for part in parts)
    try:
        for text in (*parts, name):
            check_new_account(text)
    except LedgerError as error:
        raise UnknownIdentity("its name cannot be an account's", str(error)) from error
    return name
