"""Tenants under a fitted policy: a theft costs a group what it would cost one account, and honest users the floor."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from calpow.archiver.calibration.policy_fit.affordability import Limits
from calpow.archiver.calibration.policy_fit.evidence_fit import fit_evidence
from calpow.archiver.calibration.policy_fit.fitted_evidence import Candidate, evidence_policy, worker_scores
from calpow.archiver.calibration.samples import Floats, Ints
from calpow.handler.gate.interface import PassResult, PricedSamples
from calpow.handler.leakage.score import ScoredSamples
from calpow.handler.leakage.specs import ScoreName, ScoreSpec, VictimShape
from calpow.handler.ledger.limits import AccountLimits
from calpow.handler.policy.calibrated_policy import CalibratedPolicy
from tests.support.calibrations import calibrated_policy, identity
from tests.support.gate_harness import (
    FLOOR_HASHES,
    GateHarness,
    TextDecision,
    challenge_of,
    claim_work,
    decision_type,
    skip_fsync,
    trust_stamps,
)
from tests.support.scored_samples import evidence_data, population, strangers
from tests.support.text_runner import TextRequest

CLASSES, CAP = 3, 2948.0
SPECS = (ScoreSpec(ScoreName.energy, {}), ScoreSpec(ScoreName.norm, {}))
STRANGE = (2.5, 2.5)
ACCOUNTS, STOLEN, FILLERS = 100, 200, 6
HONEST_USERS, HONEST_QUERIES = 20, 2_000
FREE = 100

pytestmark = [pytest.mark.training, pytest.mark.slow]


@pytest.fixture(scope="module")
def policy() -> CalibratedPolicy:
    """A policy fitted to made-up scores of legitimate samples and of strangers."""
    data = evidence_data(population(0, 1_000), thief=strangers(1, 600, STRANGE))
    candidates = [Candidate(score, two_sided=False) for score in range(len(SPECS))]
    fit = fit_evidence(data, candidates, (), Limits(2.0, cap=CAP), np.random.default_rng(0))
    scores = worker_scores(SPECS, fit)
    evidence = evidence_policy(fit, SPECS, scores, 0)
    return calibrated_policy(shape=VictimShape(CLASSES, (4,)), scores=scores, evidence=evidence, cap=CAP)


@dataclass
class Bill:
    """Sums over answers, in floors: their `prices`, the work `paid` for them, and the work still `owed`."""

    prices: float
    paid: float
    owed: float


class Market:
    """A gate under the fitted policy, and users whose samples are told by their scores."""

    def __init__(self, path: Path, policy: CalibratedPolicy) -> None:
        self.harness = GateHarness(path, shape=policy.shape, scores=policy.scores, evidence=policy.evidence, cap=CAP)
        self._numbers = itertools.count()

    def honest(self, seed: int) -> Iterator[str]:
        """Yield payloads of legitimate samples that no policy was fitted to."""
        samples = population(seed, 5_000)
        order = np.random.default_rng(seed).permutation(len(samples.labels))
        return self._payloads(samples.costs.numpy()[order], samples.labels.numpy()[order])

    def strange(self, seed: int) -> Iterator[str]:
        """Yield payloads of strangers."""
        scored: ScoredSamples = strangers(seed, 5_000, STRANGE)
        return self._payloads(scored.costs.numpy(), scored.labels.numpy())

    def _payloads(self, costs: Floats, labels: Ints) -> Iterator[str]:
        for row, label in zip(costs.tolist(), labels.tolist(), strict=True):
            yield f"{label}:{','.join(map(str, row))}:{next(self._numbers)}"

    def bill(self, names: Sequence[str], queries: Sequence[str]) -> Bill:
        """Let accounts send queries in turn, each paying what it is asked for until it is answered."""
        before = self._totals()
        keys = [self.harness.ledger.add_key(name) for name in names]
        for key, text in zip(itertools.cycle(keys), queries, strict=False):
            solution = None
            while decision_type(decision := self.send(key, text, solution)) != "answered":
                solution = claim_work(challenge_of(decision))
        prices, paid = (after - start for after, start in zip(self._totals(), before, strict=True))
        owed = sum(self.harness.account(name).owed for name in names)
        return Bill(prices / FLOOR_HASHES, paid / FLOOR_HASHES, owed / FLOOR_HASHES)

    def send(self, key: str, text: str, solution: str | None = None) -> TextDecision:
        """Return the decision on a request."""
        return self.harness.gate.answer([self.harness.request(text, solution, key)], _run)[0]

    def _totals(self) -> tuple[int, int]:
        """Return the prices of all answers, and the work that was paid for them."""
        rows = [row for row in self.harness.rows() if row[0] == "outcomes" and row[6] == 0]
        return sum(int(str(row[4])) for row in rows), sum(int(str(row[5])) for row in rows)


def _run(requests: Sequence[TextRequest]) -> list[PassResult[str | None]]:
    results: list[PassResult[str | None]] = []
    for request in requests:
        label, costs, name = request.text.split(":")
        scores = [float(cost) for cost in costs.split(",")]
        results.append(PassResult("answer", PricedSamples([scores], [int(label)], [identity(name)])))
    return results


@pytest.fixture
def market(tmp_path: Path, policy: CalibratedPolicy, monkeypatch: pytest.MonkeyPatch) -> Market:
    trust_stamps(monkeypatch)
    skip_fsync(monkeypatch)
    return Market(tmp_path / "ledger.db", policy)


def theft(market: Market, seed: int) -> list[str]:
    """Return strangers, each followed by fillers."""
    honest, strange = market.honest(seed), market.strange(seed)
    return [next(source) for _ in range(STOLEN) for source in (strange, *[honest] * FILLERS)]


def test_a_hundred_accounts_of_a_group_pay_for_a_theft_what_one_account_would(market: Market) -> None:
    members, others = ([f"{tenant}user{number}" for number in range(ACCOUNTS)] for tenant in ("acme/", ""))
    one, group, alone = (market.bill(names, theft(market, 3)) for names in (["one"], members, others))
    assert group.prices >= one.prices > 1_000 * STOLEN
    assert group.paid - group.owed >= 0.99 * (one.paid - one.owed)
    assert alone.prices < group.prices / 100


def test_a_tenant_of_twenty_honest_users_pays_what_they_would_without_a_group(market: Market) -> None:
    honest = list(itertools.islice(market.honest(5), HONEST_QUERIES))
    tenant = market.bill([f"acme/user{number}" for number in range(HONEST_USERS)], honest)
    honest = list(itertools.islice(market.honest(5), HONEST_QUERIES))
    alone = market.bill([f"user{number}" for number in range(HONEST_USERS)], honest)
    assert tenant.prices < 1.05 * alone.prices
    assert tenant.prices < 1.5 * HONEST_QUERIES


def test_free_samples_serve_honest_users_and_hardly_a_thief(market: Market) -> None:
    """A thief who stops where he is asked for work has less than one strange answer in ten free ones."""
    honest, strange = market.honest(7), market.strange(8)

    def free(name: str, payloads: Iterator[str]) -> list[bool]:
        """Return of payloads which were answered without work, until one was not, as a thief would, and that one."""
        key, answered = market.harness.ledger.add_key(name), []
        market.harness.ledger.set_limits(name, AccountLimits(free=FREE))
        for text in itertools.islice(payloads, FREE):
            answered.append(decision_type(market.send(key, text)) == "answered")
            if not answered[-1]:
                break
        return answered

    users = [free(f"user{number}", honest) for number in range(20)]
    assert sum(map(sum, users)) > 0.8 * FREE * len(users)
    for fillers in (0, 5, 10, 20):
        cycle = itertools.cycle([honest] * fillers + [strange])
        thieves = [free(f"thief{fillers}.{number}", (next(source) for source in cycle)) for number in range(20)]
        stolen = sum(sum(answers[fillers :: fillers + 1]) for answers in thieves)
        assert stolen < 0.1 * FREE * len(thieves)
