"""The policy of a calibration, which is the part that a worker reads, and the prices that follow from it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from calpow.handler.leakage.specs import InputRange, OutputKind, ScoreSpec, VictimShape
from calpow.handler.ledger.ledger import Charge, Totals
from calpow.handler.policy.policies import MICRO, Bounds, Conditional, Paper, SolverFit
from calpow.puzzle.profiles import PuzzleKind


class PolicyName(Enum):
    """The policies that an owner can choose from."""

    conditional = "conditional"
    paper = "paper"
    bounds = "bounds"


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

    name: the policy that is used, of the three that are fitted.
    parts: SHA-256 of the files that the scores need (`teachers.pt`), by the name they have in an archive.
    output: what the raw output of the victim's model is, from which its classes and probabilities are read.
    scores: the scores of a query; the paper's policies sum the costs of the first one. Decision 0018.
    input_range: the range of legitimate inputs; a query beyond it costs the most.
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
    conditional: Conditional
    paper: Paper
    bounds: Bounds
    puzzle: PuzzleKind
    floor_seconds: float
    cap: float
    solver: SolverFit

    def evidence_of(self, costs: Sequence[Sequence[float]], labels: Sequence[int]) -> list[Charge]:
        """Return the charge of each sample to its account, in order, from its costs by each score and its class."""
        return [
            Charge(round(row[0] * MICRO), round(self.conditional.excess(row, label) * MICRO), 1)
            for row, label in zip(costs, labels, strict=True)
        ]

    def seconds(self, totals: Totals) -> float:
        """Return the mean solving time of a sample whose evidence is already in its account's totals."""
        log_multiple = min(self._chosen.log_multiple(totals), math.log(self.cap))
        return self.floor_seconds * math.exp(log_multiple)

    @property
    def _chosen(self) -> Conditional | Paper | Bounds:
        if self.name is PolicyName.conditional:
            return self.conditional
        return self.paper if self.name is PolicyName.paper else self.bounds

    def work(self, totals: Totals) -> float:
        """Return the expected hashes of a sample whose evidence is already in its account's totals."""
        return self.solver.work(self.seconds(totals))

    def next_work(self, totals: Totals) -> float:
        """Return the expected hashes of one more sample, if it costs what a legitimate one does."""
        return self.work(totals + Charge(round(self.paper.slope * MICRO), 0, 1))

    def solving_seconds(self, work: float) -> float:
        """Return the mean time of the reference client for a puzzle of `work` expected hashes."""
        return self.solver.seconds(work)
