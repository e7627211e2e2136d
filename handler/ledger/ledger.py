"""The interface that every ledger backend implements."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from calpow.handler.ledger.account import Account, AccountChange, AccountSummary, Rule
from calpow.handler.ledger.holders import Identity, Key, KeyHolder, KeyRecord, Secret, Standing
from calpow.handler.ledger.limits import AccountLimits
from calpow.handler.ledger.settlement import Settlement
from calpow.handler.ledger.solutions import Use, UseResult

MOST_FAILURES = 10
"""Largest number of failures of the victim in FAILURE_SECONDS that leave an account's work unspent."""

FAILURE_SECONDS = 3600.0
"""Length of the window in which failures are counted, in seconds. It starts with the first failure."""

CHARGE_SECONDS = 3600.0
"""Time within which a charge that failed may be made again under its name, in seconds."""


class Ledger(Protocol):
    """Ledger that all workers share.

    Each method is one atomic operation whose changes every process sees at once. A method that raises
    LedgerUnavailable has changed nothing, unless the reply of a server was lost. Times are in seconds since the epoch,
    work is in expected hashes.

    What a method has written survives the end of every process. Keys, rules, limits and modes survive a power failure
    as well. It may lose other changes of the last second: accounts are then as they were before, and solutions that
    were spent in it can be spent once more. Decision 0051.

    Accounts whose names begin with `TENANT/` are members of a group, the account `TENANT`. What a method returns of a
    member holds its group's state, and what is written of a member is written with its group's or not at all.

    Ids and solutions are an account's own: a challenge is issued to one account, and a prepaid stamp is minted for one
    of its keys, so that the gate accepts neither from another. The ledger may keep those of two accounts apart.

    An id is unknown, then used (up to MOST_USES times), then spent. The ledger remembers an id until the latest
    `expires` that came with a fresh use or with its spending, and may forget it afterwards. A forgotten id counts as
    unknown. Therefore the caller passes an `expires` at which the challenge or the stamp itself has expired for every
    worker, including one that read it some minutes ago and one whose clock is slow. The ledger adds no margin.
    """

    def deployment(self) -> str:
        """Return the random name of this deployment: 6 hexadecimal digits, created with the ledger."""

    def secrets(self) -> tuple[Secret, ...]:
        """Return the signing secrets, oldest first. The first one, 32 random bytes, is created with the ledger."""

    def add_key(self, account: str, expires: float | None = None) -> str:
        """Create a key for an account, good until it expires, and return it in clear.

        The ledger keeps only its SHA-256. Raises LedgerError when `account` is not a valid name.
        """

    def keys(self) -> tuple[Key, ...]:
        """Return all keys, including revoked and expired ones, oldest first."""

    def revoke_key(self, key_id: str) -> None:
        """Revoke a key. Revoking it again changes nothing. Raises LedgerError when there is no such key."""

    def key_records(self) -> tuple[KeyRecord, ...]:
        """Return all keys with their digests, oldest first."""

    def restore_keys(self, records: Sequence[KeyRecord]) -> None:
        """Add keys of another ledger. One whose id is there already stays as it is here."""

    def rotate_secret(self) -> Secret:
        """Add a signing secret, forget all others but the newest, and return the new one.

        Workers sign with it within ten seconds. Challenges that the one before has signed stay good.
        """

    def account_of(self, key: str) -> str | None:
        """Return the account that a key belongs to, or None when the key is unknown, revoked or expired."""

    def holders(self, model: str, presented: Sequence[tuple[Identity, Sequence[str]]]) -> list[KeyHolder | None]:
        """Return the account of each identity, given with the ids of its request; None as for `account_of`."""

    def rule(self, account: str) -> Rule:
        """Return the operator's rule for an account or its group; PRICED where there is none."""

    def set_rule(self, account: str, rule: Rule) -> None:
        """Set the operator's rule for an account. Raises LedgerError when `account` is not a valid name."""

    def rules(self) -> Mapping[str, Rule]:
        """Return the rules that operators have set, by account."""

    def limits_of(self, account: str) -> AccountLimits:
        """Return the limits that the operator has set for an account, without those of its group."""

    def set_limits(self, account: str, limits: AccountLimits) -> None:
        """Set the limits of an account; NO_LIMITS takes them away. Raises LedgerError for what is no valid name."""

    def limits(self) -> Mapping[str, AccountLimits]:
        """Return the limits that operators have set, by account."""

    def check_store(self) -> None:
        """Look again whether the store keeps what it is given; where it does not, no call is answered until it does.

        Workers call it every two seconds, beside their requests. Raises LedgerUnavailable.
        """

    def mode(self, model: str) -> str | None:
        """Return the mode that an operator has set for a model; None where it is the archive's."""

    def set_mode(self, model: str, mode: str | None) -> None:
        """Set the mode of a model for all workers; None leaves it to the archive."""

    def modes(self) -> Mapping[str, str]:
        """Return the modes that operators have set, by model."""

    def models(self) -> list[str]:
        """Return the names of the models that have accounts, in alphabetical order."""

    def summaries(self, model: str) -> Iterator[AccountSummary]:
        """Yield all accounts of a model, in the order of their names; those that change meanwhile as they then are."""

    def forget(self, model: str, account: str, version: int) -> bool:
        """Forget an account that has this version still, and return whether it had. It is NEW_ACCOUNT afterwards."""

    def account(self, model: str, account: str) -> Account:
        """Return the state of an account. An account that the ledger has never seen is NEW_ACCOUNT."""

    def standing(self, model: str, account: str, ids: Sequence[str]) -> Standing:
        """Return the state of an account and the outcomes of those ids that are spent.

        This is a single read. It reserves nothing, so `admit` and `settle` may find another state.
        """

    def admit(self, uses: Sequence[Use], *, now: float) -> list[UseResult]:
        """Count uses and return for each, in order, whether its request may run.

        A use that names a withheld answer is a MISMATCH unless there is an outcome of that name, for the same request,
        with a rest. When no id is spent, the use is FRESH and is counted for each id, or it is EXHAUSTED when an id
        was used MOST_USES times already. When all ids were spent by this solution on this request within
        RETRY_SECONDS, the use is a REPEAT. A repeat of an answer that was given counts as a use, too, and is EXHAUSTED
        beyond MOST_USES. Every other use is SPENT.
        """

    def settle(self, model: str, settlements: Sequence[Settlement], *, now: float) -> list[bool]:
        """Change accounts and spend ids, and return for each settlement whether it was written.

        Each settlement is a compare-and-set of its own. It is written if the account has the version `before`, if that
        of its group's change is as well, and if none of its ids is spent: the history and the owed work are set, the
        version increases by one, the ids are spent and the outcomes stored. Otherwise nothing of it is written. Of two
        settlements of one account, the second sees the version that the first one wrote.

        Call it before the answers leave. Decision 0003.
        """

    def fail(self, model: str, account: str, ids: Sequence[str], *, expires: float, now: float) -> None:
        """Count a failure of the victim on a request that these ids paid for.

        The ids stay unspent, unless the account has failed more than MOST_FAILURES times in FAILURE_SECONDS. Then the
        ids that are not spent yet are spent with an outcome that no retry matches (its digest is empty). The window is
        fixed: it starts with the account's first failure, and the first failure after its end starts the next window.
        The account's version does not change.
        """

    def charge(self, model: str, changes: Mapping[str, AccountChange], charge: str = "") -> None:
        """Change accounts, by name, for answers that were given without payment.

        Each function maps the account, with its group, to its next state but for the version, and may be called more
        than once. Where one raises, or a sum cannot be kept, nothing is written. The change of each account is atomic;
        where the ledger fails between two, those of the first accounts are written. The version of each account, and of
        its group, increases by one.

        `charge` names this charge. After LedgerUnavailable, the same changes under the same name within CHARGE_SECONDS
        are made for those accounts alone for which they were not made before.
        """
