"""The victim's representation of its inputs, taken while it runs and without a change to it."""

import threading
from collections.abc import Callable

import torch
from torch import Tensor, nn


class FeatureTap:
    """Reads what goes into the victim's last linear layer; its output, where there is no such layer to be seen.

    That is so for TorchScript, torch.compile, layers called by their weights, and models whose last linear layer does
    not make the output. Safe with several threads: each sees its own run only.
    """

    def __init__(self, model: object, probe: Callable[[], Tensor]) -> None:
        """`model` is the handler's, whatever it is; `probe` runs it once, on two or more samples."""
        self._seen = threading.local()
        self.layer = _find_layer(model, probe)
        if self.layer is not None:
            self.layer.register_forward_pre_hook(self._see)

    @property
    def weight(self) -> Tensor | None:
        """The last linear layer's weights `[classes, f]`; None where the features are the output."""
        return None if self.layer is None else self.layer.weight.detach()

    def arm(self) -> None:
        """See this thread's next run of the model: nothing is held of any other."""
        self._seen.armed, self._seen.value = True, None

    def take(self) -> Tensor | None:
        """What this thread's run of the model gave its last layer, and forget it."""
        value: Tensor | None = getattr(self._seen, "value", None)
        self._seen.armed, self._seen.value = False, None
        return value

    def features(self, output: Tensor | None) -> Tensor | None:
        """Features float32 `[n, f]` of this thread's last run, whose output was `[n, ...]`.

        None where the layer was not used as it was when it was found.
        """
        if output is None:
            return None
        found = output if self.layer is None else self.take()
        return None if found is None or len(found) != len(output) else found.detach().flatten(1).float().clone()

    def __call__(self, run: Callable[[], Tensor]) -> tuple[Tensor, Tensor]:
        """Run the victim on n samples: its output, and the features float32 `[n, f]` on its device.

        Gradients pass through the features. Raises what `run` raises, and RuntimeError when the layer was not used.
        """
        self.arm()
        try:
            output = run()
        finally:
            taken = self.take()
        found = output if self.layer is None else taken
        if found is None or len(found) != len(output):
            raise RuntimeError("the victim did not use its last layer as it did when it was loaded")
        return output, found.flatten(1).float()

    def _see(self, layer: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        if arguments and getattr(self._seen, "armed", False):
            self._seen.value = arguments[0]


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
