"""The copies of a domain's victim that attacks stole in one division of its data, and what they paid."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from benchmarks.attacks.thefts.attack_kinds import ATTACK_KINDS
from benchmarks.range.trials.policies import POLICIES

# Shares of the victim's accuracy that a copy reaches.
SHARES = (0.7, 0.8, 0.9)


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

    victim: its accuracy. owned: genuine inputs of the thief. honest: by policy and number of answers, the mean price of
    an answer that the 99th percentile of legitimate users pays. alarmed: the largest share of legitimate users of one
    class mix at whom PRADA raises. commit: of the code that brought these together.
    """

    domain: str
    seed: int
    commit: str
    victim: float
    owned: int
    alarmed: float
    honest: Mapping[str, Mapping[int, float]]
    copies: tuple[StolenCopy, ...]

    def of(self, attack: str) -> list[StolenCopy]:
        """Return the copies of one attack, by number of answers."""
        return [copy for copy in self.copies if copy.attack == attack]

    def reaching(self, attack: str, share: float) -> StolenCopy | None:
        """Return the first copy that was right in this share of the victim's accuracy, or None."""
        reached = (copy for copy in self.of(attack) if copy.accuracy >= share * self.victim)
        return next(reached, None)

    def honest_total(self, policy: str, answers: int) -> float:
        """The price in floors of so many answers for the 99th percentile of legitimate users."""
        return self.honest[policy][answers] * answers


def missed_musts(theft: DomainTheft, floors: float) -> Iterator[str]:
    """Yield which attacks that have to be dear are not, at their largest number of answers."""
    for name, kind in ATTACK_KINDS.items():
        for copy in theft.of(name)[-1:] if kind.must else ():
            for policy in POLICIES:
                if copy.floors[policy] < floors:
                    yield f"{kind.title}: {copy.floors[policy]:.1f} floors an answer under {policy}"
