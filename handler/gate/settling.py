"""Settling: what an account owes after its samples are priced, and whether their answer may leave.

Arithmetic only. What is due for an answer is what the account owes and the sum of the prices after each sample's
evidence. The answer leaves where that is at most twice the work that was asked for, and the difference to the work
presented is owed (or credited); beyond, the evidence stays charged and the answer is withheld until the rest is paid.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from calpow.handler.ledger.ledger import Account, Charge, Outcome, Totals
from calpow.handler.policy.tariff import Tariff


@dataclass(frozen=True, slots=True)
class Settled:
    """An account's state after a request, and what became of the request; `rest` is 0 where the answer may leave."""

    totals: Totals
    owed: int
    price: int
    work: int
    rest: int


def settle(
    tariff: Tariff, account: Account, evidence: Sequence[Charge], hashes: int, asked: int, factor: float
) -> Settled:
    """Settle an answer's samples, in order, with `hashes` presented where `asked` were; `factor` is their price's.

    As much may be owed as was asked for, whatever was presented beyond it: what an account owes is lost when it is
    left, and a thief who presents half of what will be due would have the other half for nothing.
    """
    totals, price = tariff.price(account.totals, evidence, factor)
    due = account.owed + price
    if due - hashes > asked:
        return Settled(totals, account.owed, price, hashes, due - hashes)
    return Settled(totals, _owed(tariff, totals, due - hashes), price, hashes, 0)


def settle_rest(tariff: Tariff, account: Account, withheld: Outcome, hashes: int) -> Settled:
    """Settle an answer that was withheld: its samples are charged and priced already, `hashes` come on top."""
    work = withheld.work + hashes
    owed = _owed(tariff, account.totals, account.owed + withheld.price - work)
    return Settled(account.totals, owed, withheld.price, work, 0)


def _owed(tariff: Tariff, totals: Totals, owed: int) -> int:
    """Work paid in excess counts for the next sample, and no further: nothing can be banked."""
    return max(owed, -tariff.next(totals))
