"""The score by the frequencies of whole numbers, such as token ids, in the training data."""

import torch
from torch import Tensor

from calpow.handler.leakage.score import ODDEST, Array, SampleBatch, VictimOutput, array_of


class TokenRarity:
    """Cost of a query: the mean of minus the log frequency of its whole numbers in the training data.

    Every number of an input counts, padding too. A number that the training data has no frequency for counts as its
    rarest one. An input without numbers costs the most.
    """

    needs = VictimOutput.IDS
    highest = ODDEST

    def __init__(self, token_costs: Tensor) -> None:
        """`token_costs` is float32 `[vocabulary]`."""
        # One more entry, for numbers beyond the vocabulary.
        self._token_costs = torch.cat([token_costs, token_costs.amax().reshape(1)])

    def costs(self, batch: SampleBatch) -> Array:
        """Return the means of the samples' costs."""
        if not batch.ids:
            raise ValueError("this score needs the victim's whole numbers")
        return array_of(torch.cat([self._means(ids) for ids in batch.ids]))

    def _means(self, ids: Tensor) -> Tensor:
        beyond = len(self._token_costs) - 1
        places = ids.flatten(1).long()
        known = torch.where((places < 0) | (places > beyond), beyond, places)
        return self._token_costs.take(known).mean(dim=1)
