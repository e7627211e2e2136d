"""The victim: unpacked beside us, loaded by TorchServe's own loader, asked to preprocess and to predict."""

import importlib
import json
import os
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TypeGuard

import torch
from torch import Tensor
from ts.context import Context, RequestProcessor
from ts.metrics.metric_cache_yaml_impl import MetricsCacheYamlImpl
from ts.model_loader import ModelLoaderFactory
from ts.service import Service

from calpow.handler.errors import BadPayload, PricingUnavailable, VictimError
from calpow.handler.memory import OutputMemory

MANIFEST = "MAR-INF/MANIFEST.json"

Row = Mapping[str, object]
Preprocess = Callable[[list[Row]], object]


@dataclass(frozen=True)
class Surroundings:
    """What TorchServe tells a handler when it loads it."""

    model_name: str
    gpu_id: int | None
    batch_size: int
    limit_max_image_pixels: bool
    metrics: MetricsCacheYamlImpl | None


def read_manifest(mar: Path) -> dict[str, object]:
    """The `model` section of an archive's manifest. Raises VictimError when the file is no `.mar`."""
    try:
        with zipfile.ZipFile(mar) as archive:
            section = json.loads(archive.read(MANIFEST))["model"]
            handler = section["handler"]
    except FileNotFoundError:
        raise VictimError(f"{mar} does not exist: give the victim's .mar") from None
    except (OSError, zipfile.BadZipFile, KeyError, TypeError, ValueError) as problem:
        raise VictimError(f"{mar} is not a model archive that torch-model-archiver wrote: {problem}") from problem
    if not isinstance(handler, str):
        raise VictimError(f"{mar} names no handler in its manifest: archive it with --handler")
    return dict(section)


def unpack(mar: Path, directory: Path) -> None:
    """Extract an archive, whole or not at all, so that workers that start together agree.

    The last step is a rename: whoever comes second finds the directory there and uses it.
    """
    if directory.is_dir():
        return
    scratch = tempfile.mkdtemp(prefix=".unpacking-", dir=directory.parent)
    try:
        with zipfile.ZipFile(mar) as archive:
            archive.extractall(scratch)
        os.rename(scratch, directory)
    except OSError:
        shutil.rmtree(scratch, ignore_errors=True)
        if not directory.is_dir():
            raise


class Victim:
    """A loaded victim model and its handler."""

    def __init__(self, service: Service, preprocess: Preprocess | None) -> None:
        self._service = service
        self._entry_point = service._entry_point
        self._handler: object = getattr(self._entry_point, "__self__", None)
        self._preprocess = preprocess or _own_preprocess(self._entry_point)
        self._memory = OutputMemory()
        self._inference = getattr(self._handler, "inference", None)
        if callable(self._inference):
            vars(self._handler)["inference"] = self._recall
        # BaseHandler learns its context only in handle(), and its preprocess may want it before.
        if getattr(self._handler, "context", self) is None:
            vars(self._handler)["context"] = service.context

    @classmethod
    def load(cls, mar: Path, directory: Path, around: Surroundings, preprocess: str | None = None) -> "Victim":
        """Unpack `mar` to `directory` and load it as TorchServe would load it alone.

        Changes the working directory and the module search path, as a worker of the victim has them.
        `preprocess` (`FILE.py:FUNCTION`, the file beside `mar`) replaces the handler's own.
        Raises VictimError when the archive is none, or names a preprocess that does not exist.
        """
        manifest = read_manifest(mar)
        unpack(mar, directory)
        enter(directory)
        loader = ModelLoaderFactory.get_model_loader()
        service = loader.load(
            around.model_name,
            str(directory),
            manifest["handler"],
            around.gpu_id,
            around.batch_size,
            None,
            around.limit_max_image_pixels,
            around.metrics,
        )
        return cls(service, _load_function(mar.parent, preprocess) if preprocess else None)

    @property
    def device(self) -> torch.device:
        """Where the victim runs; the CPU where its handler does not say."""
        return torch.device(getattr(self._handler, "device", None) or "cpu")

    @property
    def can_preprocess(self) -> bool:
        """Whether payloads can be turned into tensors, without which nothing can be priced."""
        return self._preprocess is not None

    def preprocess(self, row: Row, request: RequestProcessor | None = None) -> Tensor:
        """Turn one request's row into the victim's input tensor, shape `[samples, ...]`.

        Raises BadPayload when the handler cannot, or makes something other than a tensor of it;
        PricingUnavailable when memory or the device gave out.
        """
        if self._preprocess is None:
            raise VictimError("the victim's handler has no preprocess: name one with --preprocess FILE.py:FUNCTION")
        context = self._service.context
        context.request_ids = {0: "pricing"}
        context.request_processor = [request or RequestProcessor({})]
        context.metrics.request_ids = context.request_ids
        with _blaming_payload("read"):
            # A copy: handlers that decode a row in place must find it raw when they predict.
            made = self._preprocess([dict(row)])
        if not _is_batch(made):
            raise BadPayload("the model cannot read this payload (preprocess made no batch of tensors of it)")
        return made

    @property
    def model(self) -> object:
        """The handler's model, None where it does not show one."""
        return getattr(self._handler, "model", None)

    def infer(self, inputs: Tensor) -> Tensor | None:
        """The victim's raw output for preprocessed inputs; None where its handler has no `inference`.

        Raises BadPayload when it cannot answer them, PricingUnavailable when memory or the device gave out.
        """
        if not callable(self._inference):
            return None
        with _blaming_payload("answer"), torch.inference_mode():
            output = self._inference(inputs)
        return output if isinstance(output, Tensor) else None

    def remember(self, inputs: Tensor, output: Tensor) -> None:
        """Keep what `infer` gave for these inputs: the answer to them, when it is paid for, needs no second pass."""
        self._memory.keep(inputs, output)

    def _recall(self, data: object, *args: object, **kwargs: object) -> object:
        """Stands in for the handler's `inference`."""
        assert callable(self._inference)
        if args or kwargs or not isinstance(data, Tensor):
            return self._inference(data, *args, **kwargs)
        inference = self._inference
        return self._memory.recall(data, lambda: inference(data))

    def predict(self, rows: Sequence[Row], requests: Sequence[tuple[str, RequestProcessor]], outer: Context) -> object:
        """Let the victim's handler answer rows, as if they alone had made up TorchServe's batch.

        `requests` are pairs of request id and processor; statuses and headers the victim sets land there.
        Whatever the handler raises comes through.
        """
        context = self._service.context
        context.request_ids = {index: name for index, (name, _) in enumerate(requests)}
        context.request_processor = [processor for _, processor in requests]
        context.cl_socket = getattr(outer, "cl_socket", None)
        context.metrics.request_ids = context.request_ids
        return self._entry_point(list(rows), context)


@contextmanager
def _blaming_payload(verb: str) -> Iterator[None]:
    """What the victim's code raises as the fault of its payload, unless memory or the device gave out."""
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError) as problem:
        raise PricingUnavailable(f"no memory left to {verb} a payload") from problem
    except Exception as problem:
        if isinstance(problem, RuntimeError) and "CUDA" in str(problem):
            raise PricingUnavailable(f"the device failed to {verb} a payload") from problem
        raise BadPayload(f"the model cannot {verb} this payload ({type(problem).__name__})") from problem


def _is_batch(made: object) -> TypeGuard[Tensor]:
    """Whether it is a batch of one or more samples, as plain numbers."""
    if not isinstance(made, Tensor) or made.layout != torch.strided or made.is_quantized:
        return False
    return made.dim() >= 2 and len(made) > 0


def enter(directory: Path) -> None:
    """Make `directory` what a worker's model directory is: where it runs and where it imports from first."""
    sys.path.insert(0, str(directory))
    known = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(directory), *([known] if known else [])])
    os.chdir(directory)
    importlib.invalidate_caches()


def _own_preprocess(entry_point: Callable[..., object]) -> Preprocess | None:
    """A class handler's method, or the function `preprocess` of a function handler's module."""
    owner = getattr(entry_point, "__self__", None) or sys.modules.get(entry_point.__module__)
    found = getattr(owner, "preprocess", None)
    return found if callable(found) else None


def _load_function(directory: Path, name: str) -> Preprocess:
    file, _, function = name.partition(":")
    path = directory / Path(file).name
    if not function or not path.is_file():
        raise VictimError(f"--preprocess {name}: give FILE.py:FUNCTION of a file that exists")
    found = getattr(_load_module(path), function, None)
    if not callable(found):
        raise VictimError(f"--preprocess {name}: {path.name} has no function {function}")
    made: Preprocess = found
    return made


def _load_module(path: Path) -> ModuleType:
    from importlib.util import module_from_spec, spec_from_file_location

    spec = spec_from_file_location(f"calpow_preprocess_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise VictimError(f"--preprocess: {path} is no Python file")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
