"""The victim's representation of its inputs, taken by a hook while it runs."""

import threading
from collections.abc import Callable

import torch
from torch import Tensor, nn


class FeatureTap:
    """Takes the input of the victim's last linear layer; its output, where no such layer can be hooked.

    The latter holds for TorchScript, torch.compile, layers called by their weights, and models whose last linear layer
    does not make the output. Safe with several threads: each gets the features of its own run only.
    """

    def __init__(self, model: object, probe: Callable[[], Tensor]) -> None:
        """`model` is the handler's, of any type; `probe` runs it once, on two or more samples."""
        self._state = threading.local()
        self.layer = _find_layer(model, probe)
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
        if output is None:
            return None
        taken = output if self.layer is None else self.take()
        return None if taken is None or len(taken) != len(output) else taken.detach().flatten(1).float().clone()

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
        if features is None or len(features) != len(output):
            raise RuntimeError("the victim did not use its last layer as it did when it was loaded")
        return output, features.flatten(1).float()

    def _keep(self, layer: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        if arguments and getattr(self._state, "armed", False):
            self._state.value = arguments[0]


def _find_layer(model: object, probe: Callable[[], Tensor]) -> nn.Linear | None:
    """Return the linear layer that a run of the victim calls last, if it makes one output row of each input row."""
    # A compiled model runs without the hooks of its layers, or with those it had when it was compiled.
    if not isinstance(model, nn.Module) or hasattr(model, "_orig_mod"):
        return None
    calls: list[tuple[nn.Linear, tuple[int, ...]]] = []

    def note(layer: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        if isinstance(layer, nn.Linear) and arguments:
            calls.append((layer, tuple(arguments[0].shape)))

    hooks = [layer.register_forward_pre_hook(note) for layer in model.modules() if isinstance(layer, nn.Linear)]
    try:
        with torch.inference_mode():
            output = probe()
    finally:
        for hook in hooks:
            hook.remove()
    if not calls:
        return None
    layer, shape = calls[-1]
    makes_output = output.dim() == 2 and tuple(output.shape) == (shape[0], layer.out_features) and len(shape) == 2
    return layer if makes_output else None
