"""The paper's attacks by the names that the command takes, as tables name them."""

from collections.abc import Mapping
from dataclasses import dataclass

GENUINE, STRANGERS, MADE, MOVED = "genuine", "strangers", "made", "150 genuine, moved"


@dataclass(frozen=True)
class AttackKind:
    """An attack of the paper: its name there, and what its queries are made of.

    must: whether an answer has to cost 100 floors.
    """

    title: str
    data: str
    must: bool = False

    @property
    def row(self) -> str:
        """The name of its row in a table."""
        return f"{self.title}, {self.data}"


ATTACK_KINDS: Mapping[str, AttackKind] = {
    "standard": AttackKind("Standard", GENUINE),
    "mixmatch": AttackKind("MixMatch", GENUINE),
    "entropy": AttackKind("Entropy", GENUINE),
    "gap": AttackKind("Gap", GENUINE),
    "greedy": AttackKind("Greedy", GENUINE),
    "deepfool": AttackKind("DeepFool", GENUINE),
    "entropyrev-in": AttackKind("EntropyRev", GENUINE),
    "entropyrev-out": AttackKind("EntropyRev", STRANGERS),
    "worstcase-in": AttackKind("WorstCase", GENUINE),
    "worstcase-out": AttackKind("WorstCase", STRANGERS),
    "worstcase-in-privacy": AttackKind("WorstCase by privacy", GENUINE),
    "worstcase-out-privacy": AttackKind("WorstCase by privacy", STRANGERS),
    "inout": AttackKind("InOut", "strangers, a fifth genuine"),
    "knockoff-random": AttackKind("Knockoff Random", STRANGERS, must=True),
    "knockoff-adaptive": AttackKind("Knockoff Adaptive", STRANGERS, must=True),
    "copycat": AttackKind("CopyCat CNN", STRANGERS, must=True),
    "jacobian": AttackKind("Jacobian", MOVED),
    "jacobian-tr": AttackKind("Jacobian-TR", MOVED),
    "eat": AttackKind("EAT", MADE),
    "datafree": AttackKind("DataFree", MADE, must=True),
}
