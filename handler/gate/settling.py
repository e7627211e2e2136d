"""Arithmetic of settling: what an account owes once its samples are priced, and whether their answer may leave.

The work due for an answer is the work that the account owes plus the price of each sample after its effect. If it
exceeds the work presented by no more than the account may owe, the answer leaves and the difference is owed (or
credited). Otherwise the answer is withheld until the rest is paid. Its odd samples raise the account's price all the
same, whatever follows them. What the ordinary ones earn is credited when the answer leaves, and only then are they
samples that the account was answered before: who sends a list again and again, and pays for none of them, has no credit
for it.
"""

from collections.abc import Sequence
from math import ceil
from typing import NamedTuple

from calpow.handler.ledger.account import Account
from calpow.handler.ledger.history import Charge, SampleIdentity
from calpow.handler.ledger.solutions import Outcome
from calpow.handler.policy.tariff import Tariff


class Settled(NamedTuple):
    """State of an account, and of its group, after a request, and the price, work and rest of the request, in hashes.

    `rest` is 0 when the answer may leave. Else `credit` is what its samples earn once it does, as in `Outcome`.
    """

    account: Account
    price: int
    work: int
    rest: int
    credit: tuple[int, ...] = ()


def settle(
    tariff: Tariff, account: Account, charges: Sequence[Charge], hashes: int, asked: int, factor: float
) -> Settled:
    """Return the settlement of an answer's samples, in order, for `hashes` presented when `asked` were required.

    `factor` multiplies the price of the samples. The work owed afterwards is at most what the next sample costs, or the
    floor for each of these samples if that is more, and at most the work that was asked for, however much more was
    presented. The work that an account owes is lost when the account is abandoned: a thief who presented half of the
    work due would otherwise have the other half for nothing. What is asked for a list of ordinary samples exceeds the
    price of several odd ones where the account is dear. Decision 0002.
    """
    after, price = tariff.price(account, charges, factor)
    after, due = after.counted(len(charges)), tariff.owed(account) + price
    most = min(asked, ceil(max(tariff.next(after), len(charges) * tariff.floor) * factor))
    if due - hashes > most:
        unanswered, credit = tariff.unanswered(account, charges)
        return Settled(unanswered.counted(len(charges)), price, hashes, due - hashes, credit)
    return Settled(_owing(tariff, after, due - hashes), price, hashes, 0)


def settle_rest(tariff: Tariff, account: Account, charges: Sequence[Charge], withheld: Outcome, hashes: int) -> Settled:
    """Return the settlement of a withheld answer, whose samples are counted and priced already, for `hashes` more."""
    work = withheld.work + hashes
    after = _answered(account, [charge.identity for charge in charges], withheld.credit)
    return Settled(_owing(tariff, after, tariff.owed(account) + withheld.price - work), withheld.price, work, 0)


def _answered(account: Account, identities: Sequence[SampleIdentity], credit: tuple[int, ...]) -> Account:
    """Return an account, and its group, once an answer that was withheld leaves."""
    if account.group is None:
        return account._replace(history=account.history.answered(identities, credit))
    bets = len(credit) // 2
    shared = account.group.history.answered(identities, credit[bets:])
    own = account.history.answered(identities, credit[:bets])
    return account._replace(history=own, group=account.group._replace(history=shared))


def _owing(tariff: Tariff, account: Account, owed: int) -> Account:
    """Return an account that owes work; its credit is one next sample at most: work cannot be banked. Decision 0006."""
    return account.owing(max(owed, -tariff.next(account)))
