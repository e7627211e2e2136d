"""The inner layers of a victim that are worth looking into, found by running it and not by their names."""

import contextlib
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from calpow.handler.leakage.taps.depths import DepthTap, Summaries, is_features_last, summarise
from calpow.handler.leakage.taps.features import ITSELF

_WEIGHTED = (nn.Linear, nn.modules.conv._ConvNd, nn.Embedding, nn.EmbeddingBag, nn.RNNBase, nn.MultiheadAttention)

Probe = Callable[[], Tensor | None]


@dataclass
class Stage:
    """A layer with weights and the layers without (normalisation, activation, pooling, dropout) that follow it."""

    weights: str
    names: list[str] = field(default_factory=list)


def choose_depths(model: object, probe: Probe, last: str) -> tuple[str, ...]:
    """Return the names of two modules at most, in the order of a pass, whose outputs show the model's inner depths.

    They end stages at about a third and two thirds of the way to the last features. There are none in a model that
    takes no hooks, and none whose hooks change the answer: some modules of torch, such as TransformerEncoderLayer,
    compute in another way where a part of them has hooks.

    `probe` runs the model once; `last` is the name of its last linear layer, as `find_layer` returns it.
    """
    # A compiled model runs without the hooks of its layers, or with those it had when it was compiled.
    if not isinstance(model, nn.Module) or isinstance(model, torch.jit.ScriptModule) or hasattr(model, "_orig_mod"):
        return ()
    candidates = _candidates(model, probe, "" if last == ITSELF else last)
    if candidates and not answers_alike(model, probe, candidates):
        candidates = [name for name in candidates if answers_alike(model, probe, [name])]
    chosen = _spread(candidates)
    return chosen if answers_alike(model, probe, chosen) else ()


def answers_alike(model: nn.Module, probe: Probe, names: Sequence[str]) -> bool:
    """Return whether the model answers the probe in the same way, bit for bit, with these modules tapped as without."""
    plain = _answer(probe)
    tap = DepthTap(model, names)
    try:
        tapped = _answer(probe)
    finally:
        tap.remove()
    return plain is not None and tapped is not None and plain.dtype == tapped.dtype and torch.equal(plain, tapped)


def _answer(probe: Probe) -> Tensor | None:
    # A model that draws random numbers draws the same ones each time.
    with torch.random.fork_rng(), torch.inference_mode():
        torch.manual_seed(0)
        output = probe()
    return None if output is None else output.clone()


def _spread(candidates: Sequence[str]) -> tuple[str, ...]:
    """Return those at about a third and two thirds of the way; both of two."""
    count = len(candidates)
    if count <= 2:
        return tuple(candidates)
    return candidates[max(1, round(count / 3)) - 1], candidates[round(2 * count / 3) - 1]


def _candidates(model: nn.Module, probe: Probe, last: str) -> list[str]:
    """Return the module of each stage before the last linear layer that shows its end, one row of numbers a sample."""
    shown = _run_watched(model, probe, last)
    names = [stage for stage in shown.stages if stage.weights == last]
    # Without a last linear layer, the output of the last stage stands for the features.
    before = shown.stages[: shown.stages.index(names[-1])] if names else shown.stages[:-1]
    ends = [end for stage in before if (end := _end(stage, shown)) is not None]
    # The last features themselves, before or after an activation that is no module, say nothing new.
    is_last = bool(ends) and shown.features is not None and ends[-1] in before[-1].names
    if is_last and shown.features is not None and shown.numbers[ends[-1]].shape == shown.features.shape:
        ends.pop()
    return ends


def _end(stage: Stage, shown: "_Shown") -> str | None:
    """Return the last of a stage's modules that was called once and shows a row a sample; None where none does."""
    weights = shown.outputs.get(stage.weights)
    for name in reversed(stage.names):
        output = shown.outputs.get(name)
        if output is None or weights is None or name not in shown.numbers or shown.calls[name] > 1:
            continue
        # Not a flattened output, nor one of a single place, whose numbers have no deviation.
        is_whole = output.axes == weights.axes and (output.places > 1 or output.axes == 2 or output.features_last)
        # In a stage of sequences, a module without weights does not tell which axis counts the features.
        is_clear = output.features_last or not weights.features_last or output.axes == 2
        if is_whole and is_clear:
            return name
    return None


@dataclass(frozen=True)
class _Output:
    """The form of a module's output: its axes, the places of a channel, and whether the last axis is the features."""

    axes: int
    places: int
    features_last: bool


@dataclass
class _Shown:
    """Findings of one run of the model: its stages, and of each leaf by name the calls, the output, and the numbers.

    `features` is the input `[n, f]` of the last linear layer.
    """

    stages: list[Stage] = field(default_factory=list)
    calls: Counter[str] = field(default_factory=Counter)
    outputs: dict[str, _Output] = field(default_factory=dict)
    summaries: dict[str, Summaries] = field(default_factory=dict)
    numbers: dict[str, Tensor] = field(default_factory=dict)
    features: Tensor | None = None


def _run_watched(model: nn.Module, probe: Probe, last: str) -> _Shown:
    """Run the model once and watch its leaves."""
    shown = _Shown()
    leaves = {module: name for name, module in model.named_modules() if name and _is_leaf(module)}

    def note(module: nn.Module, arguments: tuple[object, ...], output: object) -> None:
        name = leaves.get(module)
        if name is None:
            return
        if name == last and arguments and isinstance(arguments[0], Tensor):
            shown.features = arguments[0]
        if _has_weights(module):
            shown.stages.append(Stage(name))
        if shown.stages:
            shown.stages[-1].names.append(name)
            _note_output(shown, name, module, output)

    # A hook on all modules, because those on parts of a module of torch's own may change which parts it calls.
    hook = nn.modules.module.register_module_forward_hook(note)
    try:
        answer = _answer(probe)
    finally:
        hook.remove()
    if answer is not None:
        rows = {name: summary.of(answer) for name, summary in shown.summaries.items()}
        shown.numbers = {name: numbers for name, numbers in rows.items() if numbers is not None}
    return shown


def _note_output(shown: _Shown, name: str, module: nn.Module, output: object) -> None:
    shown.calls[name] += 1
    values = output[0] if isinstance(output, tuple | list) and output else output
    if isinstance(values, Tensor):
        shown.outputs[name] = _Output(values.dim(), math.prod(values.shape[2:]), is_features_last(module))
    with contextlib.suppress(RuntimeError):
        shown.summaries[name] = summarise(output, module, features_last=is_features_last(module))


def _is_leaf(module: nn.Module) -> bool:
    # Children of a module of torch's own with weights are parts that it does not call, or parametrizations.
    return isinstance(module, _WEIGHTED) or next(module.children(), None) is None


def _has_weights(module: nn.Module) -> bool:
    """Return whether a leaf has weights: matrices, where normalisation has a number or two a channel."""
    return isinstance(module, _WEIGHTED) or any(weights.dim() > 1 for weights in module.parameters(recurse=False))
