"""Numbers that inner layers of the victim show of its inputs, taken by hooks while it runs."""

import functools
import threading
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  # the customary name

from calpow.handler.errors import VictimError

# A depth of more numbers is averaged down to as many groups of neighbours.
MOST_NUMBERS = 512
# Added to variances, so that one of zero has an inverse.
LEAST_VARIANCE = 1e-12

_FEATURES_LAST = (nn.Linear, nn.LayerNorm, nn.Embedding, nn.RNNBase, nn.MultiheadAttention)


# A row of numbers `[n, f]`, or the means and the inverse deviations of channels `[n, channels, 1, ...]`.
Summary = tuple[Tensor] | tuple[Tensor, Tensor]


class Summaries(NamedTuple):
    """Summaries of a layer's output with the samples on its first axis, `rows`, and on its second, `columns`.

    None where the output has no such form.
    """

    rows: Summary | None
    columns: Summary | None = None

    def of(self, output: Tensor) -> Tensor | None:
        """Return the numbers `[n, f]` of a run's n samples, whose output this is; None where there are others."""
        # One number may stand for a sample, or one row of them for the only one.
        counts = (output.size(0),) if output.dim() > 1 else (output.numel(), 1)
        for samples in counts:
            for summary in (self.rows, self.columns):
                if summary is not None and summary[0].size(0) == samples:
                    return _numbers(summary)
        return None


class _Pass(threading.local):
    """The summaries of the layers that a thread's run of the model has used so far; None outside a recording."""

    summaries: dict[str, Summaries] | None = None


class DepthTap:
    """Takes the outputs of some inner layers, reduced to a row of numbers a sample.

    Of an output with more axes than samples and numbers, these are the means and the standard deviations of each
    channel over all places. They are computed within the hook, because a model may change the output in place later.
    Safe with several threads: each gets the numbers of its own run only.
    """

    def __init__(self, model: object, names: Iterable[str]) -> None:
        """`model` is the handler's, of any type; `names` are those of its modules, as `find_depths` returns them.

        Raises VictimError when the model has no such module.
        """
        self.names = tuple(names)
        self._state = _Pass()
        modules = dict(model.named_modules()) if isinstance(model, nn.Module) else {}
        missing = [name for name in self.names if name not in modules]
        if missing:
            raise VictimError(f"the victim's model has no layer {missing[0]}, whose output was calibrated with")
        self._hooks = [
            modules[name].register_forward_hook(functools.partial(self._keep, name, is_features_last(modules[name])))
            for name in self.names
        ]

    def remove(self) -> None:
        """Take the hooks off the model."""
        for hook in self._hooks:
            hook.remove()

    def arm(self) -> None:
        """Keep the layers' numbers in this thread's next run of the model; nothing is kept of other runs."""
        self._state.summaries = {}

    def take(self) -> Mapping[str, Summaries]:
        """Return and forget what each layer showed in this thread's run of the model; layers not used are left out."""
        summaries, self._state.summaries = self._state.summaries, None
        return summaries or {}

    def numbers(self, output: Tensor | None) -> Mapping[str, Tensor]:
        """Return the numbers float32 `[n, f]` of each layer in this thread's last run, whose output was `[n, ...]`.

        A layer that was not used, or shows another number of rows, is left out.
        """
        taken = self.take()
        if output is None:
            return {}
        return {name: rows for name, summary in taken.items() if (rows := summary.of(output)) is not None}

    def _keep(
        self, name: str, features_last: bool, module: nn.Module, arguments: tuple[object, ...], output: object
    ) -> None:
        summaries = self._state.summaries
        if summaries is None:
            return
        try:
            summaries[name] = summarise(output, module, features_last=features_last)
        except RuntimeError:  # of a form that cannot be reduced: the meter says that the depth is missing
            summaries.pop(name, None)


def is_features_last(module: nn.Module) -> bool:
    """Return whether the last axis of a module's output counts its features, and not its second axis."""
    if isinstance(module, _FEATURES_LAST):
        return True
    # Of modules that are not torch's own, those with weights are taken for linear layers of some kind.
    is_torch = type(module).__module__.startswith("torch.nn.")
    return not is_torch and next(module.parameters(recurse=False), None) is not None


def summarise(output: object, module: nn.Module, *, features_last: bool) -> Summaries:
    """Return the numbers that a module's output shows, the first tensor of it where there are several."""
    values = output[0] if isinstance(output, (tuple, list)) and output else output
    if not isinstance(values, Tensor) or values.dim() < 2 or values.is_nested or values.layout != torch.strided:
        return Summaries(None)
    if values.requires_grad:
        values = values.detach()
    if values.dtype is not torch.float32:
        values = values.float()
    if values.dim() == 2:
        return Summaries((values.clone(),))
    if not features_last:
        return Summaries(_moments(values))
    if values.dim() > 3:
        return Summaries(_moments(values.flatten(1, -2).transpose(1, 2)))
    batch_first = getattr(module, "batch_first", None)
    by_row = None if batch_first is False else _moments(values.transpose(1, 2))
    return Summaries(by_row, None if batch_first is True else _moments(values.permute(1, 2, 0)))


def _moments(values: Tensor) -> Summary:
    """Return the means and the inverse deviations of the channels of values `[n, channels, ...]`."""
    # Layer normalisation computes both in one call, as exactly as torch.mean and torch.std, and several times as fast.
    _, means, inverses = torch.native_layer_norm(values, values.shape[2:], None, None, LEAST_VARIANCE)
    return means, inverses


def _numbers(summary: Summary) -> Tensor:
    """Return a summary as one row of numbers a sample: of channels, the means and then the standard deviations."""
    numbers = summary[0] if len(summary) == 1 else torch.cat([summary[0], summary[1].reciprocal()], dim=1).flatten(1)
    if numbers.size(1) <= MOST_NUMBERS:
        return numbers
    return F.adaptive_avg_pool1d(numbers.unsqueeze(1), MOST_NUMBERS).squeeze(1)
