"""The past of an account for one model: a fixed number of integers and two byte strings of bounded size.

Its size does not grow with the number of queries. The ledger stores it without knowing what the integers mean; the
policy does.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

# Unit of sums that must be exact: a millionth.
MICRO = 1_000_000
# The largest summed cost, of either sign, in millionths: a ledger holds integers of 64 bits. Ten samples beyond the
# input range reach it where the first score has no upper bound.
MOST_COST_MICRO = 2**63 - 1
# Digests of an account's last samples that are kept, and the bytes of each.
DIGESTS = 1024
DIGEST_BYTES = 8
# Sketches of an account's last samples that are kept, and the bits of each.
SKETCHES = 256
SKETCH_BITS = 128
SKETCH_BYTES = SKETCH_BITS // 8
# Samples that are kept apart until there are so many: a ledger writes the few new ones with every answer, and all of
# them once in so many answers.
RECENT = 32


@dataclass(frozen=True, slots=True)
class SampleIdentity:
    """Identity of one sample, as the victim's model receives it.

    digest: exact digest of its numbers, DIGEST_BYTES long.
    sketch: SKETCH_BYTES that differ in few bits between near-copies; empty where none can be made.
    """

    digest: bytes
    sketch: bytes = b""


@dataclass(frozen=True, slots=True)
class Charge:
    """Effect of one answered sample on its account.

    `cost_micro` is its privacy cost in millionths; `steps` are added to the log wealth of the account's bets, in
    millionths, and are negative where the sample is ordinary.
    """

    cost_micro: int
    steps: tuple[int, ...]
    identity: SampleIdentity


@dataclass(frozen=True, slots=True)
class History:
    """Past of an account.

    cost_micro: sum of the privacy costs of its samples, in millionths. The sum is exact up to MOST_COST_MICRO.
    queries: the number of its samples, without those that it was answered before.
    wealth: log wealth of its bets, in millionths; empty for an account that no policy has charged.
    digests, sketches: of DIGESTS and SKETCHES samples, oldest first.
    new_digests, new_sketches: of fewer than RECENT samples after these.
    """

    cost_micro: int = 0
    queries: int = 0
    wealth: tuple[int, ...] = ()
    digests: bytes = b""
    sketches: bytes = b""
    new_digests: bytes = b""
    new_sketches: bytes = b""

    def after(self, wealth: tuple[int, ...], charge: Charge, ceiling: int, likeness: int) -> "History":
        """Return the history after one more sample, from the `wealth` of its bets, which stays between 0 and `ceiling`.

        A sample that the account was answered before changes nothing. One whose sketch differs from an earlier one in
        `likeness` bits or fewer earns no credit: no bet loses wealth by it.
        """
        identity = charge.identity
        if self.holds(identity):
            return replace(self, wealth=wealth)
        steps = charge.steps
        if any(wealth) and min(steps, default=0) < 0 and self._resembles(identity.sketch, likeness):
            steps = tuple([max(0, step) for step in steps])
        sums = [log + step for log, step in zip(wealth, steps, strict=True)]
        return self._with(
            [identity],
            max(-MOST_COST_MICRO, min(MOST_COST_MICRO, self.cost_micro + charge.cost_micro)),
            self.queries + 1,
            # Sixty conditions take a third of the time of sixty calls of min and max.
            tuple([0 if log < 0 else log if log < ceiling else ceiling for log in sums]),
        )

    def unanswered(self, peaks: tuple[int, ...], after: "History") -> "tuple[History, tuple[int, ...]]":
        """Return the history where the answer to samples is withheld, and the credit that they earn once it leaves.

        `peaks` is the largest wealth that each bet had before them and after every one, and `after` the history with
        them. They are counted and raise the wealth at once, but they earn nothing yet and are not known.
        """
        credit = tuple(peak - final for peak, final in zip(peaks, after.wealth, strict=True))
        return replace(self, cost_micro=after.cost_micro, queries=after.queries, wealth=peaks), credit

    def answered(self, identities: Sequence[SampleIdentity], credit: tuple[int, ...]) -> "History":
        """Return the history once an answer that was withheld leaves, for samples that are counted already.

        The credit is lost where one of them is known meanwhile, which may have earned it by another answer.
        """
        new = [identity for identity in dict.fromkeys(identities) if not self.holds(identity)]
        wealth = self.wealth
        if len(credit) == len(wealth) and len(new) == len(set(identities)):
            wealth = tuple(max(0, log - earned) for log, earned in zip(wealth, credit, strict=True))
        return self._with(new, self.cost_micro, self.queries, wealth)

    def holds(self, identity: SampleIdentity) -> bool:
        """Return whether the account was answered this very sample before, as far as it is remembered."""
        return _holds(self.new_digests, identity.digest) or _holds(self.digests, identity.digest)

    def _with(
        self, identities: Sequence[SampleIdentity], cost_micro: int, queries: int, wealth: tuple[int, ...]
    ) -> "History":
        """Return the history with more samples, which become old together once there are RECENT of them."""
        digests, sketches = self.digests, self.sketches
        new_digests = self.new_digests + b"".join([identity.digest for identity in identities])
        new_sketches = self.new_sketches + b"".join([identity.sketch for identity in identities])
        if max(len(new_digests) // DIGEST_BYTES, len(new_sketches) // SKETCH_BYTES) >= RECENT:
            digests = (digests + new_digests)[-DIGESTS * DIGEST_BYTES :]
            sketches = (sketches + new_sketches)[-SKETCHES * SKETCH_BYTES :]
            new_digests = new_sketches = b""
        return History(cost_micro, queries, wealth, digests, sketches, new_digests, new_sketches)

    def _resembles(self, sketch: bytes, likeness: int) -> bool:
        """Return whether the account has a sketch that differs from `sketch` in `likeness` bits at most."""
        sketches = self.sketches + self.new_sketches
        if not sketch or not sketches or likeness < 0:
            return False
        first, *_ = memoryview(sketch).cast("Q")
        words = memoryview(sketches).cast("Q")[::2].tolist()
        # Few differ little enough in their first half alone.
        near = [place for place, word in enumerate(words) if (word ^ first).bit_count() <= likeness]
        return any(_distance(sketches, SKETCH_BYTES * place, sketch) <= likeness for place in near)


def _distance(sketches: bytes, start: int, sketch: bytes) -> int:
    """Return the number of bits in which a sketch differs from the one that starts at a place among others."""
    other = sketches[start : start + SKETCH_BYTES]
    return (int.from_bytes(other, "big") ^ int.from_bytes(sketch, "big")).bit_count()


def _holds(digests: bytes, digest: bytes) -> bool:
    position = digests.find(digest) if digest else -1
    while position % DIGEST_BYTES and position >= 0:
        position = digests.find(digest, position + 1)
    return position >= 0


NO_HISTORY = History()
