"""Records what goes into the victim's model and what comes out of it, by forward hooks.

A handler may be written as it likes: what is priced is what its model was asked in the very pass that makes the answer.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import ModuleType

import torch
from torch import Tensor, nn

from calpow.handler.errors import VictimError
from calpow.handler.leakage.features import FeatureTap

# Where the handler keeps no attribute `model`, its model is looked for in what it holds, and in what that holds.
_DEPTH = 2


@dataclass(frozen=True)
class Call:
    """One call of the model: its input `[n, ...]`, its output `[n, ...]`, its features float32 `[n, f]`.

    `inputs` is None where the model was not given exactly one tensor, `output` where it did not return one, `features`
    where no tap is set or its layer was not used.
    """

    inputs: Tensor | None
    output: Tensor | None
    features: Tensor | None


@dataclass
class Recording:
    """The calls of one pass, in the order in which they ended; `begun` counts those that began."""

    begun: int = 0
    calls: list[Call] = field(default_factory=list)


class Recorder:
    """Hooks on the victim's model. They record, in whichever thread it runs, while a recording is open."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.tap: FeatureTap | None = None
        self._open: Recording | None = None
        self._pending = threading.local()
        model.register_forward_pre_hook(self._begin, with_kwargs=True)
        model.register_forward_hook(self._end, with_kwargs=True)

    @contextmanager
    def recording(self) -> Iterator[Recording]:
        """Open a recording; one at a time."""
        recording = Recording()
        self._open = recording
        try:
            yield recording
        finally:
            self._open = None
            if self.tap is not None:
                self.tap.take()

    def ask(self, inputs: Tensor) -> Call:
        """Call the model on inputs `[n, ...]` and record it. Raises what the model raises."""
        with self.recording() as recording, torch.inference_mode():
            # A copy: a model that works in place must not change what the caller has.
            self.model(inputs.clone())
        return recording.calls[-1]

    def _begin(self, model: nn.Module, arguments: tuple[object, ...], named: dict[str, object]) -> None:
        recording = self._open
        if recording is None:
            return
        recording.begun += 1
        # Copied now: the model may change its input in place.
        self._pending.call = recording, _only_tensor([*arguments, *named.values()])
        if self.tap is not None:
            self.tap.arm()

    def _end(self, model: nn.Module, arguments: tuple[object, ...], named: dict[str, object], output: object) -> None:
        pending: tuple[Recording, Tensor | None] | None = getattr(self._pending, "call", None)
        self._pending.call = None
        if pending is None or pending[0] is not self._open:
            return
        recording, inputs = pending
        result = _first_tensor(output)
        copy = None if result is None else result.detach().clone()
        features = None if self.tap is None else self.tap.features(copy)
        recording.calls.append(Call(inputs, copy, features))


class Followed(nn.Module):
    """A thin module around a model that takes no hooks: a ScriptModule, or a callable that is no module."""

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
    """Find the model of a handler (or of a function handler's module, its `namespace`) and put hooks on it.

    The attribute `model` is taken where there is one, else the only module that is held. Raises VictimError where there
    is none, or several.
    """
    owner = handler if handler is not None else namespace
    if owner is None:
        raise VictimError("the handler is neither a class's method nor a module's function: no model can be found")
    holder, name, model = _find(owner)
    if isinstance(model, torch.jit.ScriptModule) or not isinstance(model, nn.Module):
        model = Followed(model)
        _set(holder, name, model)
    return Recorder(model)


def _find(owner: object) -> tuple[object, str, Callable[..., object]]:
    own = getattr(owner, "model", None)
    if callable(own):
        return owner, "model", own
    found = list(_modules_in(owner, _DEPTH))
    if len({id(module) for _, _, module in found}) == 1:
        return found[0]
    if not found:
        raise VictimError(
            "the victim's handler holds no model that can be followed: load it in initialize, and keep it as self.model"
        )
    names = ", ".join(sorted({name for _, name, _ in found}))
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


def _only_tensor(values: list[object]) -> Tensor | None:
    tensors = [value for value in values if isinstance(value, Tensor)]
    structured = any(isinstance(value, Mapping | list | tuple) and value for value in values)
    return tensors[0].detach().clone() if len(tensors) == 1 and not structured else None


def _first_tensor(output: object) -> Tensor | None:
    """The tensor that a model answers with: by itself, as `logits` of a mapping, or the first of several."""
    if isinstance(output, Tensor):
        return output
    if isinstance(output, Mapping):
        values = [output["logits"]] if "logits" in output else list(output.values())
    else:
        values = list(output) if isinstance(output, list | tuple) else [getattr(output, "logits", None)]
    return next((value for value in values if isinstance(value, Tensor)), None)
