"""The copies that the paper's attacks steal, and what they pay; stored as JSON, a file for each attack and number."""

import dataclasses
import json
import time
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from benchmarks.attacks.gated_victim import GatedVictim
from benchmarks.attacks.other_scores import ScoreTrial
from benchmarks.attacks.paper_attacks import PaperAttack, paper_attacks
from benchmarks.attacks.prada import Prada
from benchmarks.attacks.thefts.attack_kinds import ATTACK_KINDS
from benchmarks.attacks.thefts.score_files import ScoreCosts
from benchmarks.attacks.thefts.stolen_copies import DomainTheft, StolenCopy
from benchmarks.attacks.thief import thief_of
from benchmarks.range.cache import folder, whole_file
from benchmarks.range.copies.copying import quality
from benchmarks.range.domain import RangeDomain
from benchmarks.range.trials.keys import source_key
from benchmarks.range.trials.policies import EVIDENCE, POLICIES, FittedPolicy, fit_policy
from benchmarks.range.trials.scored_sets import ScoredDomain, chosen_tolerances, score_domain
from benchmarks.range.victims import accuracy
from benchmarks.results.origin import checked_out
from calpow.archiver.calibration.policy_fit.wealth import mean_payments
from calpow.archiver.calibration.samples import Floats
from calpow.archiver.progress import announce

# Legitimate users beside the thieves, who draw from what the thief owns.
USERS = 100
DEAREST = 99  # percentile
# Legitimate users that PRADA watches, by class mix, and their queries, none twice.
WATCHED_USERS, WATCHED = 20, 1_000
_COPIED_BY = (
    *(f"benchmarks/attacks/{name}.py" for name in ("gated_victim", "prada", "thief")),
    *(f"benchmarks/range/{name}.py" for name in ("copies/copying", "victims", "shifts", "strangers/foreign")),
    "handler/policy",
    "handler/ledger/history.py",
)


class AttackTrial:
    """One division: the thief owns the fresh half, the copies are tried on the calibration half."""

    def __init__(self, domain: RangeDomain, seed: int) -> None:
        self._domain = domain
        self._seed = seed
        self._halves = domain.halves(seed)
        self._scored: ScoredDomain = score_domain(domain, seed)
        tolerated = chosen_tolerances(domain, self._scored)
        self._policy: FittedPolicy = fit_policy(domain.name, seed, self._scored, domain.classes, tolerated, EVIDENCE)
        self._key = source_key(_COPIED_BY, self._scored.key, tolerated, self._policy.described())

    def theft(self, attacks: Sequence[str], answers: Sequence[int]) -> DomainTheft:
        """Return the copies of attacks by name, each for these ascending numbers of answers."""
        copies = tuple(copy for name in attacks for copy in self._copies(name, answers))
        counts = sorted({*answers, *(copy.answers for copy in copies)})
        return DomainTheft(
            domain=self._domain.name,
            seed=self._seed,
            commit=checked_out(),
            victim=accuracy(self._domain.victim, self._halves.calibration),
            owned=len(self._halves.fresh),
            alarmed=max(self._alarmed()),
            honest={policy: self._honest(policy, counts) for policy in POLICIES},
            copies=copies,
        )

    def costs(self, attacks: Sequence[str], answers: int) -> ScoreCosts:
        """Return what attacks by name cost up to a number of answers, by the scores of the paper's Table 3."""
        return ScoreTrial(self._domain, self._seed, self._scored, self._policy).costs(attacks, answers)

    def prices(self, name: str, answers: int) -> Floats:
        """Return the price of every answer of an attack under our policy, in floors; the attack runs for it."""
        victim = GatedVictim(self._domain, self._scored, self._policy)
        thief = thief_of(self._domain, self._halves.fresh.inputs, self._seed)
        paper_attacks(self._domain.name)[name].run(thief, victim, answers)
        return victim.bill.prices[EVIDENCE]

    def _honest(self, policy: str, counts: Sequence[int]) -> dict[int, float]:
        pool = self._policy.pool(self._scored.fresh)
        # Query by query, so that the first ones are the same however many follow.
        index = np.random.default_rng(self._seed).integers(len(pool), size=(max(counts), USERS)).T
        prices = dataclasses.replace(self._policy, name=policy).price(pool, index).prices
        paid: list[float] = np.percentile(mean_payments(prices, counts), DEAREST, axis=0).tolist()
        return dict(zip(counts, paid, strict=True))

    def _alarmed(self) -> Iterator[float]:
        """Yield for every class mix the share of legitimate users at whom PRADA raises."""
        fresh, rng = self._halves.fresh, np.random.default_rng(self._seed)
        answers = self._scored.fresh.scored.labels.numpy()
        every = np.arange(len(fresh))
        mixes = [every, *(every[fresh.labels.numpy() == number] for number in range(len(self._domain.classes)))]
        for members in mixes:
            alarms = 0
            for _ in range(WATCHED_USERS):
                sent = rng.permutation(members)[:WATCHED]
                detector = Prada()
                detector.watch(fresh.inputs[torch.from_numpy(sent)], answers[sent].tolist())
                alarms += detector.raised is not None
            yield alarms / WATCHED_USERS

    def _copies(self, name: str, answers: Sequence[int]) -> Iterator[StolenCopy]:
        """Yield the copy for each number of answers, up to the first that the thief has too few queries for."""
        attack = paper_attacks(self._domain.name)[name]
        key = source_key((f"benchmarks/attacks/{attack.module}.py",), self._key)
        most = 0
        for count in answers:
            path = folder() / "attacks" / f"{self._domain.name}-{self._seed}" / f"{name}-{count}-{key}.json"
            if not path.is_file():
                announce(f"{self._domain.name} {self._seed}, {ATTACK_KINDS[name].row}: {count:,} answers")
                stolen = self._stolen(name, attack, count)
                with whole_file(path) as scratch:
                    scratch.write_text(json.dumps(dataclasses.asdict(stolen), indent=1))
            found = StolenCopy(**json.loads(path.read_text()))
            if found.answers > most:
                yield found
            most = found.answers
            if found.answers < count:
                return

    def _stolen(self, name: str, attack: PaperAttack, count: int) -> StolenCopy:
        began = time.monotonic()
        victim = GatedVictim(self._domain, self._scored, self._policy)
        copy = attack.run(thief_of(self._domain, self._halves.fresh.inputs, self._seed), victim, count)
        copied, bill = quality(copy, self._domain.victim, self._halves.calibration), victim.bill
        return StolenCopy(
            attack=name,
            answers=victim.answers,
            accuracy=copied.accuracy,
            fidelity=copied.fidelity,
            floors={policy: float(prices.mean()) for policy, prices in bill.prices.items()},
            privacy=bill.privacy,
            prada=bill.prada,
            seconds=round(time.monotonic() - began, 1),
        )
