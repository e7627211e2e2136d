"""The samples that the policy `evidence` is fitted to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from calpow.archiver.calibration.policy_fit.joint_scales import JointScales
from calpow.archiver.calibration.samples import Ints, Samples
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
    def units(self) -> Ints:
        """The unit of each legitimate sample; those of one unit are copies of one another."""
        samples = self.legitimate
        # What one account sent are different samples, not copies.
        return np.arange(len(samples.labels)) if samples.by_account else samples.groups.numpy()

    @property
    def samples_per_answer(self) -> float:
        """The median number of legitimate samples for an answer, copies left out."""
        answers = self.legitimate.labels.numpy()
        apart = np.unique(np.stack([answers, self.units]), axis=1)[0]
        return float(np.median(np.unique(apart, return_counts=True)[1]))

    @cached_property
    def references(self) -> Mapping[str, ScoredSamples]:
        """The samples that scores are compared with, by kind: "" for the legitimate samples themselves."""
        samples = self.legitimate
        return {"": ScoredSamples(samples.costs, samples.labels), **self.tolerated}

    def scales(self, scores: Sequence[int], index: Ints | None = None) -> JointScales:
        """Return scales of scores, fitted to all legitimate samples or to those at these positions."""
        costs, answers = self.legitimate.costs.numpy(), self.legitimate.labels.numpy()
        if index is not None:
            costs, answers = costs[index], answers[index]
        return JointScales.fit(costs, answers, scores, self.classes)

    def extended(self, scales: JointScales) -> "EvidenceData":
        """Return the same data with the joint oddness of every sample as one more score."""

        def each(sets: Mapping[str, ScoredSamples]) -> dict[str, ScoredSamples]:
            return {name: scales.extended(scored) for name, scored in sets.items()}

        costs = scales.extended(self.references[""]).costs
        return EvidenceData(
            replace(self.legitimate, costs=costs),
            each(self.tolerated),
            each(self.shown),
            each(self.attacks),
            self.own_data,
        )

    @cached_property
    def kinds(self) -> Mapping[str, ScoredSamples]:
        """The references, and the changes that are shown without being tolerated."""
        return {**self.references, **self.shown}
