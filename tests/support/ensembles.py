"""Ensembles of teachers made by hand, for tests without a training."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from calpow.handler.leakage.references import LAST, Gaussians, Mixture, References
from calpow.handler.leakage.teachers.ensemble import SCHEMA, Ensemble, EnsembleCard
from calpow.handler.leakage.teachers.heads import HeadEnsemble, Heads, HeadVotes
from calpow.handler.leakage.teachers.trunks import VICTIM

TEACHERS = 7


def digests(teachers: int) -> tuple[str, ...]:
    """Return a digest for each teacher's partition."""
    return tuple(f"{teacher:064x}" for teacher in range(teachers))


def ensemble_card(**changes: object) -> EnsembleCard:
    """Return the card of seven teachers on a scattering of 8x8 images of three classes."""
    card = EnsembleCard(
        schema=SCHEMA,
        classes=3,
        class_names=("a", "b", "c"),
        input_shape=(1, 8, 8),
        layer="",
        width=0,
        torch="",
        teachers=TEACHERS,
        trunk="scattering",
        network="ridge",
        epochs=0,
        weights_sha256="",
        seed=0,
        partition_sizes=(5,) * TEACHERS,
        partition_digests=digests(TEACHERS),
        measured_on=40,
        teacher_accuracy=0.5,
        worst_teacher_accuracy=0.25,
        vote_accuracy=0.75,
        share_at_ceiling=0.125,
        victim_sha256="0" * 64,
    )
    return replace(card, **changes)  # type: ignore[arg-type]  # the tests' own mapping


def references(**changes: object) -> References:
    """Return references of three classes: to six features, four numbers of the layer `conv`, and inputs of 64."""
    generator = torch.Generator().manual_seed(0)

    def numbers(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    found = References(
        layers=("conv",),
        axes={LAST: torch.eye(6), "conv": torch.eye(4)},
        prototypes={LAST: numbers(5, 6), "conv": numbers(5, 4)},
        gaussians={LAST: Gaussians(numbers(6, 6), numbers(3, 6)), "conv": Gaussians(numbers(4, 4), numbers(3, 4))},
        mixture=Mixture(1, numbers(64), numbers(64, 3), numbers(2, 3, 3), numbers(2, 3), numbers(2)),
        token_costs=None,
    )
    return replace(found, **changes)  # type: ignore[arg-type]  # the tests' own mapping


def vector_ensemble(classes: int = 4, *, on_features: bool = False) -> Ensemble:
    """Return seven teachers who take vectors for the class of their largest number, more or less.

    The vectors are the victim's inputs, or its features, those of its output.
    """
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(classes, TEACHERS * classes, generator=generator)
    weights = torch.eye(classes).repeat(1, TEACHERS) + 0.3 * noise
    votes = HeadVotes(HeadEnsemble(nn.Identity(), Heads(weights, torch.zeros(TEACHERS * classes)), classes))
    kind: dict[str, object] = (
        {"trunk": VICTIM, "input_shape": None, "width": classes} if on_features else {"input_shape": (classes,)}
    )
    names = tuple(str(number) for number in range(classes))
    return Ensemble(ensemble_card(classes=classes, class_names=names, **kind), votes, torch.device("cpu"))
