"""Limits that operators set for accounts and groups, and the counts of samples that they are compared with."""

import json
from typing import NamedTuple

DAY_SECONDS = 86_400


class AccountLimits(NamedTuple):
    """Limits of an account or a group, for each model by itself; None where there is none.

    free: the first samples of a day, which cost no work. budget: samples in all. day_budget: samples a day.
    ceiling_seconds: the most work for one sample, in seconds of the reference client. ceiling_floors: the same in
        floors of the model.
    """

    free: int | None = None
    budget: int | None = None
    day_budget: int | None = None
    ceiling_seconds: float | None = None
    ceiling_floors: float | None = None


NO_LIMITS = AccountLimits()


def read_limits(text: str | bytes) -> AccountLimits:
    """Return limits from the JSON list of their members."""
    return AccountLimits(*json.loads(text))


class Usage(NamedTuple):
    """Samples that an account was answered, or whose answer is withheld: in all, and on one day, counted from 1970."""

    total: int = 0
    day: int = 0
    today: int = 0

    def on(self, day: int) -> "Usage":
        """Return the usage on a day, as UTC has it. It stays the next day's where another worker's clock is ahead."""
        return self if 0 <= self.day - day <= 1 else Usage(self.total, day, 0)

    def plus(self, samples: int) -> "Usage":
        """Return the usage after more samples."""
        return Usage(self.total + samples, self.day, self.today + samples)


NO_USAGE = Usage()


def day_of(seconds: float) -> int:
    """Return the day of a time in seconds since the epoch."""
    return int(seconds // DAY_SECONDS)
