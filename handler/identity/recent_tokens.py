"""Verdicts on the tokens that came last, so that a signature is verified once."""

from collections import OrderedDict
from typing import Generic, TypeVar

Verdict = TypeVar("Verdict")


class RecentTokens(Generic[Verdict]):
    """The verdicts on the tokens that were used last, `size` at most, by digest. The tokens themselves are not kept."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._verdicts: OrderedDict[bytes, Verdict] = OrderedDict()

    def find(self, digest: bytes) -> Verdict | None:
        """Return the verdict on a token, which becomes the one that was used last; None where there is none."""
        verdict = self._verdicts.get(digest)
        if verdict is not None:
            self._verdicts.move_to_end(digest)
        return verdict

    def keep(self, digest: bytes, verdict: Verdict) -> None:
        """Keep a verdict, and forget the one that has not been used for longest if there are too many."""
        self._verdicts[digest] = verdict
        if len(self._verdicts) > self._size:
            self._verdicts.popitem(last=False)

    def clear(self) -> None:
        """Forget all verdicts."""
        self._verdicts.clear()
