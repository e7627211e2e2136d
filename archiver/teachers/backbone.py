"""Trunks from torchvision: a frozen public network whose weights come from a file of the owner's."""

import warnings
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor, nn

from calpow.handler.errors import TrunkError

try:
    from torchvision import models
except RuntimeError as mismatch:  # "operator torchvision::nms does not exist"
    raise TrunkError(
        f"torchvision {version('torchvision')} is not built for torch {torch.__version__}: install both anew, in one"
        " pip install, from the same index"
    ) from mismatch

PREFIX = "torchvision:"


def make_backbone(name: str, weights: Path | None, input_shape: tuple[int, ...]) -> nn.Module:
    """Load `torchvision:NAME` without its last linear layer: float32 `[n, *input_shape]` -> features `[n, f]`.

    `weights` is a state_dict of that architecture, saved with torch.save; its classifier may have any number of
    classes. Raises TrunkError when there is no such network, when the weights are not of this architecture, or when it
    does not take inputs of this shape.
    """
    architecture = name.removeprefix(PREFIX)
    if architecture not in models.list_models(module=models):
        raise TrunkError(f"torchvision has no classifier {architecture!r}: take one like {PREFIX}resnet18")
    if weights is None:
        raise TrunkError(f"--trunk {name} needs its weights: give --weights FILE, a state_dict saved with torch.save")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the initial weights, which are replaced
        network: nn.Module = models.get_model(architecture, weights=None)
    classifier = _last_linear(network)
    if not classifier:
        raise TrunkError(f"{architecture} does not end with a linear layer: take one like {PREFIX}resnet18")
    # Not set_submodule: younger than the oldest torch.
    parent, _, attribute = classifier.rpartition(".")
    setattr(network.get_submodule(parent), attribute, nn.Identity())
    state = {name: value for name, value in _read(weights).items() if not name.startswith(f"{classifier}.")}
    _load(network, architecture, state, weights)
    network.eval().requires_grad_(False)
    _check_inputs(network, architecture, input_shape)
    return network


def _last_linear(network: nn.Module) -> str:
    linear = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    return linear[-1] if linear else ""


def _read(path: Path) -> Mapping[str, Tensor]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as problem:
        raise TrunkError(f"--weights {path} cannot be read: {problem.strerror}") from problem
    except Exception as problem:  # torch.load raises whatever its zip and pickle readers raise
        raise TrunkError(f"--weights {path} is not a state_dict: save one with torch.save") from problem
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise TrunkError(
            f"--weights {path} is not a state_dict, a mapping of names to tensors: save one with torch.save"
        )
    return state


def _load(network: nn.Module, architecture: str, state: Mapping[str, Tensor], weights: Path) -> None:
    expected = network.state_dict()
    misfits = sorted(
        name
        for name in expected.keys() | state.keys()
        if name not in expected or name not in state or expected[name].shape != state[name].shape
    )
    if misfits:
        raise TrunkError(
            f"--weights {weights} is not of {architecture}: {len(misfits)} tensors are missing, unknown or of another"
            f" shape, the first is {misfits[0]}; give the weights of this architecture"
        )
    if not all(bool(torch.isfinite(value).all()) for value in state.values()):
        raise TrunkError(f"--weights {weights} has NaN or infinite numbers: give whole weights")
    # Tensor by tensor: the load_state_dict of some architectures needs a version that a plain mapping lacks.
    for name, value in expected.items():
        value.copy_(state[name])


def _check_inputs(network: nn.Module, architecture: str, input_shape: tuple[int, ...]) -> None:
    channels = next((module.in_channels for module in network.modules() if isinstance(module, nn.Conv2d)), None)
    if len(input_shape) != 3 or input_shape[0] != channels:
        raise TrunkError(
            f"{architecture} takes images of {channels} channels, the victim's handler makes {input_shape}:"
            " take --trunk scattering or random"
        )
    try:
        with torch.inference_mode():
            features = network(torch.zeros(2, *input_shape))
    except Exception as problem:  # architectures raise various errors for a size that they do not take
        raise TrunkError(f"{architecture} does not take images of {input_shape}: take another --trunk") from problem
    if features.dim() != 2:
        raise TrunkError(f"{architecture} makes no vector of an image: take one like {PREFIX}resnet18")
