"""The victim's representation of its inputs, taken by a hook while it runs."""

import math
import threading
from collections.abc import Callable

import torch
from torch import Tensor, nn

from calpow.handler.errors import VictimError
from calpow.handler.leakage.model_inputs import copied

# The name of the layer of a model that is a linear layer itself.
ITSELF = "."


class FeatureTap:
    """Takes the input of the victim's last linear layer; its output, where no such layer can be hooked.

    The latter holds for TorchScript, torch.compile, layers called by their weights, and models whose last linear layer
    does not make the output. Safe with several threads: each gets the features of its own run only.
    """

    def __init__(self, model: object, name: str) -> None:
        """`model` is the handler's, of any type; `name` is that of its layer, as `find_layer` returns it.

        Raises VictimError when the model has no such linear layer.
        """
        self._state = threading.local()
        self.name = name
        self.layer = _layer(model, name) if name else None
        if self.layer is not None:
            self.layer.register_forward_pre_hook(self._keep)

    @property
    def weight(self) -> Tensor | None:
        """Weights of the last linear layer, `[classes, f]`; None where the features are the output."""
        return None if self.layer is None else self.layer.weight.detach()

    def arm(self) -> None:
        """Keep the layer's input in this thread's next run of the model; nothing is kept of other runs."""
        self._state.armed, self._state.value = True, None

    def take(self) -> Tensor | None:
        """Return and forget the layer's input in this thread's run of the model; None where there was none."""
        value: Tensor | None = getattr(self._state, "value", None)
        self._state.armed, self._state.value = False, None
        return value

    def features(self, output: Tensor | None) -> Tensor | None:
        """Return features float32 `[n, f]` of this thread's last run, whose output was `[n, ...]`.

        None where the layer was not used as it was when it was found.
        """
        taken = output if self.layer is None else self.take()
        if output is None or taken is None:
            return None
        # One sample's answer may be a bare number.
        samples = output.size(0) if output.dim() else 1
        if _samples(taken) not in (samples, 1):
            return None
        rows = copied(_rows(taken))
        return rows if rows.dtype is torch.float32 else rows.float()

    def __call__(self, run: Callable[[], Tensor]) -> tuple[Tensor, Tensor]:
        """Run the victim on n samples; return its output, and the features float32 `[n, f]` on its device.

        Gradients pass through the features. Raises what `run` raises, and RuntimeError when the layer was not used.
        """
        self.arm()
        try:
            output = run()
        finally:
            taken = self.take()
        features = output if self.layer is None else taken
        if features is None or _samples(features) not in (len(output) if output.dim() else 1, 1):
            raise RuntimeError("the victim did not use its last layer as it did when it was loaded")
        return output, _rows(features).float()

    def _keep(self, layer: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        if arguments and getattr(self._state, "armed", False):
            self._state.value = arguments[0]


def find_layer(model: object, probe: Callable[[], Tensor | None]) -> str:
    """Return the name of the linear layer that a run of the victim calls last, if it makes its output.

    `probe` runs the model once and returns its output. The name is empty where there is no such layer.
    """
    # A compiled model runs without the hooks of its layers, or with those it had when it was compiled.
    if not isinstance(model, nn.Module) or hasattr(model, "_orig_mod"):
        return ""
    names = {layer: name or ITSELF for name, layer in model.named_modules() if isinstance(layer, nn.Linear)}
    calls: list[tuple[nn.Linear, tuple[int, ...]]] = []

    def note(layer: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        if isinstance(layer, nn.Linear) and arguments:
            calls.append((layer, tuple(arguments[0].shape)))

    hooks = [layer.register_forward_pre_hook(note) for layer in names]
    try:
        with torch.inference_mode():
            output = probe()
    finally:
        for hook in hooks:
            hook.remove()
    if not calls or output is None:
        return ""
    layer, shape = calls[-1]
    # One row of the output for each row of the layer's input, perhaps with axes of length 1 left out.
    makes_output = len(shape) <= 2 and output.numel() == math.prod(shape[:-1]) * layer.out_features
    return names[layer] if makes_output else ""


def _layer(model: object, name: str) -> nn.Linear:
    modules = dict(model.named_modules()) if isinstance(model, nn.Module) else {}
    layer = modules.get("" if name == ITSELF else name)
    if not isinstance(layer, nn.Linear):
        raise VictimError(f"the victim's model has no linear layer {name}, whose input was calibrated with")
    return layer


def _samples(features: Tensor) -> int:
    return 1 if features.dim() < 2 else features.size(0)


def _rows(features: Tensor) -> Tensor:
    """Return features `[n, f]` of `[n, ...]`, or of one sample's `[f]` or bare number."""
    if features.dim() == 2:
        return features
    return features.reshape(1, -1) if features.dim() < 2 else features.flatten(1)
