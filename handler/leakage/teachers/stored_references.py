"""The form of References in the teachers' file: plain dicts of tensors and a list of the layers' names."""

from collections.abc import Mapping
from dataclasses import fields

import torch
from torch import Tensor

from calpow.handler.errors import EnsembleError
from calpow.handler.leakage.references import LAST, Gaussians, Mixture, References


def pack(references: References) -> dict[str, object]:
    """Return references as torch.save writes them and torch.load reads them with `weights_only`."""
    mixture = references.mixture
    return {
        "layers": list(references.layers),
        "axes": _packed(references.axes),
        "prototypes": _packed(references.prototypes),
        "whitening": _packed({name: gaussians.whitening for name, gaussians in references.gaussians.items()}),
        "means": _packed({name: gaussians.means for name, gaussians in references.gaussians.items()}),
        "mixture": None if mixture is None else {field.name: getattr(mixture, field.name) for field in fields(Mixture)},
        "token_costs": references.token_costs,
    }


def unpack(stored: object, classes: int, device: torch.device) -> References:
    """Return stored references on a device, for a victim of this many classes.

    Raises EnsembleError when members are missing, are NaN or infinite, or do not fit each other.
    """
    try:
        references = _unpacked(stored, device)
    except (AttributeError, LookupError, TypeError, ValueError, RuntimeError) as error:
        raise EnsembleError("its references are incomplete") from error
    if not all(bool(tensor.isfinite().all()) for tensor in _tensors(references)):
        raise EnsembleError("its references are NaN or infinite")
    if not _fits(references, classes):
        raise EnsembleError("its references contradict each other")
    return references


def _packed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}


def _unpacked(stored: object, device: torch.device) -> References:
    members = _mapping(stored)
    whitening, means = _mapping(members["whitening"]), _mapping(members["means"])
    mixture, costs = members["mixture"], members["token_costs"]
    layers = members["layers"]
    if not isinstance(layers, list) or not all(isinstance(name, str) for name in layers):
        raise TypeError("the layers are no list of names")
    return References(
        layers=tuple(layers),
        axes=_matrices(members["axes"], device),
        prototypes=_matrices(members["prototypes"], device),
        gaussians={
            name: Gaussians(_tensor(whitening[name], 2, device), _tensor(means[name], 2, device)) for name in whitening
        },
        mixture=None if mixture is None else _mixture(_mapping(mixture), device),
        token_costs=None if costs is None else _tensor(costs, 1, device),
    )


def _mixture(members: Mapping[str, object], device: torch.device) -> Mixture:
    pool = members["pool"]
    if type(pool) is not int or pool < 1:
        raise ValueError("the side of pooled squares is no positive number")
    return Mixture(
        pool=pool,
        centre=_tensor(members["centre"], 1, device),
        axes=_tensor(members["axes"], 2, device),
        whitening=_tensor(members["whitening"], 3, device),
        means=_tensor(members["means"], 2, device),
        log_weights=_tensor(members["log_weights"], 1, device),
    )


def _mapping(value: object) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise TypeError("a member is no mapping")
    return value


def _matrices(value: object, device: torch.device) -> Mapping[str, Tensor]:
    return {name: _tensor(matrix, 2, device) for name, matrix in _mapping(value).items()}


def _tensor(value: object, axes: int, device: torch.device) -> Tensor:
    if not isinstance(value, Tensor) or value.layout != torch.strided:
        raise TypeError("a member is no tensor")
    if value.dtype != torch.float32 or value.dim() != axes or not value.numel():
        raise ValueError("a tensor has another form")
    return value.to(device)


def _tensors(references: References) -> list[Tensor]:
    gaussians, mixture = references.gaussians.values(), references.mixture
    of_mixture = [] if mixture is None else [mixture.centre, mixture.axes, mixture.whitening, mixture.means]
    return [
        *references.axes.values(),
        *references.prototypes.values(),
        *(part.whitening for part in gaussians),
        *(part.means for part in gaussians),
        *of_mixture,
        *([] if mixture is None else [mixture.log_weights]),
        *([] if references.token_costs is None else [references.token_costs]),
    ]


def _fits(references: References, classes: int) -> bool:
    """Return whether the tensors' shapes are those that References describes."""
    axes, mixture = references.axes, references.mixture
    return (
        all(name in axes and axes[name].shape[1] == part.shape[1] for name, part in references.prototypes.items())
        and all(_fits_classes(part, classes) for part in references.gaussians.values())
        and all(name in axes for name in references.gaussians)
        and all(
            axes[name].shape[1 if name == LAST else 0] == part.whitening.shape[0]
            for name, part in references.gaussians.items()
        )
        and (mixture is None or _is_whole(mixture))
    )


def _fits_classes(gaussians: Gaussians, classes: int) -> bool:
    return tuple(gaussians.means.shape) == (classes, gaussians.whitening.shape[1])


def _is_whole(mixture: Mixture) -> bool:
    numbers, width = mixture.axes.shape
    count = len(mixture.log_weights)
    return (
        len(mixture.centre) == numbers
        and tuple(mixture.whitening.shape) == (count, width, width)
        and tuple(mixture.means.shape) == (count, width)
    )
