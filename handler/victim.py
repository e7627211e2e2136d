"""The victim: unpacked beside us, loaded by TorchServe's own loader, run on requests and asked about tensors."""

import copy
import importlib
import inspect
import json
import logging
import os
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from ts.context import Context, RequestProcessor
from ts.metrics.metric_cache_yaml_impl import MetricsCacheYamlImpl
from ts.model_loader import ModelLoaderFactory
from ts.service import Service
from ts.utils.util import PredictionException

from calpow.handler.errors import BadPayload, PricingUnavailable, VictimError
from calpow.handler.incoming import Row
from calpow.handler.recording import Recording, follow_model

log = logging.getLogger(__name__)

MANIFEST = "MAR-INF/MANIFEST.json"


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


@dataclass(frozen=True)
class Held:
    """The victim's answer to one request, as TorchServe is to have it: the body, or the failure.

    `processor` has the status and the headers that the victim set, `sent` what it streamed before.
    """

    body: object
    error: Exception | None
    processor: RequestProcessor
    sent: Sequence[bytes] = ()


@dataclass(frozen=True)
class Pass:
    """One run of the victim's handler over requests, with everything that it left, held back.

    answers: what the handler returned. error: what it raised instead, without its frames. recording: the calls of its
    model. processors: one a request, with the statuses and headers that it set. sent: what it streamed. preprocessed:
    what its `preprocess` returned last, where that was asked for.
    """

    answers: object
    error: Exception | None
    recording: Recording
    processors: Sequence[RequestProcessor]
    sent: Sequence[bytes]
    preprocessed: object = None

    def status(self, index: int) -> int:
        """The status that the handler set for a request; 200 where it set none."""
        code = self.processors[index].get_response_status_code()
        return code if isinstance(code, int) else 200

    def held(self, index: int, answers: Sequence[object] | Exception | None) -> Held:
        """What one request is to have, of the `answers` that `written` gave."""
        error = answers if isinstance(answers, Exception) else None
        body = answers[index] if answers is not None and not isinstance(answers, Exception) else None
        return Held(body, error, self.processors[index], self.sent)

    def written(self, expected: int) -> Sequence[object] | Exception:
        """The answers to so many requests as TorchServe would write them, or what it would answer to anything else.

        Written here rather than by TorchServe, because an answer that cannot be written must not be paid for.
        """
        if self.error is not None:
            return self.error
        if not isinstance(self.answers, list):
            return _refusal("Invalid model predict output")
        if len(self.answers) != expected:
            return _refusal("number of batch response mismatched")
        try:
            return [_written(each) for each in self.answers]
        except (TypeError, ValueError, RecursionError):
            return _refusal("Unsupported model output data type.")


class Victim:
    """A loaded victim model and its handler. Its `recorder` is on its model."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._entry_point = service._entry_point
        self._handler: object = getattr(self._entry_point, "__self__", None)
        if inspect.iscoroutinefunction(self._entry_point):
            raise VictimError("the victim's handler is asynchronous: one request is not one call of it")
        self.recorder = follow_model(self._handler, sys.modules.get(self._entry_point.__module__))
        self._watched = _Watched(self._handler)
        # BaseHandler learns its context only in handle(), and what it is asked for by us may want it before.
        if self._handler is not None and getattr(self._handler, "context", self) is None:
            vars(self._handler)["context"] = service.context

    @classmethod
    def load(cls, mar: Path, directory: Path, around: Surroundings) -> "Victim":
        """Unpack `mar` to `directory` and load it as TorchServe would load it alone.

        Changes the working directory and the module search path, as a worker of the victim has them. Raises VictimError
        when the archive is none, or its model cannot be followed.
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
        return cls(service)

    @property
    def device(self) -> torch.device:
        """Where the victim runs: as its handler says, else where its model's weights are."""
        named = getattr(self._handler, "device", None)
        weights = next(self.recorder.model.parameters(), None)
        return torch.device(named or (weights.device if weights is not None else "cpu"))

    @property
    def explains(self) -> bool:
        """Whether the handler can explain, and explanations can be priced: by what its `preprocess` returns."""
        return self._watched.preprocess is not None and not _lacks_insights(self._handler)

    def run(
        self,
        rows: Sequence[Row],
        requests: Sequence[tuple[str, Mapping[str, object]]],
        *,
        explaining: bool = False,
    ) -> Pass:
        """Let the victim's handler answer rows once, as if they alone had made up TorchServe's batch.

        `requests` are pairs of request id and properties. What the handler raises is in the result; with `explaining`
        also what its `preprocess` returned.
        """
        context: Context = self._service.context
        processors = [RequestProcessor(dict(properties)) for _, properties in requests]
        context.request_ids = {index: name for index, (name, _) in enumerate(requests)}
        context.request_processor = processors
        context.metrics.request_ids = context.request_ids
        held = _HeldSocket()
        context.cl_socket = held
        self._watched.clear(watching=explaining)
        answers: object = None
        failure: Exception | None = None
        with self.recorder.recording() as recording:
            try:
                answers = self._entry_point(list(rows), context)
            except Exception as error:
                failure = error
        if failure is not None:
            _forget_frames(failure, log_them=recording.begun > 0)
        return Pass(answers, failure, recording, processors, held.sent, self._watched.result)

    def explained(self, preprocessed: object) -> Recording:
        """Ask the model about what `preprocess` returned, as the handler does for predictions: its calls.

        Raises what the handler raises.
        """
        inference = getattr(self._handler, "inference", None)
        with self.recorder.recording() as recording, torch.inference_mode():
            (inference if callable(inference) else self.recorder.model)(preprocessed)
        return recording

    def preprocess(self, row: Row) -> Tensor:
        """The model's inputs `[samples, ...]` for one request's row, as a run of the handler shows them.

        Raises BadPayload when the handler cannot read the row or does not ask its model, PricingUnavailable when memory
        or the device gives out.
        """
        done = self.run([row], [("calibration", {})])
        if done.error is not None:
            raise blame(done.error, "answer" if done.recording.begun else "read") from done.error
        inputs = [call.inputs for call in done.recording.calls]
        if not inputs or any(each is None or not _is_batch(each) for each in inputs):
            raise BadPayload("the model cannot be priced on this payload (it is not asked with a batch of one tensor)")
        return torch.cat([each for each in inputs if each is not None])

    def infer(self, inputs: Tensor) -> Tensor:
        """The raw output of the model for inputs `[n, ...]`.

        Raises BadPayload when it cannot answer them or answers with no tensor, PricingUnavailable when memory or the
        device gives out.
        """
        try:
            output = self.recorder.ask(inputs.to(self.device)).output
        except Exception as error:
            raise blame(error, "answer") from error
        if output is None:
            raise BadPayload("the model does not answer with a tensor")
        return output


class _HeldSocket:
    """Stands in for the worker's socket: keeps what a handler streams until its answer may leave."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def sendall(self, data: bytes) -> None:
        """Keep a message."""
        self.sent.append(bytes(data))

    def send(self, data: bytes) -> int:
        """Keep a message; its size."""
        self.sendall(data)
        return len(data)


class _Watched:
    """A handler's own `preprocess`, whose result is kept while it is watched."""

    def __init__(self, handler: object) -> None:
        found = getattr(handler, "preprocess", None)
        self.preprocess: Callable[..., object] | None = found if callable(found) else None
        self.result: object = None
        self._calls = 0
        self._watching = False
        if self.preprocess is not None:
            vars(handler)["preprocess"] = self._call

    def clear(self, *, watching: bool) -> None:
        """Forget the last result, and watch or not from now on."""
        self.result, self._calls, self._watching = None, 0, watching

    def _call(self, *arguments: object, **named: object) -> object:
        assert self.preprocess is not None
        result = self.preprocess(*arguments, **named)
        self._calls += 1
        if self._watching:
            # Of several calls the last one's result would tell of a part of the request only.
            self.result = copy.deepcopy(result) if self._calls == 1 else None
        return result


def _forget_frames(error: BaseException, *, log_them: bool) -> None:
    """Drop the tracebacks of an error and of those it came from: their frames hold the request's data."""
    if log_them:
        log.warning("calpow: the victim failed", exc_info=error)
    following: BaseException | None = error
    while following is not None:
        following.__traceback__ = None
        following = following.__cause__ or following.__context__


def _lacks_insights(handler: object) -> bool:
    """Whether explaining is left to TorchServe's BaseHandler, and its `get_insights` is missing."""
    # Not imported here: it is there if the victim's handler is one, and looks for optional packages otherwise.
    base = getattr(sys.modules.get("ts.torch_handler.base_handler"), "BaseHandler", None)
    if base is None or not isinstance(handler, base) or hasattr(handler, "get_insights"):
        return False
    return all(getattr(type(handler), name) is getattr(base, name) for name in ("handle", "explain_handle"))


def _refusal(message: str) -> Exception:
    error: Exception = PredictionException(message, 503)
    return error


def _written(answer: object) -> object:
    if isinstance(answer, bytes | bytearray | Tensor):
        return answer
    return (answer if isinstance(answer, str) else json.dumps(answer, indent=2)).encode("utf-8")


def blame(error: Exception, verb: str) -> BadPayload | PricingUnavailable:
    """Say why the victim could not `verb` a payload: by the payload's fault, unless memory or the device gave out."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return PricingUnavailable(f"no memory left to {verb} a payload")
    if isinstance(error, RuntimeError) and "CUDA" in str(error):
        return PricingUnavailable(f"the device failed to {verb} a payload")
    return BadPayload(f"the model cannot {verb} this payload ({type(error).__name__})")


def _is_batch(inputs: Tensor) -> bool:
    """Whether it is a batch of one or more samples, as plain numbers."""
    return inputs.layout == torch.strided and not inputs.is_quantized and inputs.dim() >= 2 and len(inputs) > 0


def enter(directory: Path) -> None:
    """Make `directory` what a worker's model directory is: where it runs and where it imports from first."""
    sys.path.insert(0, str(directory))
    known = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(directory), *([known] if known else [])])
    os.chdir(directory)
    importlib.invalidate_caches()
