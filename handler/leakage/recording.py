"""Forward hooks on the victim's model that record its inputs and outputs.

A handler may be written in any way, and the samples that are priced are those of the pass that makes the answer.
Decision 0007.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from types import MappingProxyType, ModuleType
from typing import NamedTuple

import torch
from torch import Tensor, nn

from calpow.handler.errors import VictimError
from calpow.handler.leakage.model_inputs import ModelInputs, copied
from calpow.handler.leakage.taps.depths import DepthTap
from calpow.handler.leakage.taps.features import FeatureTap

# How deep the model is searched in the attributes of a handler without an attribute `model`.
_DEPTH = 2


class Call(NamedTuple):
    """One call of the model: its arguments, its output, the features float32 `[n, f]`, and those of inner layers.

    `output` is None where the model did not return a tensor, `features` where no tap is set or its layer was not used.
    `depths` has, by the layer's name, the numbers float32 `[n, f]` that each tapped layer showed.
    """

    arguments: ModelInputs
    output: Tensor | None
    features: Tensor | None
    depths: Mapping[str, Tensor] = MappingProxyType({})

    @property
    def rows(self) -> int | None:
        """The length of the first axis, if all tensors of the arguments and the output share it; else None.

        It is None too where no tensor has a second axis: ten numbers and ten answers may be those of one sample.
        """
        tensors = [*self.arguments.tensors, *([] if self.output is None else [self.output])]
        lengths = {tensor.size(0) if tensor.dim() else None for tensor in tensors}
        return lengths.pop() if len(lengths) == 1 and any(tensor.dim() > 1 for tensor in tensors) else None


@dataclass
class Recording:
    """Calls of the model in one pass, in the order in which they ended; `begun` counts those that began."""

    begun: int = 0
    calls: list[Call] = field(default_factory=list)


class _Pending(threading.local):
    """The call that has begun in a thread: its recording and a copy of its arguments."""

    call: tuple[Recording, ModelInputs] | None = None


class Recorder:
    """Hooks on the victim's model, which record its calls in any thread while a recording is open."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.tap: FeatureTap | None = None
        self.depths: DepthTap | None = None
        self._open: Recording | None = None
        self._pending = _Pending()
        model.register_forward_pre_hook(self._begin, with_kwargs=True)
        model.register_forward_hook(self._end, with_kwargs=True)

    def recording(self) -> AbstractContextManager[Recording]:
        """Record the calls within the context; one recording at a time."""
        return _RecordingContext(self)

    def open(self) -> Recording:
        """Begin to record calls; return where they are kept."""
        self._open = recording = Recording()
        return recording

    def close(self) -> None:
        """Record no more calls, and forget one that raised."""
        self._open = None
        self._pending.call = None
        if self.tap is not None:
            self.tap.take()
        if self.depths is not None:
            self.depths.take()

    def ask(self, inputs: Tensor) -> Call:
        """Call the model on inputs `[n, ...]`; return the recorded call. Raises what the model raises."""
        return self.replay(ModelInputs.of(inputs))

    def replay(self, arguments: ModelInputs) -> Call:
        """Call the model with arguments; return the recorded call. Raises what the model raises."""
        # A copy: a model that works in place must not change the caller's tensors.
        given = arguments.copied()
        with self.recording() as recording, torch.inference_mode():
            self.model(*given.arguments, **given.named)
        return recording.calls[-1]

    def _begin(self, model: nn.Module, arguments: tuple[object, ...], named: dict[str, object]) -> None:
        recording = self._open
        if recording is None:
            return
        recording.begun += 1
        # Copied before the call, because the model may change its input in place.
        self._pending.call = recording, ModelInputs(arguments, named).copied()
        if self.tap is not None:
            self.tap.arm()
        if self.depths is not None:
            self.depths.arm()

    def _end(self, model: nn.Module, arguments: tuple[object, ...], named: dict[str, object], output: object) -> None:
        recording, pending = self._open, self._pending.call
        self._pending.call = None
        if recording is None or (pending is not None and pending[0] is not recording):
            return
        # A model that calls itself: the inner call has taken the place of this one, which makes the answer.
        given = ModelInputs(arguments, named).copied() if pending is None else pending[1]
        result = first_tensor(output)
        copy = None if result is None else copied(result)
        features = None if self.tap is None else self.tap.features(copy)
        depths = {} if self.depths is None else self.depths.numbers(copy)
        recording.calls.append(Call(given, copy, features, depths))


class _RecordingContext:
    """Context of a recording; a class, because contextlib's generators take several microseconds more."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def __enter__(self) -> Recording:
        return self._recorder.open()

    def __exit__(self, *_: object) -> None:
        self._recorder.close()


class HookableModel(nn.Module):
    """Thin module around a model that takes no hooks: a ScriptModule, or a callable that is not a module."""

    def __init__(self, model: Callable[..., object]) -> None:
        super().__init__()
        if isinstance(model, nn.Module):
            self.followed = model
        else:
            object.__setattr__(self, "followed", model)

    def forward(self, *arguments: object, **named: object) -> object:
        """Call the model."""
        followed: Callable[..., object] = self.followed
        return followed(*arguments, **named)

    def __getattr__(self, name: str) -> object:  # type: ignore[override]  # whatever the model has
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == "followed":
                raise
            return getattr(self.followed, name)


def follow_model(handler: object, namespace: ModuleType | None) -> Recorder:
    """Find the model of a handler, or of the module of a function handler (`namespace`), and put hooks on it.

    This is the attribute `model` where there is one, else the only module among the attributes. Raises VictimError
    where there is none, or several.
    """
    owner = handler if handler is not None else namespace
    if owner is None:
        raise VictimError("the handler is neither a class's method nor a module's function: no model can be found")
    holder, name, model = _find(owner)
    if isinstance(model, torch.jit.ScriptModule) or not isinstance(model, nn.Module):
        model = HookableModel(model)
        _set(holder, name, model)
    return Recorder(model)


def _find(owner: object) -> tuple[object, str, Callable[..., object]]:
    own = getattr(owner, "model", None)
    if callable(own):
        return owner, "model", own
    candidates = list(_modules_in(owner, _DEPTH))
    if len({id(module) for _, _, module in candidates}) == 1:
        return candidates[0]
    if not candidates:
        raise VictimError(
            "the victim's handler holds no model that can be followed: load it in initialize, and keep it as self.model"
        )
    names = ", ".join(sorted({name for _, name, _ in candidates}))
    raise VictimError(
        f"the victim's handler holds several models ({names}): put them into one module, and keep it as self.model"
    )


def _modules_in(owner: object, depth: int) -> Iterator[tuple[object, str, nn.Module]]:
    for name, value in list(getattr(owner, "__dict__", {}).items()):
        if isinstance(value, nn.Module):
            yield owner, name, value
        elif depth > 1 and not isinstance(value, type | ModuleType) and not name.startswith("__"):
            yield from _modules_in(value, depth - 1)


def _set(holder: object, name: str, model: nn.Module) -> None:
    if isinstance(holder, nn.Module) or not hasattr(holder, "__dict__"):
        raise VictimError(f"the victim's model cannot be followed where it is kept ({name}): keep it as self.model")
    vars(holder)[name] = model


def first_tensor(output: object) -> Tensor | None:
    """Return the tensor of a model's answer: itself, the `logits` of a mapping or object, or the first of several."""
    if isinstance(output, Tensor):
        return output
    if isinstance(output, Mapping):
        values = [output["logits"]] if "logits" in output else list(output.values())
    else:
        values = list(output) if isinstance(output, list | tuple) else [getattr(output, "logits", None)]
    return next((value for value in values if isinstance(value, Tensor)), None)
