"""Architectures of independent teachers: the paper's MnistNet, and the owner's own, named as `module:factory`."""

import importlib
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor, nn

from calpow.archiver.errors import NetworkError

MNISTNET = "mnistnet"
MNISTNET_SHAPE = (1, 28, 28)

Factory = Callable[[int, tuple[int, ...]], nn.Module]


@dataclass(frozen=True)
class Architecture:
    """A factory of networks; its `name` is `mnistnet`, `FILE.py:FACTORY` with an absolute path, or `module:factory`."""

    name: str
    classes: int
    input_shape: tuple[int, ...]

    def make(self) -> nn.Module:
        """Make a network, inputs `[n, *input_shape]` -> scores `[n, classes]`, initialised by torch's generator.

        Raises NetworkError when the factory fails.
        """
        factory = _factory(self.name)
        try:
            network = factory(self.classes, self.input_shape)
        except NetworkError:
            raise
        except Exception as problem:  # the owner's code
            raise NetworkError(
                f"--network {self.name}: the factory raises {type(problem).__name__} for {self.classes} classes and"
                f" inputs {self.input_shape}: {_first_line(problem)}"
            ) from problem
        if not isinstance(network, nn.Module):
            raise NetworkError(
                f"--network {self.name}: the factory returns {type(network).__name__}, let it return a torch.nn.Module"
            )
        return network


def mnistnet(classes: int, input_shape: tuple[int, ...]) -> nn.Module:
    """Make the paper's network for MNIST (appendix B.2). Raises NetworkError unless inputs are grey 28x28 images."""
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
    """Return the name with the path of its file made absolute, so that it survives a change of directory."""
    target, colon, factory = name.rpartition(":")
    return f"{Path(target).resolve()}{colon}{factory}" if target.endswith(".py") else name


def source_file(name: str) -> Path | None:
    """Return the file that defines an architecture of the owner's, None for MnistNet.

    Raises NetworkError when it does not exist.
    """
    file = None if name == MNISTNET else _module(name).__file__
    return Path(file) if file else None


def try_network(architecture: Architecture, inputs: Tensor) -> None:
    """Make a network and check that it scores these inputs `[n, *input_shape]` and has parameters to train.

    Raises NetworkError when it does not.
    """
    network = architecture.make().eval()
    named = f"--network {architecture.name}"
    try:
        with torch.inference_mode():
            scores = network(inputs)
    except Exception as problem:  # the owner's code
        raise NetworkError(
            f"{named}: the network fails on inputs of shape {tuple(inputs.shape)}: {_first_line(problem)}"
        ) from problem
    expected = (len(inputs), architecture.classes)
    if not isinstance(scores, Tensor) or tuple(scores.shape) != expected or not scores.is_floating_point():
        output = f"{scores.dtype} {tuple(scores.shape)}" if isinstance(scores, Tensor) else type(scores).__name__
        raise NetworkError(
            f"{named}: the network makes {output} of {len(inputs)} inputs, let it make scores of shape {expected}"
        )
    if not bool(torch.isfinite(scores).all()):
        raise NetworkError(f"{named}: the network gives NaN or infinite scores before any training: mend it")
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise NetworkError(f"{named}: the network has no parameters to train")


def _factory(name: str) -> Factory:
    if name == MNISTNET:
        return mnistnet
    attribute = getattr(_module(name), name.rpartition(":")[2], None)
    if attribute is None:
        raise NetworkError(f"--network {name}: there is no {name.rpartition(':')[2]} in it")
    if not callable(attribute):
        raise NetworkError(f"--network {name}: {name.rpartition(':')[2]} is {type(attribute).__name__}, not a function")
    factory: Factory = attribute
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
        raise NetworkError(
            f"--network {name} cannot be imported: {type(problem).__name__}: {_first_line(problem)}"
        ) from (problem)


def _module_of_file(path: Path) -> ModuleType:
    name = f"calpow_network_{path.stem}"
    known = sys.modules.get(name)
    if known is not None and known.__file__ == str(path):
        return known
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(2, "no Python file", str(path))
    module = importlib.util.module_from_spec(spec)
    # As when it is run as a script, it can import the modules beside it.
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _first_line(problem: Exception) -> str:
    return next((line.strip() for line in str(problem).splitlines() if line.strip()), "no reason given")
