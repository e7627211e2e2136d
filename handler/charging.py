"""What a priced query adds to its account, and when."""

from calpow.handler.calibration import Calibration
from calpow.handler.leakage.base import Priced
from calpow.handler.ledger.base import Charge
from calpow.handler.policies import MICRO


def charge_and_credit(calibration: Calibration, priced: Priced) -> tuple[Charge, Charge]:
    """What is charged when samples are priced, and what is credited when they are paid for.

    Samples below the mean of their class make an account look better: unpaid, they would be a thief's free filler.
    """
    excess = calibration.excess(priced.costs, priced.labels).tolist()
    dear = [above for above in excess if above > 0]
    cheap = [above for above in excess if above <= 0]
    cost = sum(priced.costs[:, 0].tolist())
    charge = Charge(round(cost * MICRO), round(sum(dear) * MICRO), len(dear))
    return charge, Charge(0, round(sum(cheap) * MICRO), len(cheap))
