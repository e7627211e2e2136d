"""The victim's representation of its inputs, taken while it runs and without a change to it."""

import threading
from collections.abc import Callable

import torch
from torch import Tensor, nn


class FeatureTap:
    """Reads what goes into the victim's last linear layer; its output, where there is no such layer to be seen.

    That is so for TorchScript, torch.compile, function handlers, layers called by their weights, and models whose
    last linear layer does not make the output. Safe with several threads: each sees its own run only.
    """

    def __init__(self, model: object, probe: Callable[[], Tensor]) -> None:
        """`model` is the handler's, whatever it is; `probe` runs it once, on two or more samples."""
        self._taken = _Taken()
        self.layer = _find_layer(model, probe)
        if self.layer is not None:
            self.layer.register_forward_pre_hook(self._take)

    @property
    def weight(self) -> Tensor | None:
        """The last linear layer's weights `[classes, f]`; None where the features are the output."""
        return None if self.layer is None else self.layer.weight.detach()

    def __call__(self, run: Callable[[], Tensor]) -> tuple[Tensor, Tensor]:
        """Run the victim on n samples: its output, and the features float32 `[n, f]` on its device.

        Whatever `run` raises comes through. Raises RuntimeError when the layer was not used this time.
        """
        if self.layer is None:
            output = run()
            return output, output.flatten(1).float()
        self._taken.armed, self._taken.value = True, None
        try:
            output = run()
            features = self._taken.value
        finally:
            self._taken.armed, self._taken.value = False, None
        if features is None or len(features) != len(output):
            raise RuntimeError("the victim did not use its last layer as it did when it was loaded")
        return output, features.flatten(1).float()

    def _take(self, layer: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        if self._taken.armed and arguments:
            self._taken.value = arguments[0]


class _Taken(threading.local):
    """What the hook saw in this thread; only held while this thread waits for it."""

    armed: bool = False
    value: Tensor | None = None


def _find_layer(model: object, probe: Callable[[], Tensor]) -> nn.Linear | None:
    """The linear layer that a run of the victim comes to last, if it makes one output row of each input row."""
    # A compiled model runs without the hooks of its layers, or with those it had when it was compiled.
    if not isinstance(model, nn.Module) or hasattr(model, "_orig_mod"):
        return None
    calls: list[tuple[nn.Linear, tuple[int, ...]]] = []

    def note(layer: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        if isinstance(layer, nn.Linear) and arguments:
            calls.append((layer, tuple(arguments[0].shape)))

    hooks = [each.register_forward_pre_hook(note) for each in model.modules() if isinstance(each, nn.Linear)]
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
