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
    """An attack of the paper, and the module that it is in."""

    run: Attack
    module: str


def paper_attacks(domain: str) -> Mapping[str, PaperAttack]:
    """Return the attacks on a domain, in the order of ATTACK_KINDS."""
    mirrored = domain in MIRRORED
    return {
        "standard": PaperAttack(standard, "chosen_beforehand"),
        "mixmatch": PaperAttack(mixmatch(flips=mirrored), "mixmatch"),
        "entropy": PaperAttack(active_learning(owned, largest_entropy), "active_learning"),
        "gap": PaperAttack(active_learning(owned, smallest_gap), "active_learning"),
        "greedy": PaperAttack(active_learning(owned, greedy_centres), "active_learning"),
        "deepfool": PaperAttack(active_learning(owned, smallest_perturbation), "active_learning"),
        "entropyrev-in": PaperAttack(active_learning(owned, smallest_entropy), "active_learning"),
        "entropyrev-out": PaperAttack(active_learning(foreign, smallest_entropy), "active_learning"),
        "worstcase-in": PaperAttack(worst_case(owned, EVIDENCE), "chosen_beforehand"),
        "worstcase-out": PaperAttack(worst_case(foreign, EVIDENCE), "chosen_beforehand"),
        "worstcase-in-privacy": PaperAttack(worst_case(owned, PAPER), "chosen_beforehand"),
        "worstcase-out-privacy": PaperAttack(worst_case(foreign, PAPER), "chosen_beforehand"),
        "inout": PaperAttack(in_out, "chosen_beforehand"),
        "knockoff-random": PaperAttack(knockoff_nets("random"), "toolbox"),
        "knockoff-adaptive": PaperAttack(knockoff_nets("adaptive"), "toolbox"),
        "copycat": PaperAttack(copycat_cnn, "toolbox"),
        "jacobian": PaperAttack(jacobian(targeted=False), "jacobian"),
        "jacobian-tr": PaperAttack(jacobian(targeted=True), "jacobian"),
        "eat": PaperAttack(extended_adaptive_training, "active_learning"),
        "datafree": PaperAttack(data_free, "data_free"),
    }
