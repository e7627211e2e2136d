"""The policies as they are fitted to a domain's calibration half, and the prices of streams of scored samples."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import cast

import numpy as np
from numpy.typing import NDArray

from benchmarks.range.cache import folder, whole_file
from benchmarks.range.trials.keys import source_key
from benchmarks.range.trials.scored_sets import ScoredDomain, ScoredSet
from calpow.archiver.calibration.calibrator import CLASS_MIX_BUDGET
from calpow.archiver.calibration.policy_fit.affordability import Limits
from calpow.archiver.calibration.policy_fit.evidence_data import EvidenceData
from calpow.archiver.calibration.policy_fit.evidence_fit import fit_evidence
from calpow.archiver.calibration.policy_fit.fitted_evidence import (
    Candidate,
    FittedEvidence,
    FittedTest,
    evidence_policy,
)
from calpow.archiver.calibration.policy_fit.joint_scales import JointScales
from calpow.archiver.calibration.policy_fit.paper_fit import fit_paper
from calpow.archiver.calibration.policy_fit.score_choice import candidate_tests, joint_scores
from calpow.archiver.calibration.policy_fit.wealth import Bets, Codes
from calpow.archiver.calibration.rehearsal import AccountState, EvidencePricing, PaperPricing, PricedStreams
from calpow.archiver.calibration.samples import Floats, Ints, Samples
from calpow.handler.leakage.sketches import Sketches, distances
from calpow.handler.ledger.history import SKETCHES
from calpow.handler.policy.evidence import Evidence
from calpow.handler.policy.joint_oddness import JOINT
from calpow.handler.policy.paper import Paper

CAP = 2948.0
EVIDENCE, PAPER = "evidence", "paper"
POLICIES = (EVIDENCE, PAPER)
# Samples that are compared with all others at once.
_COMPARED = 1_000
Bools = NDArray[np.bool_]
Document = dict[str, object]

_FITTED_BY = ("archiver/calibration/calibrator.py", "archiver/calibration/policy_fit")


@dataclass(frozen=True)
class Pool:
    """Samples that streams draw from: codes of the bets [n, tests], costs [n] that the paper sums, sketches [n, b]."""

    codes: Codes
    costs: Floats
    sketches: Sketches

    def __len__(self) -> int:
        return len(self.costs)

    def take(self, index: Ints) -> "Pool":
        """Return the samples at these positions."""
        return Pool(self.codes[index], self.costs[index], self.sketches[index])

    def joined(self, other: "Pool") -> "Pool":
        """Return these samples, then the others."""
        return Pool(
            np.concatenate([self.codes, other.codes]),
            np.concatenate([self.costs, other.costs]),
            np.concatenate([self.sketches, other.sketches]),
        )


@dataclass(frozen=True)
class FittedPolicy:
    """A fitted policy under trial: `name` of the two that were fitted."""

    name: str
    evidence: FittedEvidence
    paper: Paper
    setup_labels: tuple[str, ...]
    likeness: int

    @cached_property
    def _pricing(self) -> EvidencePricing | PaperPricing:
        return EvidencePricing(self.evidence, CAP) if self.name == EVIDENCE else PaperPricing(self.paper, CAP)

    @property
    def first_price(self) -> float:
        """The price that a new account is quoted, in floors."""
        if self.name == PAPER:
            return 1.0
        fit = self.evidence
        return math.pow(float(fit.bets.beginning(fit.entry).mean()), fit.exponent)

    def pool(self, scored: ScoredSet) -> Pool:
        """Return scored samples as the policies see them."""
        costs: Floats = scored.scored.costs[:, 0].numpy()
        return Pool(self.evidence.codes(scored.scored), costs, scored.sketches)

    def price(
        self,
        pool: Pool,
        index: Ints,
        *,
        uncredited: Bools | None = None,
        repeated: Bools | None = None,
        start: AccountState | None = None,
    ) -> PricedStreams:
        """Price streams of samples of a pool, `index` [users, queries], on new accounts or on those of `start`.

        Samples that are `uncredited` earn no credit; those that are `repeated` change nothing and cost the floor.
        """
        codes, costs = pool.codes[index], pool.costs[index]
        if uncredited is not None:
            codes = np.where(uncredited[..., None], self.evidence.bets.uncredited(codes), codes)
        if repeated is not None:
            codes = np.where(repeated[..., None], np.uint8(self.evidence.bets.repeated), codes)
            costs = np.where(repeated, self.paper.slope, costs)
        priced = self._pricing.price(codes, costs, start)
        return priced if repeated is None else replace(priced, prices=np.where(repeated, 1.0, priced.prices))

    def near(self, pool: Pool) -> Bools:
        """Return which samples pass for near-copies of which others, [n, n]; none of itself."""
        if self.likeness < 0 or self.name == PAPER or not pool.sketches.shape[1]:
            return np.zeros((len(pool), len(pool)), bool)
        parts = np.array_split(pool.sketches, -(-len(pool) // _COMPARED))
        near = np.concatenate([distances(part, pool.sketches) <= self.likeness for part in parts])
        np.fill_diagonal(near, False)
        return near

    def oddness(self, pool: Pool) -> Floats:
        """Return the evidence of each sample [n]: the log of the mean payoff of all bets, or its excess cost."""
        if self.name == PAPER:
            return pool.costs - self.paper.slope
        payoffs: Floats = self.evidence.bets.factors[pool.codes].mean(axis=(1, 2), dtype=np.float64)
        return np.log(payoffs)

    def served(self, scored: ScoredDomain) -> Evidence:
        """Return the policy `evidence` as a worker has it that computes all scores."""
        return evidence_policy(self.evidence, scored.setup.scores, scored.setup.scores, self.likeness)

    def described(self) -> Document:
        """Return what was chosen: tests with slacks by class, the exponent, the entry, and the paper's base."""
        fit = self.evidence
        return {
            "tests": [
                {
                    "score": (*self.setup_labels, JOINT)[test.candidate.score],
                    "sides": 2 if test.candidate.two_sided else 1,
                    "slacks": slacks,
                }
                for test, slacks in zip(fit.tests, fit.slacks.tolist(), strict=True)
            ],
            "exponent": fit.exponent,
            "ceiling": fit.ceiling,
            "entry": fit.entry,
            "likeness": self.likeness,
            "paper base": self.paper.base,
        }


def recently_near(near: Bools, index: Ints) -> Bools:
    """Return which samples of streams `index` [users, queries] pass for near-copies of one of the SKETCHES before."""
    flagged = np.zeros(index.shape, bool)
    if not near.any():
        return flagged
    has_copies: Bools = np.asarray(near.any(axis=1))
    users, places = np.nonzero(has_copies[index])
    samples = index[users, places]
    found = np.zeros(len(samples), bool)
    for step in range(1, min(SKETCHES, index.shape[1] - 1) + 1):
        earlier = index[users, np.maximum(places - step, 0)]
        found |= near[samples, earlier] & (places >= step)
    flagged[users, places] = found
    return flagged


def fit_policy(
    domain: str, seed: int, scored: ScoredDomain, classes: Sequence[str], tolerated: Sequence[str], name: str
) -> FittedPolicy:
    """Return the policies fitted to the calibration half, from the cache if they are there."""
    key = source_key(_FITTED_BY, scored.key, tuple(tolerated))
    path = folder() / "fits" / f"{domain}-{seed}-{key}.json"
    if not path.is_file():
        fitted = _fit(scored, classes, tolerated, seed)
        with whole_file(path) as scratch:
            scratch.write_text(json.dumps(fitted))
    stored = cast(Mapping[str, object], json.loads(path.read_text()))
    labels = tuple(spec.label for spec in scored.setup.scores)
    base, slope = cast(list[float], stored["paper"])
    return FittedPolicy(name, _read(stored), Paper(slope, 0.0, base), labels, scored.likeness)


def _fit(scored: ScoredDomain, classes: Sequence[str], tolerated: Sequence[str], seed: int) -> Document:
    calibration = scored.calibration.scored
    samples = Samples.of_arrays(
        calibration.costs.numpy(),
        calibration.labels.numpy(),
        scored.calibration_classes,
        np.arange(len(scored.calibration)),
        tuple(classes),
    )
    data = EvidenceData(
        legitimate=samples,
        tolerated={name: scored.tolerated[name].scored for name in tolerated},
        shown={},
        attacks={name: attack.scored for name, attack in scored.attacks.items()},
        own_data=scored.own_data,
    )
    limits = Limits(CLASS_MIX_BUDGET, cap=CAP)
    candidates = candidate_tests(scored.setup.scores)
    joint = joint_scores(scored.setup.scores, candidates)
    fit = fit_evidence(data, candidates, joint, limits, np.random.default_rng(seed))
    paper = fit_paper(samples, limits.budget, CAP, np.random.default_rng(seed)).policy
    return {
        "tests": [
            {
                "score": test.candidate.score,
                "two_sided": test.candidate.two_sided,
                "high": test.high.tolist(),
                "low": None if test.low is None else test.low.tolist(),
            }
            for test in fit.tests
        ],
        "scales": None
        if fit.scales is None
        else {"scores": fit.scales.scores, "quantiles": fit.scales.quantiles.tolist()},
        "shares": fit.bets.shares,
        "stakes": fit.bets.stakes,
        "slacks": fit.slacks.tolist(),
        "exponent": fit.exponent,
        "ceiling": fit.ceiling,
        "entry": fit.entry,
        "paper": [paper.base, paper.slope],
    }


def _read(stored: Mapping[str, object]) -> FittedEvidence:
    tests = cast(list[Mapping[str, object]], stored["tests"])
    scales = cast(Mapping[str, object] | None, stored["scales"])
    return FittedEvidence(
        tests=tuple(
            FittedTest(
                Candidate(cast(int, test["score"]), bool(test["two_sided"])),
                np.array(test["high"], np.float64),
                None if test["low"] is None else np.array(test["low"], np.float64),
            )
            for test in tests
        ),
        scales=None
        if scales is None
        else JointScales(tuple(cast(list[int], scales["scores"])), np.array(scales["quantiles"], np.float64)),
        bets=Bets(tuple(cast(list[float], stored["shares"])), tuple(cast(list[float], stored["stakes"]))),
        slacks=np.array(stored["slacks"], np.float64),
        exponent=cast(float, stored["exponent"]),
        ceiling=cast(float, stored["ceiling"]),
        entry=cast(float, stored["entry"]),
        cap=CAP,
        held_out={},
        attacks={},
        judged={},
    )
