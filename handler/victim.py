"""The victim: a model archive that TorchServe's own loader loads, and its handler, which is run on requests."""

import importlib
import inspect
import json
import logging
import os
import sys
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

from calpow.handler.errors import BadPayload, VictimError
from calpow.handler.leakage.recording import Recording, follow_model
from calpow.handler.model_archive import read_manifest, unpack
from calpow.handler.preprocess_watch import PreprocessWatch
from calpow.handler.torchserve_request import Row
from calpow.handler.victim_failures import classify_failure, forget_frames

log = logging.getLogger(__name__)


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
    error: Exception | None
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
        error = answers if isinstance(answers, Exception) else None
        body = answers[index] if answers is not None and not isinstance(answers, Exception) else None
        return HeldAnswer(body, error, self.processors[index], self.sent)

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
    """A loaded model archive and its handler, with a `recorder` on its model."""

    def __init__(self, service: Service) -> None:
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
                log.warning("calpow: the victim failed", exc_info=failure)
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

    def infer(self, inputs: Tensor) -> Tensor:
        """Return the raw output of the model for inputs `[n, ...]`.

        Raises BadPayload when the model cannot answer or does not return a tensor, and PricingUnavailable when memory
        or the device is exhausted.
        """
        try:
            output = self.recorder.ask(inputs.to(self.device)).output
        except Exception as error:
            raise classify_failure(error, "answer") from error
        if output is None:
            raise BadPayload("the model does not answer with a tensor")
        return output


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
