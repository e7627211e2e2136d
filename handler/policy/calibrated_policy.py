"""The policy of a calibration, which is the part that a worker reads, and the prices that follow from it."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from calpow.handler.leakage.specs import InputRange, OutputKind, ScoreSpec, VictimShape
from calpow.handler.ledger.history import MICRO, Charge, History, SampleIdentity
from calpow.handler.policy.evidence import Evidence
from calpow.handler.policy.paper import Paper
from calpow.handler.policy.solver_fit import SolverFit
from calpow.puzzle.profiles import PuzzleKind


class PolicyName(Enum):
    """The policies that an owner can choose from."""

    evidence = "evidence"
    paper = "paper"


@dataclass(frozen=True)
class BatchRows:
    """Mapping of the samples that the victim's model is called on to the requests of a batch.

    in_order: a batch of requests becomes one call of the model with one row a request, in the order of the requests.
    counted: a JSON list, or the list `instances` of a JSON object, holds one sample an entry.
    A property that the owner's payloads did not show is False. Decision 0008.
    """

    in_order: bool
    counted: bool


@dataclass(frozen=True)
class CalibratedPolicy:
    """The policy of one model and everything that it needs to price queries.

    name: the policy that is used, of the two that are fitted.
    parts: SHA-256 of the files that the scores need (`teachers.pt`), by the name they have in an archive.
    output: what the raw output of the victim's model is, from which its classes and probabilities are read.
    scores: the scores of a sample; the paper's policy sums the first one. Decision 0018.
    input_range: the range of legitimate inputs; a query beyond it has the highest scores.
    puzzle: the kind of puzzle that clients solve, and whose solver was timed.
    floor_seconds: solving time of a legitimate user's sample, in seconds of the reference client.
    cap: the largest multiple of the floor that a sample can cost.
    """

    shape: VictimShape
    victim_sha256: str
    parts: Mapping[str, str]
    output: OutputKind
    rows: BatchRows
    scores: tuple[ScoreSpec, ...]
    input_range: InputRange
    name: PolicyName
    evidence: Evidence
    paper: Paper
    puzzle: PuzzleKind
    floor_seconds: float
    cap: float
    solver: SolverFit

    def charges(
        self, scores: Sequence[Sequence[float]], labels: Sequence[int], identities: Sequence[SampleIdentity]
    ) -> list[Charge]:
        """Return the effect of each sample on its account, in order, from its scores, its class and its identity."""
        return [
            self.evidence.charge(row, label, identity)
            for row, label, identity in zip(scores, labels, identities, strict=True)
        ]

    def ordinary_charge(self, identity: SampleIdentity) -> Charge:
        """Return the effect of an ordinary sample on its account: that of the mean cost, odd by no score."""
        return Charge(round(self.paper.slope * MICRO), self.evidence.ordinary, identity)

    def seconds(self, history: History) -> float:
        """Return the mean solving time of a sample whose effect is already in its account's history."""
        rule = self.evidence if self.name is PolicyName.evidence else self.paper
        return self._seconds(rule.log_multiple(history))

    def work(self, history: History) -> float:
        """Return the expected hashes of a sample whose effect is already in its account's history."""
        return self.solver.work(self.seconds(history))

    def next_work(self, history: History) -> float:
        """Return the expected hashes of one more sample; by the paper's policy, of one that is like legitimate ones."""
        if self.name is PolicyName.evidence:
            return self.work(history)
        cost_micro = history.cost_micro + round(self.paper.slope * MICRO)
        return self.work(replace(history, cost_micro=cost_micro, queries=history.queries + 1))

    def ordinary_works(self, history: History) -> Iterator[float]:
        """Yield the expected hashes of each of further ordinary samples; after the last, they stay as they are.

        By the paper's policy, ordinary samples keep an account's distance from the baseline.
        """
        if self.name is PolicyName.paper:
            yield self.next_work(history)
            return
        for log_multiple in self.evidence.ordinary_log_multiples(history):
            yield self.solver.work(self._seconds(log_multiple))

    def solving_seconds(self, work: float) -> float:
        """Return the mean time of the reference client for a puzzle of `work` expected hashes."""
        return self.solver.seconds(work)

    def _seconds(self, log_multiple: float) -> float:
        return self.floor_seconds * math.exp(min(log_multiple, math.log(self.cap)))
