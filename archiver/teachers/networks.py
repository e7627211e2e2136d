"""The architectures of independent teachers: the paper's, and the owner's own by `module:factory`."""

import importlib
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor, nn

from calpow.puzzle.errors import CalpowError

MNISTNET = "mnistnet"
MNISTNET_SHAPE = (1, 28, 28)

Factory = Callable[[int, tuple[int, ...]], nn.Module]


class NetworkError(CalpowError):
    """The owner's architecture cannot be made, or is not one of teachers."""


@dataclass(frozen=True)
class Architecture:
    """What makes a new network: `name` is `mnistnet`, `FILE.py:FACTORY` with an absolute path, or `module:factory`."""

    name: str
    classes: int
    input_shape: tuple[int, ...]

    def make(self) -> nn.Module:
        """A new network with weights of torch's generator: inputs `[n, *input_shape]` -> scores `[n, classes]`.

        Raises NetworkError when it cannot be made.
        """
        factory = _factory(self.name)
        try:
            network = factory(self.classes, self.input_shape)
        except NetworkError:
            raise
        except Exception as problem:  # the owner's code
            raise NetworkError(
                f"--network {self.name}: the factory raises {type(problem).__name__} for {self.classes} classes and"
                f" inputs {self.input_shape}: {_line(problem)}"
            ) from problem
        if not isinstance(network, nn.Module):
            raise NetworkError(
                f"--network {self.name}: the factory returns {type(network).__name__}, let it return a torch.nn.Module"
            )
        return network


def mnistnet(classes: int, input_shape: tuple[int, ...]) -> nn.Module:
    """The paper's network for MNIST (appendix B.2). Raises NetworkError for anything but grey images of 28x28."""
    if input_shape != MNISTNET_SHAPE:
        raise NetworkError(
            f"mnistnet is for inputs of shape {MNISTNET_SHAPE}, the victim's handler makes {input_shape}:"
            " give your own --network FILE.py:FACTORY"
        )
    return nn.Sequential(
        nn.Conv2d(1, 20, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(20, 50, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(800, 500),
        nn.ReLU(),
        nn.Linear(500, classes),
    )


def absolute(name: str) -> str:
    """The same name with the path of its file made absolute: it outlasts a change of directory."""
    target, colon, factory = name.rpartition(":")
    return f"{Path(target).resolve()}{colon}{factory}" if target.endswith(".py") else name


def source_file(name: str) -> Path | None:
    """The file an architecture of the owner's comes from. Raises NetworkError when there is none."""
    file = None if name == MNISTNET else _module(name).__file__
    return Path(file) if file else None


def try_network(architecture: Architecture, inputs: Tensor) -> None:
    """Make one, and see that it gives scores of these inputs `[n, *input_shape]` and can be trained.

    Raises NetworkError.
    """
    network = architecture.make().eval()
    named = f"--network {architecture.name}"
    try:
        with torch.inference_mode():
            scores = network(inputs)
    except Exception as problem:  # the owner's code
        raise NetworkError(
            f"{named}: the network fails on inputs of shape {tuple(inputs.shape)}: {_line(problem)}"
        ) from problem
    expected = (len(inputs), architecture.classes)
    if not isinstance(scores, Tensor) or tuple(scores.shape) != expected or not scores.is_floating_point():
        found = f"{scores.dtype} {tuple(scores.shape)}" if isinstance(scores, Tensor) else type(scores).__name__
        raise NetworkError(
            f"{named}: the network makes {found} of {len(inputs)} inputs, let it make scores of shape {expected}"
        )
    if not bool(torch.isfinite(scores).all()):
        raise NetworkError(f"{named}: the network gives NaN or infinite scores before any training: mend it")
    if not any(each.requires_grad for each in network.parameters()):
        raise NetworkError(f"{named}: the network has no parameters to train")


def _factory(name: str) -> Factory:
    if name == MNISTNET:
        return mnistnet
    found = getattr(_module(name), name.rpartition(":")[2], None)
    if found is None:
        raise NetworkError(f"--network {name}: there is no {name.rpartition(':')[2]} in it")
    if not callable(found):
        raise NetworkError(f"--network {name}: {name.rpartition(':')[2]} is {type(found).__name__}, no function")
    factory: Factory = found
    return factory


def _module(name: str) -> ModuleType:
    target, _, factory = name.rpartition(":")
    if not target or not factory.isidentifier():
        raise NetworkError(f"--network {name}: give {MNISTNET}, FILE.py:FACTORY or package.module:factory")
    try:
        return _module_of_file(Path(target)) if target.endswith(".py") else importlib.import_module(target)
    except FileNotFoundError as problem:
        raise NetworkError(f"--network {name}: {problem.filename} does not exist") from problem
    except ModuleNotFoundError as problem:
        raise NetworkError(f"--network {name}: there is no module {problem.name}") from problem
    except Exception as problem:  # the owner's code
        raise NetworkError(f"--network {name} cannot be imported: {type(problem).__name__}: {_line(problem)}") from (
            problem
        )


def _module_of_file(path: Path) -> ModuleType:
    name = f"calpow_network_{path.stem}"
    known = sys.modules.get(name)
    if known is not None and known.__file__ == str(path):
        return known
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(2, "no Python file", str(path))
    module = importlib.util.module_from_spec(spec)
    # Its neighbours are found as they are when it is run as a script.
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _line(problem: Exception) -> str:
    return next((line.strip() for line in str(problem).splitlines() if line.strip()), "no reason given")
