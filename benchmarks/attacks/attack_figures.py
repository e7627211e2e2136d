"""The copies that the paper's attacks steal, and what they pay; stored as JSON, a file for each attack and number."""

import dataclasses
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from benchmarks.attacks.gated_victim import GatedVictim
from benchmarks.attacks.paper_attacks import PaperAttack, paper_attacks
from benchmarks.attacks.prada import Prada
from benchmarks.attacks.thief import thief_of
from benchmarks.range.cache import folder, whole_file
from benchmarks.range.copies.copying import quality
from benchmarks.range.domain import RangeDomain
from benchmarks.range.trials.keys import source_key
from benchmarks.range.trials.policies import EVIDENCE, PAPER, POLICIES, FittedPolicy, fit_policy
from benchmarks.range.trials.scored_sets import ScoredDomain, chosen_tolerances, score_domain
from benchmarks.range.victims import accuracy
from calpow.archiver.calibration.policy_fit.wealth import mean_payments
from calpow.archiver.progress import announce

# Legitimate users beside the thieves, who draw from what the thief owns.
USERS = 100
DEAREST = 99  # percentile
ALL_CLASSES = "all classes"
# Legitimate users that PRADA watches, by class mix, and their queries, none twice.
WATCHED_USERS, WATCHED = 20, 1_000
_COPIED_BY = (
    *(f"benchmarks/attacks/{name}.py" for name in ("gated_victim", "prada", "thief")),
    *(f"benchmarks/range/{name}.py" for name in ("copies/copying", "victims", "shifts", "strangers/foreign")),
    "handler/policy",
    "handler/ledger/history.py",
)


@dataclass(frozen=True)
class StolenCopy:
    """The copy that an attack yields for a number of answers.

    floors: the mean price of an answer, by policy. privacy: the sum of the paper's privacy costs. accuracy, fidelity:
    of the copy, on inputs that neither it nor the victim has learnt from. prada: the number of queries after which the
    detector PRADA raised, or None. seconds: the attack took here.
    """

    attack: str
    answers: int
    accuracy: float
    fidelity: float
    floors: Mapping[str, float]
    privacy: float
    prada: int | None
    seconds: float

    def total(self, policy: str) -> float:
        """The price of all answers in floors."""
        return self.floors[policy] * self.answers


@dataclass(frozen=True)
class DomainTheft:
    """All copies of a domain's victim in one division of its data.

    victim: its accuracy. owned: genuine inputs of the thief. honest: by policy, the mean price of an answer that the
    99th percentile of legitimate users pays, for each number of `answers`. raised: by class mix, the share of
    legitimate users at whom PRADA raises within WATCHED queries.
    """

    domain: str
    seed: int
    victim: float
    owned: int
    answers: tuple[int, ...]
    honest: Mapping[str, Sequence[float]]
    raised: Mapping[str, float]
    copies: tuple[StolenCopy, ...]

    def of(self, attack: str) -> list[StolenCopy]:
        """Return the copies of one attack, by number of answers."""
        return [copy for copy in self.copies if copy.attack == attack]

    def price_of(self, attack: str, share: float, policy: str) -> float | None:
        """Return the floors after which a copy first was right in this share of the victim's accuracy, or None."""
        reached = [copy for copy in self.of(attack) if copy.accuracy >= share * self.victim]
        return reached[0].total(policy) if reached else None


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
        return DomainTheft(
            domain=self._domain.name,
            seed=self._seed,
            victim=accuracy(self._domain.victim, self._halves.calibration),
            owned=len(self._halves.fresh),
            answers=tuple(answers),
            honest={name: self._honest(name, answers) for name in POLICIES},
            raised=dict(self._raised()),
            copies=tuple(copy for name in attacks for copy in self._copies(name, answers)),
        )

    def _honest(self, policy: str, answers: Sequence[int]) -> list[float]:
        pool = self._policy.pool(self._scored.fresh)
        index = np.random.default_rng(self._seed).integers(len(pool), size=(USERS, max(answers)))
        prices = dataclasses.replace(self._policy, name=policy).price(pool, index).prices
        paid: list[float] = np.percentile(mean_payments(prices, answers), DEAREST, axis=0).tolist()
        return paid

    def _raised(self) -> Iterator[tuple[str, float]]:
        """Yield by class mix the share of legitimate users at whom PRADA raises."""
        fresh, rng = self._halves.fresh, np.random.default_rng(self._seed)
        answers = self._scored.fresh.scored.labels.numpy()
        every = np.arange(len(fresh))
        mixes = {ALL_CLASSES: every} | {
            name: every[fresh.labels.numpy() == number] for number, name in enumerate(self._domain.classes)
        }
        for name, members in mixes.items():
            alarms = 0
            for _ in range(WATCHED_USERS):
                sent = rng.permutation(members)[:WATCHED]
                detector = Prada()
                detector.watch(fresh.inputs[torch.from_numpy(sent)], answers[sent].tolist())
                alarms += detector.raised is not None
            yield name, alarms / WATCHED_USERS

    def _copies(self, name: str, answers: Sequence[int]) -> Iterator[StolenCopy]:
        """Yield the copy for each number of answers, up to the first that the thief has too few queries for."""
        attack = paper_attacks(self._domain.name)[name]
        key = source_key((f"benchmarks/attacks/{attack.module}.py",), self._key)
        for count in answers:
            path = folder() / "attacks" / f"{self._domain.name}-{self._seed}" / f"{name}-{count}-{key}.json"
            if not path.is_file():
                announce(f"{self._domain.name} {self._seed}, {attack.title}: {count:,} answers")
                stolen = self._stolen(name, attack, count)
                with whole_file(path) as scratch:
                    scratch.write_text(json.dumps(dataclasses.asdict(stolen), indent=1))
            found = StolenCopy(**json.loads(path.read_text()))
            yield found
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


def missed_musts(theft: DomainTheft, floors: float) -> Iterator[str]:
    """Yield which attacks that have to be dear are not, at their largest number of answers."""
    for name, attack in paper_attacks(theft.domain).items():
        for copy in theft.of(name)[-1:] if attack.must else ():
            for policy in (EVIDENCE, PAPER):
                if copy.floors[policy] < floors:
                    yield f"{attack.title}: {copy.floors[policy]:.1f} floors an answer under {policy}"
