"""Jacobian-based augmentation of a few genuine inputs, and its variation with targets (appendix A.1)."""

import torch
from torch import Tensor, nn

from benchmarks.attacks.gated_victim import GatedVictim
from benchmarks.attacks.thief import Attack, Thief
from benchmarks.range.shifts import levels

# Genuine inputs at the beginning, and the length of a step (section 4.1).
GENUINE = 150
STEP = 0.1


def jacobian(*, targeted: bool) -> Attack:
    """Return Jacobian (Papernot et al. 2017), or Jacobian-TR (Juuti et al. 2019).

    Each round doubles the queries: every one so far is moved by the sign of a row of the copy's Jacobian, that of the
    victim's class, or towards a random other class. Images stay within 0 and 1 and are rounded as files hold them.
    """

    def attack(thief: Thief, victim: GatedVictim, answers: int) -> nn.Module:
        generator = torch.Generator().manual_seed(thief.seed)
        asked = thief.owned[: min(GENUINE, answers)]
        labels = victim.labels(asked)
        while len(asked) < answers:
            copy = thief.train(asked, labels)
            others = (labels + torch.randint(1, thief.classes, labels.shape, generator=generator)) % thief.classes
            moved = levels(asked + STEP * slope(copy, asked, others if targeted else labels).sign())
            queries = moved[: answers - len(asked)]
            asked, labels = torch.cat([asked, queries]), torch.cat([labels, victim.labels(queries)])
        return thief.train(asked, labels)

    return attack


def slope(copy: nn.Module, inputs: Tensor, classes: Tensor) -> Tensor:
    """Return the gradients [n, ...] of the copy's logits of these classes int64 [n] by the inputs [n, ...]."""
    inputs = inputs.clone().requires_grad_()
    chosen = copy(inputs).gather(1, classes[:, None]).sum()
    (gradients,) = torch.autograd.grad(chosen, inputs)
    return gradients
