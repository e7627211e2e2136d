"""The paper's attacks, by the names that the command takes."""

from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.attacks.active_learning import (
    active_learning,
    extended_adaptive_training,
    greedy_centres,
    largest_entropy,
    smallest_entropy,
    smallest_gap,
    smallest_perturbation,
)
from benchmarks.attacks.chosen_beforehand import foreign, in_out, owned, standard, worst_case
from benchmarks.attacks.data_free import data_free
from benchmarks.attacks.jacobian import jacobian
from benchmarks.attacks.mixmatch import mixmatch
from benchmarks.attacks.thief import Attack
from benchmarks.attacks.toolbox import copycat_cnn, knockoff_nets
from benchmarks.range.copies.extraction_attacks import MIRRORED
from benchmarks.range.trials.policies import EVIDENCE, PAPER


@dataclass(frozen=True)
class PaperAttack:
    """An attack of the paper: its name there, what its queries are made of, and the module that it is in.

    must: whether an answer has to cost 100 floors.
    """

    title: str
    data: str
    run: Attack
    module: str
    must: bool = False


GENUINE, STRANGERS, MADE = "genuine", "strangers", "made"


def paper_attacks(domain: str) -> Mapping[str, PaperAttack]:
    """Return the attacks on a domain."""
    mirrored = domain in MIRRORED
    return {
        "standard": PaperAttack("Standard", GENUINE, standard, "chosen_beforehand"),
        "mixmatch": PaperAttack("MixMatch", GENUINE, mixmatch(flips=mirrored), "mixmatch"),
        "entropy": _active("Entropy", GENUINE, active_learning(owned, largest_entropy)),
        "gap": _active("Gap", GENUINE, active_learning(owned, smallest_gap)),
        "greedy": _active("Greedy", GENUINE, active_learning(owned, greedy_centres)),
        "deepfool": _active("DeepFool", GENUINE, active_learning(owned, smallest_perturbation)),
        "entropyrev-in": _active("EntropyRev", GENUINE, active_learning(owned, smallest_entropy)),
        "entropyrev-out": _active("EntropyRev", STRANGERS, active_learning(foreign, smallest_entropy)),
        "worstcase-in": _worst("WorstCase", GENUINE, worst_case(owned, EVIDENCE)),
        "worstcase-out": _worst("WorstCase", STRANGERS, worst_case(foreign, EVIDENCE)),
        "worstcase-in-privacy": _worst("WorstCase by privacy", GENUINE, worst_case(owned, PAPER)),
        "worstcase-out-privacy": _worst("WorstCase by privacy", STRANGERS, worst_case(foreign, PAPER)),
        "inout": PaperAttack("InOut", "strangers, a fifth genuine", in_out, "chosen_beforehand"),
        "knockoff-random": PaperAttack("Knockoff Random", STRANGERS, knockoff_nets("random"), "toolbox", must=True),
        "knockoff-adaptive": PaperAttack(
            "Knockoff Adaptive", STRANGERS, knockoff_nets("adaptive"), "toolbox", must=True
        ),
        "copycat": PaperAttack("CopyCat CNN", STRANGERS, copycat_cnn, "toolbox", must=True),
        "jacobian": PaperAttack("Jacobian", "150 genuine, moved", jacobian(targeted=False), "jacobian"),
        "jacobian-tr": PaperAttack("Jacobian-TR", "150 genuine, moved", jacobian(targeted=True), "jacobian"),
        "eat": _active("EAT", MADE, extended_adaptive_training),
        "datafree": PaperAttack("DataFree", MADE, data_free, "data_free", must=True),
    }


def _active(title: str, data: str, run: Attack) -> PaperAttack:
    return PaperAttack(title, data, run, "active_learning")


def _worst(title: str, data: str, run: Attack) -> PaperAttack:
    return PaperAttack(title, data, run, "chosen_beforehand")
