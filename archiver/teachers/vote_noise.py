"""The noise of a vote, and the privacy parameter that it is accounted with: those of the paper (section 4.2)."""

from calpow.handler.leakage.specs import Settings

# Sigma is 10 for 250 teachers, 2 for 50.
SIGMA_PER_TEACHER = 1 / 25
DELTA = 1e-5


def vote_settings(teachers: int, order: float | None) -> Settings:
    """Return the settings of a vote with the paper's noise; votes are accounted as RDP if there is an order."""
    noise = {"teachers": float(teachers), "sigma": teachers * SIGMA_PER_TEACHER}
    return noise | ({"delta": DELTA} if order is None else {"order": order})
