"""The paper's attacks by the names that the command takes, as tables name them."""

from collections.abc import Mapping
from dataclasses import dataclass

GENUINE, STRANGERS, SYNTHETIC, MOVED = "genuine", "strangers", "synthetic", "150 genuine, moved"


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
        """Its name with what its queries are made of."""
        return f"{self.title.partition(' (')[0]}, {self.data}"


ATTACK_KINDS: Mapping[str, AttackKind] = {
    "standard": AttackKind("Standard", GENUINE),
    "mixmatch": AttackKind("MixMatch", GENUINE),
    "entropy": AttackKind("Entropy", GENUINE),
    "gap": AttackKind("Gap", GENUINE),
    "greedy": AttackKind("Greedy", GENUINE),
    "deepfool": AttackKind("DeepFool", GENUINE),
    "entropyrev-in": AttackKind("EntropyRev (genuine)", GENUINE),
    "entropyrev-out": AttackKind("EntropyRev (strange)", STRANGERS),
    "worstcase-in": AttackKind("WorstCase (genuine)", GENUINE),
    "worstcase-out": AttackKind("WorstCase (strange)", STRANGERS),
    "worstcase-in-privacy": AttackKind("WorstCase by privacy (genuine)", GENUINE),
    "worstcase-out-privacy": AttackKind("WorstCase by privacy (strange)", STRANGERS),
    "inout": AttackKind("InOut", "strangers, a fifth genuine"),
    "knockoff-random": AttackKind("Knockoff Random", STRANGERS, must=True),
    "knockoff-adaptive": AttackKind("Knockoff Adaptive", STRANGERS, must=True),
    "copycat": AttackKind("CopyCat CNN", STRANGERS, must=True),
    "jacobian": AttackKind("Jacobian", MOVED),
    "jacobian-tr": AttackKind("Jacobian-TR", MOVED),
    "eat": AttackKind("EAT", SYNTHETIC),
    "datafree": AttackKind("DataFree", SYNTHETIC, must=True),
}
