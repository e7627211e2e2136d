"""Arithmetic of settling: what an account owes once its samples are priced, and whether their answer may leave.

The work due for an answer is the work that the account owes plus the price of each sample after its evidence. If it
exceeds the work presented by no more than was asked for, the answer leaves and the difference is owed (or credited).
Otherwise the evidence stays charged, and the answer is withheld until the rest is paid.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from calpow.handler.ledger.ledger import Account, Charge, Outcome, Totals
from calpow.handler.policy.tariff import Tariff


@dataclass(frozen=True, slots=True)
class Settled:
    """State of an account after a request, and the price, the work and the rest of the request, in hashes.

    `rest` is 0 when the answer may leave.
    """

    totals: Totals
    owed: int
    price: int
    work: int
    rest: int


def settle(
    tariff: Tariff, account: Account, evidence: Sequence[Charge], hashes: int, asked: int, factor: float
) -> Settled:
    """Return the settlement of an answer's samples, in order, for `hashes` presented when `asked` were required.

    `factor` multiplies the price of the samples. The work owed afterwards is at most the work that was asked for,
    however much more was presented: the work that an account owes is lost when the account is abandoned, so that a
    thief who presented half of the work due would otherwise have the other half for nothing. Decision 0002.
    """
    totals, price = tariff.price(account.totals, evidence, factor)
    due = account.owed + price
    if due - hashes > asked:
        return Settled(totals, account.owed, price, hashes, due - hashes)
    return Settled(totals, _owed(tariff, totals, due - hashes), price, hashes, 0)


def settle_rest(tariff: Tariff, account: Account, withheld: Outcome, hashes: int) -> Settled:
    """Return the settlement of a withheld answer, whose samples are charged and priced already, for `hashes` more."""
    work = withheld.work + hashes
    owed = _owed(tariff, account.totals, account.owed + withheld.price - work)
    return Settled(account.totals, owed, withheld.price, work, 0)


def _owed(tariff: Tariff, totals: Totals, owed: int) -> int:
    """Return the work owed, with a credit of one next sample at most: work cannot be banked. Decision 0006."""
    return max(owed, -tariff.next(totals))
