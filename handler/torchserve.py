"""The adapter between TorchServe's handler interface and the gate; all that knows both, and nothing more."""

import inspect
import json
import logging
import os
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from pathlib import Path

from ts.context import Context, RequestProcessor
from ts.utils.util import PredictionException

from calpow.handler.config import VICTIM_FILE, GateConfig, Mode
from calpow.handler.errors import GateMisconfigured
from calpow.handler.gate import problems
from calpow.handler.gate.decision import Decision, Refused, Released
from calpow.handler.gate.gate import Allowance, Gate
from calpow.handler.gate.problems import Problem
from calpow.handler.incoming import Incoming, read_request
from calpow.handler.ledger import open_ledger, shared_uri
from calpow.handler.ledger.ledger import LedgerUnavailable
from calpow.handler.observe.observer import Observer
from calpow.handler.observe.records import shared_path
from calpow.handler.parts import load_parts
from calpow.handler.passes import Passes
from calpow.handler.victim import Held, Surroundings, Victim
from calpow.puzzle.errors import CalpowError
from calpow.puzzle.wire import NEXT_HEADER

log = logging.getLogger(__name__)


class GateHandler:
    """TorchServe's handler: admits and refuses requests, and releases what the victim answers to the admitted ones.

    In mode `observe` everything is released.
    """

    def initialize(self, context: Context) -> None:
        """Load everything the archive holds; a part that does not fit ends the worker with one line in the log."""
        caller = inspect.currentframe()
        try:
            _refuse_envelope(caller.f_back.f_locals if caller and caller.f_back else {})
            self._load(context)
        except CalpowError as problem:
            log.error("calpow: model %s not loaded: %s", context.model_name, problem)
            raise SystemExit(1) from None

    def _load(self, context: Context) -> None:
        properties = context.system_properties
        home = Path(os.path.realpath(properties["model_dir"]))
        config = GateConfig.read(home)
        config.check_files(home)
        # What can be refused at once is, before the victim takes its time to load.
        ledger = open_ledger(shared_uri(config.ledger))
        around = Surroundings(
            model_name=context.model_name,
            gpu_id=properties.get("gpu_id"),
            batch_size=properties.get("batch_size") or 1,
            limit_max_image_pixels=bool(properties.get("limit_max_image_pixels")),
            metrics=context.metrics,
        )
        victim = Victim.load(home / VICTIM_FILE, home / "victim", around)
        parts = load_parts(home, victim, config)
        calibration = parts.calibration
        self._passes = Passes(victim, parts.meter, calibration.rows)
        self._counted = calibration.rows.counted
        self._version = str((context.manifest or {}).get("model", {}).get("modelVersion"))
        self._gate: Gate | Observer
        if config.mode is Mode.observe:
            records = shared_path(config.records)
            self._gate = Observer(context.model_name, ledger, calibration, records)
            log.info("calpow: observing %s, nobody is blocked, records go to %s", context.model_name, records)
            return
        factor = config.explanation_factor if victim.explains else 0.0
        self._gate = Gate(context.model_name, ledger, calibration, Allowance(config.max_samples, factor))
        log.info(
            "calpow: guarding %s, policy %s, metrics %s",
            context.model_name,
            calibration.policy.name,
            " and ".join(each.name.value for each in calibration.metrics),
        )

    def handle(self, data: Sequence[Mapping[str, object]], context: Context) -> object:
        """Answer a batch: problem documents for the refused, the victim's own answers for the others."""
        batch = [
            read_request(context.request_ids[index], row, processor.get_request_properties())
            for index, (row, processor) in enumerate(zip(data, context.request_processor, strict=True))
        ]
        asking = [index for index, each in enumerate(batch) if not each.describes]
        requests = [batch[index].request(self._version, counted=self._counted) for index in asking]
        decisions: dict[int, Decision] = dict(zip(asking, self._gate.answer(requests, self._passes.run), strict=True))
        decisions |= {index: self._describe(each) for index, each in enumerate(batch) if each.describes}
        context.metrics.request_ids = context.request_ids
        answers = [_release(context, index, batch[index], decisions[index]) for index in range(len(batch))]
        _end_streams(batch, context)
        return answers

    def _describe(self, incoming: Incoming) -> Decision:
        """A description of the model is free for whoever has a key."""
        if isinstance(self._gate, Gate):
            try:
                account = self._gate.identify(incoming.key)
            except LedgerUnavailable as problem:
                log.error("calpow: ledger unavailable, refusing: %s", problem)
                return Refused(problems.LEDGER_UNAVAILABLE)
            if isinstance(account, Problem):
                return Refused(account)
        ran = self._passes.describe(incoming)
        return Released(ran.answer, None) if ran.problem is None else Refused(ran.problem)


def _release(context: Context, index: int, incoming: Incoming, decision: Decision) -> object:
    """Write a decision into TorchServe's context; return the body.

    Raises the victim's failure of a gRPC request that came alone: only so does its client see an error.
    """
    if isinstance(decision, Refused):
        return _refuse(context, index, incoming, decision.problem)
    held = decision.answer
    assert isinstance(held, Held)
    if held.error is not None:
        if incoming.grpc and len(context.request_processor) == 1:
            raise held.error
        return _failed(context, index, held.error)
    context.request_processor[index] = held.processor
    if decision.next_hashes is not None:
        context.set_response_header(index, NEXT_HEADER, str(decision.next_hashes))
    for message in held.sent:
        context.cl_socket.sendall(message)
    return held.body


def _end_streams(batch: Sequence[Incoming], context: Context) -> None:
    """Say that each answer is the last of its gRPC stream: without that it would kill the worker."""
    for index, each in enumerate(batch):
        if each.grpc and "ts_stream_next" not in context.get_response_headers(index):
            context.set_response_header(index, "ts_stream_next", "false")


def _refuse(context: Context, index: int, incoming: Incoming, problem: Problem) -> str:
    context.set_response_status(problem.status, HTTPStatus(problem.status).phrase, index)
    context.set_response_content_type(index, problems.CONTENT_TYPE)
    for name, value in problem.headers.items():
        context.set_response_header(index, name, value)
    if not incoming.grpc:
        return problem.body()
    # KServe's gRPC codec reads these from any answer and kills the worker when they are missing.
    return problem.body(id=context.request_ids[index], model_name=context.model_name, model_version="", outputs=[])


def _failed(context: Context, index: int, failure: Exception) -> str:
    """TorchServe's own error document, for a victim that failed beside requests that did not reach it."""
    if isinstance(failure, PredictionException):
        code, message = _status(failure.error_code), str(failure.message)
    elif isinstance(failure, MemoryError) or "CUDA" in str(failure):
        code, message = 507, "Out of resources"
    else:
        code, message = 503, "Prediction failed"
    code = 507 if code == 413 else code
    phrase = _phrase(code)
    context.request_processor[index] = RequestProcessor(context.get_all_request_header(index))
    context.set_response_status(code, phrase, index)
    context.set_response_content_type(index, "application/json")
    quoted = json.dumps(message, ensure_ascii=False)
    return f'{{\n  "code": {code},\n  "type": "InternalServerException",\n  "message": {quoted}\n}}\n'


def _phrase(code: int) -> str:
    """The reason phrase that TorchServe's frontend (Netty) gives a status."""
    if code in {status.value for status in HTTPStatus}:
        return HTTPStatus(code).phrase
    return f"{'Server' if code >= 500 else 'Client'} Error ({code})" if 400 <= code < 600 else ""


def _refuse_envelope(loader_locals: Mapping[str, object]) -> None:
    """A service envelope would unpack requests before the gate sees them; only the loader's frame knows of it."""
    if loader_locals.get("envelope") is not None:
        raise GateMisconfigured(
            f"the server sets service_envelope={loader_locals['envelope']}, which unpacks requests before the gate"
            " sees them: remove it from config.properties"
        )


def _status(code: object) -> int:
    return code if isinstance(code, int) else 503
