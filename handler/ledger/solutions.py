"""Uses of solutions, what the ledger says to them, and the outcomes of those that were spent."""

from enum import Enum
from typing import NamedTuple

MOST_USES = 5
"""Largest number of uses of one id: passes of the victim and repeated answers together. Decision 0003."""

RETRY_SECONDS = 600.0
"""Time after its settlement during which a solution repeats its outcome, in seconds. Decision 0004."""


class Outcome(NamedTuple):
    """Result of spending one solution. It is written once and does not change.

    `solution` is the name of the solution, a digest of its ids. `digest` is the exact digest of the request on which
    the solution was spent. `settled` is the time of the settlement, in seconds since the epoch. `price` is the price
    of the samples, `work` the work presented and `rest` the work still required for the withheld answer, all in
    hashes; `rest` is 0 when the answer was given. `credit` is the log wealth of each bet, in millionths, that the
    samples of a withheld answer earn once the answer is given; of the account's bets, then of its group's.
    """

    solution: str
    digest: str
    settled: float
    price: int
    work: int
    rest: int
    credit: tuple[int, ...] = ()


class Use(NamedTuple):
    """One attempt of an account to spend a solution on a request.

    `ids` are the ids that are spent together, without repetition: those of the challenge, or one for each prepaid
    stamp. `digest` is the exact digest of the request. The ledger remembers the ids until `expires`, in seconds since
    the epoch. `withheld` is the name of the solution whose withheld answer this one pays for, if there is one.
    """

    account: str
    solution: str
    ids: tuple[str, ...]
    digest: str
    expires: float
    withheld: str | None = None


class Admission(Enum):
    """Answer of the ledger to a use."""

    FRESH = "fresh"
    """No id is spent, and the use was counted: the request may run."""

    REPEAT = "repeat"
    """The solution was spent on this request within RETRY_SECONDS: the settled outcome is repeated."""

    SPENT = "spent"
    """An id is spent, and this is no retry."""

    EXHAUSTED = "exhausted"
    """An id was used MOST_USES times already."""

    MISMATCH = "mismatch"
    """There is no withheld answer of that name for this request."""


class UseResult(NamedTuple):
    """Result of a use.

    `outcome` is the settled outcome, for a REPEAT only. `withheld` is the outcome whose rest the use pays for, for a
    FRESH or a REPEAT that pays for one.
    """

    admission: Admission
    outcome: Outcome | None = None
    withheld: Outcome | None = None
