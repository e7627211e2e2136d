"""The victim: a model archive that TorchServe's own loader loads, and its handler, which is run on requests."""

import importlib
import inspect
import json
import logging
import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from ts.context import Context, RequestProcessor
from ts.metrics.metric_cache_yaml_impl import MetricsCacheYamlImpl
from ts.model_loader import ModelLoaderFactory
from ts.service import Service
from ts.utils.util import PredictionException

from calpow.handler.errors import VictimError
from calpow.handler.leakage.recording import Recording, follow_model
from calpow.handler.logs.rate_limited_log import RateLimitedLog
from calpow.handler.model_archive import read_manifest, unpack
from calpow.handler.preprocess_watch import PreprocessWatch
from calpow.handler.torchserve_request import Row
from calpow.handler.victim_effects import VictimEffects, own_modules
from calpow.handler.victim_failures import VictimFailure, forget_frames

# Whoever makes the victim fail does not fill the disk with tracebacks.
log = RateLimitedLog(logging.getLogger(__name__), "calpow: ")


@dataclass(frozen=True)
class LoadSettings:
    """The settings that TorchServe gives a handler when it loads it."""

    model_name: str
    gpu_id: int | None
    batch_size: int
    limit_max_image_pixels: bool
    metrics: MetricsCacheYamlImpl | None


@dataclass(frozen=True)
class HeldAnswer:
    """The victim's answer to one request: the body or the failure, until it may be given to TorchServe.

    `processor` holds the status and the headers that the victim set, `sent` the messages that it streamed before.
    """

    body: object
    failure: VictimFailure | None
    processor: RequestProcessor
    sent: Sequence[bytes] = ()


@dataclass(frozen=True)
class Pass:
    """One run of the victim's handler over requests, with all its effects held back.

    answers: what the handler returned.
    error: what it raised instead, without its frames.
    recording: the calls of its model.
    processors: one for each request, with the status and the headers that the handler set.
    sent: the messages that it streamed.
    preprocessed: what its `preprocess` returned; None when that was not asked for, or when it was called repeatedly.
    """

    answers: object
    error: Exception | None
    recording: Recording
    processors: Sequence[RequestProcessor]
    sent: Sequence[bytes]
    preprocessed: object = None

    def status(self, index: int) -> int:
        """Return the status that the handler set for a request, or 200."""
        code = self.processors[index].get_response_status_code()
        return code if isinstance(code, int) else 200

    def held(self, index: int, answers: Sequence[object] | Exception | None) -> HeldAnswer:
        """Return one request's answer of the `answers` that `serialised` returned."""
        if isinstance(answers, Exception):
            return HeldAnswer(None, _reported(answers), self.processors[index], self.sent)
        return HeldAnswer(None if answers is None else answers[index], None, self.processors[index], self.sent)

    def serialised(self, expected: int) -> Sequence[object] | Exception:
        """Return the answers to `expected` requests as TorchServe would write them, or the error that it would answer.

        They are serialised before TorchServe does it, because an answer that cannot be written must not be charged.
        Decision 0010.
        """
        if self.error is not None:
            return self.error
        if not isinstance(self.answers, list):
            return _prediction_failure("Invalid model predict output")
        if len(self.answers) != expected:
            return _prediction_failure("number of batch response mismatched")
        try:
            return [_serialised(answer) for answer in self.answers]
        except (TypeError, ValueError, RecursionError):
            return _prediction_failure("Unsupported model output data type.")


class Victim:
    """A loaded model archive and its handler, with a `recorder` on its model.

    With `keeps_frames`, failures keep the frames of their tracebacks, and with them the data of their requests.
    """

    def __init__(self, service: Service) -> None:
        self.keeps_frames = False
        self._service = service
        self._entry_point = service._entry_point
        self._handler: object = getattr(self._entry_point, "__self__", None)
        if inspect.iscoroutinefunction(self._entry_point):
            raise VictimError("the victim's handler is asynchronous: one request is not one call of it")
        self.recorder = follow_model(self._handler, sys.modules.get(self._entry_point.__module__))
        self._preprocess = PreprocessWatch(self._handler)
        # BaseHandler is given its context only in handle(), and needs it when we call its methods before.
        if self._handler is not None and getattr(self._handler, "context", self) is None:
            vars(self._handler)["context"] = service.context
        module = self._entry_point.__module__ if self._handler is None else type(self._handler).__module__
        holders = [holder for holder in (self._handler, service.context) if hasattr(holder, "__dict__")]
        self.effects = VictimEffects(holders, own_modules(sys.modules.get(module), sys.modules))

    @classmethod
    def load(cls, mar: Path, directory: Path, settings: LoadSettings) -> "Victim":
        """Unpack `mar` to `directory` and load it as TorchServe would load it without the gate.

        Changes the working directory and the module search path to those of a worker of the victim. Raises VictimError
        when `mar` is not a model archive, or when the calls of its model cannot be recorded.
        """
        manifest = read_manifest(mar)
        unpack(mar, directory)
        _enter(directory)
        loader = ModelLoaderFactory.get_model_loader()
        service = loader.load(
            settings.model_name,
            str(directory),
            manifest["handler"],
            settings.gpu_id,
            settings.batch_size,
            None,
            settings.limit_max_image_pixels,
            settings.metrics,
        )
        return cls(service)

    @property
    def device(self) -> torch.device:
        """The device of the victim: the one that its handler names, else that of its model's weights."""
        named = getattr(self._handler, "device", None)
        weights = next(self.recorder.model.parameters(), None)
        return torch.device(named or (weights.device if weights is not None else "cpu"))

    @property
    def explains(self) -> bool:
        """Whether the handler can explain, and its explanations can be priced by what its `preprocess` returns."""
        return self._preprocess.original is not None and not _lacks_insights(self._handler)

    def holders(self) -> list[tuple[Mapping[str, object], str]]:
        """Return where the handler can keep something between requests: names with values, and the names' prefix."""
        code = self._entry_point if self._handler is None else type(self._handler)
        module = sys.modules.get(code.__module__)
        places: list[tuple[object, str]] = [(self._handler, "self."), (module, "")]
        return [(vars(place), prefix) for place, prefix in places if hasattr(place, "__dict__")]

    def run(
        self,
        rows: Sequence[Row],
        requests: Sequence[tuple[str, Mapping[str, object]]],
        *,
        explaining: bool = False,
    ) -> Pass:
        """Run the victim's handler once on rows, as if they alone made up TorchServe's batch.

        `requests` are pairs of request id and properties. The result holds what the handler raises, and with
        `explaining` also what its `preprocess` returned.
        """
        context: Context = self._service.context
        processors = [RequestProcessor(dict(properties)) for _, properties in requests]
        context.request_ids = {index: name for index, (name, _) in enumerate(requests)}
        context.request_processor = processors
        context.metrics.request_ids = context.request_ids
        socket = _HeldSocket()
        context.cl_socket = socket
        self._preprocess.begin(watching=explaining)
        answers: object = None
        failure: Exception | None = None
        with self.recorder.recording() as recording:
            try:
                answers = self._entry_point(list(rows), context)
            except Exception as error:
                failure = error
        if failure is not None:
            if recording.begun:
                names = ", ".join(name for name, _ in requests)
                log.warning(
                    f"the victim failed with {type(failure).__name__}", f"request {names}\n{_formatted(failure)}"
                )
            if not self.keeps_frames:
                forget_frames(failure)
        return Pass(answers, failure, recording, processors, socket.sent, self._preprocess.take())

    def predict(self, preprocessed: object) -> Recording:
        """Call the model on what `preprocess` returned, as the handler does for predictions, and return the calls.

        Raises what the handler raises.
        """
        inference = getattr(self._handler, "inference", None)
        with self.recorder.recording() as recording, torch.inference_mode():
            (inference if callable(inference) else self.recorder.model)(preprocessed)
        return recording


class _HeldSocket:
    """Replacement of the worker's socket, which keeps what a handler streams until its answer may leave."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def sendall(self, data: bytes) -> None:
        """Keep a message."""
        self.sent.append(bytes(data))

    def send(self, data: bytes) -> int:
        """Keep a message and return its size."""
        self.sendall(data)
        return len(data)


def _lacks_insights(handler: object) -> bool:
    """Return whether explanations are left to TorchServe's BaseHandler while its `get_insights` is missing."""
    # Not imported here: it is loaded already if the victim's handler is one, and otherwise needs optional packages.
    base = getattr(sys.modules.get("ts.torch_handler.base_handler"), "BaseHandler", None)
    if base is None or not isinstance(handler, base) or hasattr(handler, "get_insights"):
        return False
    return all(getattr(type(handler), name) is getattr(base, name) for name in ("handle", "explain_handle"))


def _reported(error: Exception) -> VictimFailure:
    """Return what TorchServe reports of an exception that leaves a handler."""
    if isinstance(error, PredictionException):
        return VictimFailure(error.error_code if isinstance(error.error_code, int) else 503, str(error.message))
    if isinstance(error, MemoryError) or "CUDA" in str(error):
        return VictimFailure(507, "Out of resources")
    return VictimFailure(503, "Prediction failed")


def _formatted(error: Exception) -> str:
    return "".join(traceback.format_exception(error)).rstrip()


def _prediction_failure(message: str) -> Exception:
    error: Exception = PredictionException(message, 503)
    return error


def _serialised(answer: object) -> object:
    if isinstance(answer, bytes | bytearray | Tensor):
        return answer
    return (answer if isinstance(answer, str) else json.dumps(answer, indent=2)).encode("utf-8")


def _enter(directory: Path) -> None:
    """Make `directory` the working directory, and the first one from which modules are imported."""
    sys.path.insert(0, str(directory))
    known = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(directory), *([known] if known else [])])
    os.chdir(directory)
    importlib.invalidate_caches()
