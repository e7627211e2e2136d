"""Scores by the privacy cost of answering with a noisy vote (GNMax), of teachers or of the nearest training points."""

from collections.abc import Callable

from torch import Tensor

from calpow.handler.leakage.gnmax.accountant import Accountant
from calpow.handler.leakage.score import SampleBatch, ScoredSamples, VictimOutput


class VoteScore:
    """Cost of a query: the privacy cost of answering with its votes by GNMax. The less voters agree, the higher.

    The class is the one with the most votes, the first of those that tie.
    """

    def __init__(self, votes: Callable[[SampleBatch], Tensor], accountant: Accountant, needs: VictimOutput) -> None:
        """`votes` maps n samples to vote counts int64 `[n, classes]`; `needs` names the outputs that it reads."""
        self._votes = votes
        self._accountant = accountant
        self.needs = needs
        self.highest = accountant.highest

    @classmethod
    def on_inputs(cls, votes: Callable[[Tensor], Tensor], accountant: Accountant) -> "VoteScore":
        """PATE, the paper's score (appendix D): `votes` maps inputs `[n, ...]` to vote counts int64 `[n, classes]`."""
        return cls(lambda batch: votes(_inputs(batch)), accountant, VictimOutput.INPUTS)

    @classmethod
    def on_features(cls, votes: Callable[[Tensor], Tensor], accountant: Accountant) -> "VoteScore":
        """Votes on the victim's features: of teachers, or of the nearest training points.

        The latter is private kNN (Zhu et al. 2020; the paper's B.5, decision 0023), whose `accountant` has k as its
        teachers. `votes` maps features `[n, f]` to vote counts int64 `[n, classes]`.
        """
        return cls(lambda batch: votes(_features(batch)), accountant, VictimOutput.FEATURES)

    def price(self, batch: SampleBatch) -> ScoredSamples:
        """Return the costs of the votes on the samples, and the classes that win them."""
        votes = self._votes(batch).cpu()
        return ScoredSamples(self._accountant.costs(votes), votes.argmax(dim=-1))


def _features(batch: SampleBatch) -> Tensor:
    if batch.features is None:
        raise ValueError("this score needs the victim's features")
    return batch.features


def _inputs(batch: SampleBatch) -> Tensor:
    if batch.inputs is None:
        raise ValueError("this score needs inputs of one shape")
    return batch.inputs
