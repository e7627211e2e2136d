"""Attacks that choose queries by what the copy does not know yet, or knows best: active learning, EntropyRev, EAT.

Pal et al. 2020, Chandrasekaran et al. 2020; sections A.1 and B.7 of the paper. The thief asks in ROUNDS rounds and
trains the copy anew after each, on all answers so far. The first round is drawn at random.
"""

from collections.abc import Callable

import numpy as np
import torch
from art.attacks.evasion import DeepFool
from art.estimators.classification import PyTorchClassifier
from torch import Tensor, nn

from benchmarks.attacks.chosen_beforehand import Pool
from benchmarks.attacks.gated_victim import GatedVictim
from benchmarks.attacks.thief import Attack, Thief, probabilities
from benchmarks.range.strangers.textures import uniform_noise
from benchmarks.range.victims import QUERY_BATCH, victim_logits

ROUNDS = 10
# EAT draws so many candidates for each query.
CANDIDATES = 5
DEEPFOOL_STEPS = 10

# (copy, candidates [n, ...], queries so far [m, ...], count) -> positions of the next queries int64 [count]
Choice = Callable[[nn.Module, Tensor, Tensor, int], Tensor]


def active_learning(pool: Pool, choose: Choice) -> Attack:
    """Return an attack that chooses from a pool, each input once."""

    def attack(thief: Thief, victim: GatedVictim, answers: int) -> nn.Module:
        candidates = pool(thief)
        order = torch.from_numpy(thief.rng().permutation(len(candidates)))
        goal = min(answers, len(candidates))
        batch = -(-goal // ROUNDS)
        asked, rest = candidates[order[:batch]], candidates[order[batch:]]
        labels = victim.labels(asked)
        while len(asked) < goal:
            chosen = choose(thief.train(asked, labels), rest, asked, min(batch, goal - len(asked)))
            queries = rest[chosen]
            asked, labels = torch.cat([asked, queries]), torch.cat([labels, victim.labels(queries)])
            left = torch.ones(len(rest), dtype=torch.bool)
            left[chosen] = False
            rest = rest[left]
        return thief.train(asked, labels)

    return attack


def extended_adaptive_training(thief: Thief, victim: GatedVictim, answers: int) -> nn.Module:
    """Ask for made-up inputs that are nearest to the copy's decision boundary (EAT, Chandrasekaran et al. 2020).

    The thief has no data: candidates are uniform noise, drawn anew for each round.
    """
    rng = thief.rng()
    batch = -(-answers // ROUNDS)
    asked = uniform_noise(thief.owned, batch, rng)
    labels = victim.labels(asked)
    while len(asked) < answers:
        candidates = uniform_noise(thief.owned, CANDIDATES * batch, rng)
        count = min(batch, answers - len(asked))
        queries = candidates[smallest_gap(thief.train(asked, labels), candidates, asked, count)]
        asked, labels = torch.cat([asked, queries]), torch.cat([labels, victim.labels(queries)])
    return thief.train(asked, labels)


def largest_entropy(copy: nn.Module, candidates: Tensor, asked: Tensor, count: int) -> Tensor:
    """Return the candidates of the largest entropy of the copy's probabilities."""
    return _entropy(copy, candidates).argsort(descending=True)[:count]


def smallest_entropy(copy: nn.Module, candidates: Tensor, asked: Tensor, count: int) -> Tensor:
    """Return the candidates of the smallest entropy: those that cost little, the thief hopes (EntropyRev)."""
    return _entropy(copy, candidates).argsort()[:count]


def smallest_gap(copy: nn.Module, candidates: Tensor, asked: Tensor, count: int) -> Tensor:
    """Return the candidates of the smallest gap between the two largest probabilities."""
    largest = probabilities(copy, candidates).topk(2).values
    return (largest[:, 0] - largest[:, 1]).argsort()[:count]


def greedy_centres(copy: nn.Module, candidates: Tensor, asked: Tensor, count: int) -> Tensor:
    """Return candidates one by one that are farthest from all queries so far (Sener and Savarese 2018).

    The distance is that of the copy's logits.
    """
    places, centres = victim_logits(copy, candidates), victim_logits(copy, asked)
    nearest = torch.cat([torch.cdist(part, centres).amin(1) for part in torch.split(places, QUERY_BATCH)])
    chosen = []
    for _ in range(count):
        chosen.append(int(nearest.argmax()))
        nearest = torch.minimum(nearest, (places - places[chosen[-1]]).norm(dim=1))
    return torch.tensor(chosen)


def smallest_perturbation(copy: nn.Module, candidates: Tensor, asked: Tensor, count: int) -> Tensor:
    """Return the candidates that the least change takes to another class of the copy (ART's DeepFool)."""
    shape, classes = tuple(candidates.shape[1:]), victim_logits(copy, candidates[:1]).shape[1]
    wrapped = PyTorchClassifier(copy, nn.CrossEntropyLoss(), shape, classes, clip_values=(0.0, 1.0), device_type="cpu")
    attack = DeepFool(wrapped, max_iter=DEEPFOOL_STEPS, nb_grads=classes, batch_size=QUERY_BATCH, verbose=False)
    inputs = candidates.numpy()
    change = (attack.generate(inputs) - inputs).reshape(len(inputs), -1)
    return torch.from_numpy(np.linalg.norm(change, axis=1)).argsort()[:count]


def _entropy(copy: nn.Module, candidates: Tensor) -> Tensor:
    parts: Tensor = torch.special.entr(probabilities(copy, candidates))
    return parts.sum(1)
