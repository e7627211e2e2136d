"""The samples that the policy `evidence` is fitted to."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from calpow.archiver.calibration.samples import Samples
from calpow.handler.leakage.score import ScoredSamples


@dataclass(frozen=True)
class EvidenceData:
    """Samples to fit to: legitimate ones, their tolerated changes in the same order, and attackers' queries.

    shown: changes that are not tolerated, of which the codes are wanted all the same. own_data: the names of attackers
    whose queries are not made of legitimate ones.
    """

    legitimate: Samples
    tolerated: Mapping[str, ScoredSamples]
    shown: Mapping[str, ScoredSamples]
    attacks: Mapping[str, ScoredSamples]
    own_data: frozenset[str]

    @property
    def classes(self) -> int:
        """The number of classes."""
        return len(self.legitimate.class_names)

    @cached_property
    def references(self) -> Mapping[str, ScoredSamples]:
        """The samples that scores are compared with, by kind: "" for the legitimate samples themselves."""
        samples = self.legitimate
        return {"": ScoredSamples(samples.costs, samples.labels), **self.tolerated}

    @cached_property
    def kinds(self) -> Mapping[str, ScoredSamples]:
        """The references, and the changes that are shown without being tolerated."""
        return {**self.references, **self.shown}
