"""Findings of a verification of a ledger, and the checks that hold for every kind of ledger."""

import re
import time
from collections.abc import Iterable, Iterator

from calpow.handler.config import Mode
from calpow.handler.errors import LedgerError
from calpow.handler.ledger.account import Rule
from calpow.handler.ledger.api_key import check_new_account
from calpow.handler.ledger.history import DIGEST_BYTES, DIGESTS, RECENT, SKETCH_BYTES, SKETCHES, History
from calpow.handler.ledger.holders import KeyRecord

_SHOWN = 3
_DEPLOYMENT = re.compile(r"[0-9a-f]{6}", re.ASCII)
_SECRET_BYTES, _DIGEST_BYTES = 32, 32
# A time this far ahead is no matter of clocks that differ.
_AHEAD_SECONDS = 86_400.0


class Inspection:
    """The numbers of what a ledger holds, by name, its faults, each kind with what it concerns, and notes."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.notes: list[str] = []
        self._found: dict[str, list[str]] = {}

    def find(self, fault: str, *where: str) -> None:
        """Note a fault, and the account, key or the like that has it."""
        self._found.setdefault(fault, []).extend(where)

    def find_all(self, faults: Iterable[str], where: str) -> None:
        """Note faults of one account, key or the like."""
        for fault in faults:
            self.find(fault, where)

    @property
    def faults(self) -> list[str]:
        """A line for each kind of fault, with the first few that have it."""
        return [_line(fault, where) for fault, where in self._found.items()]


def account_faults(history: History, version: int) -> Iterator[str]:
    """Yield what is wrong with the state of one account for one model."""
    if version < 0 or history.queries < 0:
        yield "an account has a negative count"
    if min(history.wealth, default=0) < 0:
        yield "an account's bets have negative wealth"
    if not has_whole_samples(history):
        yield "an account's samples are cut off or too many"
    elif (len(history.digests) + len(history.new_digests)) // DIGEST_BYTES > max(0, history.queries):
        yield "an account was answered more samples than are counted"


def has_whole_samples(history: History) -> bool:
    """Return whether the samples of an account are as many as it may have, and none is cut off."""
    parts = (
        (history.digests, DIGEST_BYTES, DIGESTS),
        (history.sketches, SKETCH_BYTES, SKETCHES),
        (history.new_digests, DIGEST_BYTES, RECENT - 1),
        (history.new_sketches, SKETCH_BYTES, RECENT - 1),
    )
    return all(len(samples) % size == 0 and len(samples) <= size * most for samples, size, most in parts)


def key_faults(record: KeyRecord) -> Iterator[str]:
    """Yield what is wrong with one key."""
    if len(record.digest) != _DIGEST_BYTES:
        yield "a key has no SHA-256"
    try:
        check_new_account(record.account)
    except LedgerError:
        yield "a key's account has a name that no new key can have"
    if not 0 <= record.created <= time.time() + _AHEAD_SECONDS:
        yield "a key was created in the future"
    if record.revoked is not None and record.revoked < record.created:
        yield "a key was revoked before it was created"
    if record.expires is not None and not record.expires > record.created:
        yield "a key expired before it was created"


def rule_faults(rule: str) -> Iterator[str]:
    """Yield what is wrong with an account's rule."""
    if rule not in {known.value for known in Rule}:
        yield f"an account has the rule {rule!r}, which this version does not know"


def mode_faults(mode: str) -> Iterator[str]:
    """Yield what is wrong with a model's mode."""
    if mode not in {known.value for known in Mode}:
        yield f"a model has the mode {mode!r}, which this version does not know"


def deployment_faults(names: Iterable[str], secrets: Iterable[bytes]) -> Iterator[str]:
    """Yield what is wrong with the names of the deployment, of which there is one, and with the signing secrets."""
    found = list(names)
    if len(found) != 1 or not _DEPLOYMENT.fullmatch(found[0]):
        yield "the deployment has no name or several: nobody can pay beforehand"
    values = list(secrets)
    if not values:
        yield "there is no signing secret: no challenge can be issued or checked"
    if any(len(value) != _SECRET_BYTES for value in values):
        yield "a signing secret is cut off"
    if len(set(values)) != len(values):
        yield "two signing secrets are the same"


def _line(fault: str, where: list[str]) -> str:
    if not where:
        return fault
    more = f" and {len(where) - _SHOWN:,} more" if len(where) > _SHOWN else ""
    return f"{fault}: {', '.join(where[:_SHOWN])}{more}"
