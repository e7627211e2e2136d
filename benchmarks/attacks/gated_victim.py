"""GatedVictim: a domain's victim behind the gate's own arithmetic in this process, and what one account pays for it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import torch
from torch import Tensor

from benchmarks.attacks.prada import Prada
from benchmarks.range.domain import RangeDomain
from benchmarks.range.trials.policies import CAP, EVIDENCE, PAPER, POLICIES, FittedPolicy
from benchmarks.range.trials.scored_sets import ScoredDomain, ScoredSet, score_inputs
from benchmarks.range.victims import QUERY_BATCH, victim_logits
from calpow.archiver.calibration.samples import Floats
from calpow.handler.ledger.history import DIGEST_BYTES, MICRO, NO_HISTORY, SampleIdentity
from calpow.handler.policy.tariff import STEPS_PER_BIT

_DEAREST_STEP = math.floor(STEPS_PER_BIT * math.log2(CAP))


@dataclass(frozen=True)
class Bill:
    """The prices of all answers of an account in floors, by policy, and the sum of the paper's privacy costs.

    prada: the number of queries after which the detector PRADA raised; None if it did not.
    """

    prices: Mapping[str, Floats]
    privacy: float
    prada: int | None


class GatedVictim:
    """A victim whose answers are charged to one account, as a worker charges them, under both policies at once.

    The thief sees no price: these attacks do not look at it.
    """

    def __init__(self, domain: RangeDomain, scored: ScoredDomain, policy: FittedPolicy) -> None:
        self._victim = domain.victim
        self._setup = scored.setup
        self._policy = policy
        self._evidence = policy.served(scored)
        self._history = NO_HISTORY
        self._prada = Prada()
        self._prices: dict[str, list[float]] = {name: [] for name in POLICIES}
        self.classes = len(domain.classes)

    @property
    def answers(self) -> int:
        """The number of answers so far."""
        return len(self._prices[PAPER])

    @property
    def bill(self) -> Bill:
        """The prices of all answers, their privacy cost, and when PRADA raised, so far."""
        prices = {name: np.array(paid) for name, paid in self._prices.items()}
        return Bill(prices, self._history.cost_micro / MICRO, self._prada.raised)

    def probabilities(self, queries: Tensor) -> Tensor:
        """Charge the queries [n, ...] and return the victim's probabilities [n, classes]."""
        if not len(queries):
            return torch.empty(0, self.classes)
        return torch.cat([self._probabilities(part) for part in torch.split(queries, QUERY_BATCH)])

    def labels(self, queries: Tensor) -> Tensor:
        """Charge the queries [n, ...] and return the victim's classes int64 [n]."""
        return self.probabilities(queries).argmax(1)

    def oddness(self, queries: Tensor, policy: str) -> Floats:
        """Return the evidence of queries [n], or their privacy costs under the paper's policy.

        No thief knows it: WorstCase assumes that he does. Nothing is charged.
        """
        scored = score_inputs(self._setup, queries)
        if policy == PAPER:
            costs: Floats = scored.scored.costs[:, 0].numpy()
            return costs
        return self._policy.oddness(self._policy.pool(scored))

    def _probabilities(self, queries: Tensor) -> Tensor:
        queries = queries.detach().contiguous()
        self._charge(queries, score_inputs(self._setup, queries))
        return victim_logits(self._victim, queries).softmax(1)

    def _charge(self, queries: Tensor, scored: ScoredSet) -> None:
        scores, answers = scored.scored.costs.tolist(), scored.scored.labels.tolist()
        self._prada.watch(queries, answers)
        for query, row, answer, sketch in zip(queries.numpy(), scores, answers, scored.sketches, strict=True):
            digest = blake2b(query.tobytes(), digest_size=DIGEST_BYTES).digest()
            charge = self._evidence.charge(row, answer, SampleIdentity(digest, sketch.tobytes()))
            is_repeated = self._history.holds(charge.identity)
            self._history = self._evidence.after(self._history, charge)
            for name, rule in ((EVIDENCE, self._evidence), (PAPER, self._policy.paper)):
                self._prices[name].append(1.0 if is_repeated else _price(rule.log_multiple(self._history)))


def _price(log_multiple: float) -> float:
    """Return the price in floors, to the nearest quarter of a bit."""
    steps = round(STEPS_PER_BIT * log_multiple / math.log(2))
    return math.pow(2.0, min(steps, _DEAREST_STEP) / STEPS_PER_BIT)
