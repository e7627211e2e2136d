"""The adapter between TorchServe's handler interface and the gate; all that knows both, and nothing more."""

import inspect
import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from torch import Tensor
from ts.context import Context, RequestProcessor
from ts.utils.util import PredictionException

from calpow.handler import problems
from calpow.handler.config import VICTIM_FILE, GateConfig, Mode
from calpow.handler.decision import Admitted, Decision, Refused, Request
from calpow.handler.errors import GateMisconfigured
from calpow.handler.gate import Gate
from calpow.handler.holder import is_alive, this_holder
from calpow.handler.ledger import open_ledger, shared_uri
from calpow.handler.observer import Observer, Query
from calpow.handler.parts import load_parts
from calpow.handler.payload import payload_digest
from calpow.handler.pricing import BatchPricer
from calpow.handler.records import shared_path
from calpow.handler.victim import Row, Surroundings, Victim
from calpow.puzzle.challenge import KEY_HEADER, NEXT_HEADER, SOLUTION_HEADER
from calpow.puzzle.errors import CalpowError

log = logging.getLogger(__name__)

OURS = (KEY_HEADER.lower(), SOLUTION_HEADER.lower())


@dataclass(frozen=True)
class Incoming:
    """One request of TorchServe's batch: what the victim may see of it, and what is ours."""

    row: Row
    processor: RequestProcessor
    headers: Mapping[str, str]
    grpc: bool

    @property
    def explain(self) -> bool:
        """Whether an explanation is asked for, by URL or by a forged header: read as the victim reads it."""
        return bool(self.processor.get_request_property("explain") == "True")

    @property
    def describe(self) -> bool:
        """A description of the model, which takes no input; with input it is a forged prediction."""
        return self.says_describe and not self.row

    @property
    def says_describe(self) -> bool:
        """Whether the victim takes it for a description, forged or not."""
        return bool(self.processor.get_request_property("describe") == "True")

    @property
    def key(self) -> str | None:
        """The API key it comes with."""
        return self.headers.get(OURS[0])

    def for_gate(self, version: str) -> Request | Refused:
        """What the gate needs to know; refused when the payload is nested too deep to be read."""
        try:
            digest = payload_digest(self.row, f"{'explain' if self.explain else 'predict'} {version}")
        except (RecursionError, ValueError):
            return Refused(problems.bad_payload("the payload is nested too deep"))
        return Request(key=self.key, solution=self.headers.get(OURS[1]), digest=digest, payload=self)


def read_request(row: Mapping[str, object], processor: RequestProcessor) -> Incoming:
    """Sort out one request. Header names keep the client's spelling, parts appear among them as dicts."""
    properties = processor.get_request_properties()
    headers = {name.lower(): value for name, value in properties.items() if isinstance(value, str)}
    grpc = not headers
    if grpc:
        # gRPC metadata does not reach a handler: headers travel as input-map entries (DESIGN, section 4).
        headers = {name.lower(): _text(value) for name, value in row.items() if name.lower() in OURS}
        row = {name: value for name, value in row.items() if name.lower() not in OURS}
    return Incoming(row, processor, headers, grpc)


class GateHandler:
    """TorchServe's handler: admits, refuses, and lets the victim answer what has been admitted.

    In mode `observe` it looks on, and the victim answers everything.
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
        self._victim = Victim.load(home / VICTIM_FILE, home / "victim", around, config.preprocess)
        parts = load_parts(home, self._victim, config)
        pricer = BatchPricer(self._preprocess, parts.meter.price, parts.calibration.shape.input_shape)
        self._version = str((context.manifest or {}).get("model", {}).get("modelVersion"))
        self._observer: Observer | None = None
        if config.mode is Mode.observe:
            records = shared_path(config.records)
            self._observer = Observer(context.model_name, ledger, parts.calibration, pricer, records)
            log.info("calpow: observing %s, nobody is blocked, records go to %s", context.model_name, records)
            return
        self._gate = Gate(
            context.model_name, ledger, parts.calibration, pricer, holder=this_holder(), max_open=config.max_open
        )
        log.info(
            "calpow: guarding %s, policy %s, metrics %s",
            context.model_name,
            parts.calibration.policy.name,
            " and ".join(each.name.value for each in parts.calibration.metrics),
        )
        self._gate.recover(is_alive)

    def _preprocess(self, payload: object) -> Tensor:
        assert isinstance(payload, Incoming)
        # A processor of its own: what a preprocess sets there belongs to the answer, which is another matter.
        return self._victim.preprocess(payload.row, RequestProcessor(payload.processor.get_request_properties()))

    def handle(self, data: Sequence[Mapping[str, object]], context: Context) -> object:
        """Answer a batch: problem documents for the refused, the victim's own answers for the admitted."""
        batch = [read_request(row, processor) for row, processor in zip(data, context.request_processor, strict=True)]
        if self._observer is not None:
            return self._look_on(self._observer, batch, context)
        answers: list[object] = [None] * len(batch)
        admitted: dict[int, Admitted | None] = {}
        for index, decision in self._decide(batch).items():
            if isinstance(decision, Refused):
                answers[index] = _refuse(context, index, batch[index], decision)
            else:
                admitted[index] = decision
        for group in _groups(batch, list(admitted)):
            for index, answer in zip(group, self._delegate(group, batch, admitted, context), strict=True):
                answers[index] = answer
        context.metrics.request_ids = context.request_ids
        _end_streams(batch, context)
        return answers

    def _look_on(self, observer: Observer, batch: Sequence[Incoming], context: Context) -> object:
        """The victim's answer to a whole batch, as if we were not there; what it raises comes through."""
        observer.observe([Query(each.key, each) for each in batch if not each.describe])
        requests = [(context.request_ids[index], each.processor) for index, each in enumerate(batch)]
        try:
            answers = self._victim.predict([each.row for each in batch], requests, context)
        finally:
            context.metrics.request_ids = context.request_ids
        _end_streams(batch, context)
        return answers

    def _decide(self, batch: Sequence[Incoming]) -> dict[int, Decision | None]:
        """A decision for each request, None for descriptions, which are free."""
        decisions: dict[int, Decision | None] = {}
        requests: dict[int, Request] = {}
        for index, each in enumerate(batch):
            asked = None if each.describe else each.for_gate(self._version)
            if isinstance(asked, Request):
                requests[index] = asked
            else:
                decisions[index] = asked
        decisions.update(zip(requests, self._gate.admit(list(requests.values())), strict=True))
        return decisions

    def _delegate(
        self,
        group: Sequence[int],
        batch: Sequence[Incoming],
        admitted: Mapping[int, Admitted | None],
        context: Context,
    ) -> Sequence[object]:
        """Let the victim answer a group, then settle or undo what paid for it."""
        requests = [(context.request_ids[index], context.request_processor[index]) for index in group]
        paid = {index: entry for index in group if (entry := admitted[index]) is not None}
        try:
            made = self._victim.predict([batch[index].row for index in group], requests, context)
            answers = _serialised(made, len(group))
        except Exception as failure:
            if len(group) > 1:
                # Whoever made the victim fail must not spoil the others' answers: each by itself.
                return [self._alone(index, batch, admitted, context) for index in group]
            self._gate.undo(entry.id for entry in paid.values())
            if len(batch) == 1:
                raise
            log.warning("calpow: the victim failed (%s)", type(failure).__name__)
            return [_failed(context, index, failure) for index in group]
        except BaseException:
            self._gate.undo(entry.id for entry in paid.values())
            raise
        failed = {index for index in paid if (context.get_response_status(index)[0] or 200) >= 500}
        self._gate.undo(paid[index].id for index in failed)
        self._gate.settle(paid[index].id for index in paid.keys() - failed)
        for index, entry in paid.items():
            context.set_response_header(index, NEXT_HEADER, str(entry.next_hashes))
        return answers

    def _alone(
        self, index: int, batch: Sequence[Incoming], admitted: Mapping[int, Admitted | None], context: Context
    ) -> object:
        """Ask the victim again about one request of a group on which it failed."""
        context.request_processor[index] = RequestProcessor(context.get_all_request_header(index))
        return self._delegate([index], batch, admitted, context)[0]


def _groups(batch: Sequence[Incoming], admitted: Sequence[int]) -> list[list[int]]:
    """What may go to the victim together: BaseHandler looks at the first request of a batch only."""
    describe = [[index] for index in admitted if batch[index].says_describe]
    explain = [index for index in admitted if batch[index].explain and not batch[index].says_describe]
    predict = [index for index in admitted if not batch[index].explain and not batch[index].says_describe]
    return [group for group in [*describe, explain, predict] if group]


def _end_streams(batch: Sequence[Incoming], context: Context) -> None:
    """Say that each answer is the last of its gRPC stream: without that it would kill the worker."""
    for index, each in enumerate(batch):
        if each.grpc and "ts_stream_next" not in context.get_response_headers(index):
            context.set_response_header(index, "ts_stream_next", "false")


def _refuse(context: Context, index: int, incoming: Incoming, refused: Refused) -> str:
    problem = refused.problem
    context.set_response_status(problem.status, HTTPStatus(problem.status).phrase, index)
    context.set_response_content_type(index, problems.CONTENT_TYPE)
    for name, value in problem.headers.items():
        context.set_response_header(index, name, value)
    if not incoming.grpc:
        return problem.body()
    # KServe's gRPC codec reads these from any answer and kills the worker when they are missing.
    return problem.body(id=context.request_ids[index], model_name=context.model_name, model_version="", outputs=[])


def _serialised(answers: object, expected: int) -> list[object]:
    """The victim's answers as TorchServe would write them; raises what it would answer to any other result.

    Done here rather than by TorchServe, because an answer that cannot be written must not be paid for.
    """
    if not isinstance(answers, list):
        raise PredictionException("Invalid model predict output", 503)
    if len(answers) != expected:
        raise PredictionException("number of batch response mismatched", 503)
    try:
        return [_written(each) for each in answers]
    except (TypeError, UnicodeEncodeError):
        raise PredictionException("Unsupported model output data type.", 503) from None


def _written(answer: object) -> object:
    if isinstance(answer, bytes | bytearray | Tensor):
        return answer
    return (answer if isinstance(answer, str) else json.dumps(answer, indent=2)).encode("utf-8")


def _failed(context: Context, index: int, failure: Exception) -> str:
    """TorchServe's own error document, for a victim that failed beside requests that did not reach it."""
    if isinstance(failure, PredictionException):
        code, message = _status(failure.error_code), str(failure.message)
    elif isinstance(failure, MemoryError) or "CUDA" in str(failure):
        code, message = 507, "Out of resources"
    else:
        code, message = 503, "Prediction failed"
    code = 507 if code == 413 else code
    phrase = HTTPStatus(code).phrase if code in {status.value for status in HTTPStatus} else ""
    context.request_processor[index] = RequestProcessor(context.get_all_request_header(index))
    context.set_response_status(code, phrase, index)
    context.set_response_content_type(index, "application/json")
    quoted = json.dumps(message, ensure_ascii=False)
    return f'{{\n  "code": {code},\n  "type": "InternalServerException",\n  "message": {quoted}\n}}\n'


def _refuse_envelope(loader_locals: Mapping[str, object]) -> None:
    """A service envelope would unpack requests before the gate sees them; only the loader's frame knows of it."""
    if loader_locals.get("envelope") is not None:
        raise GateMisconfigured(
            f"the server sets service_envelope={loader_locals['envelope']}, which unpacks requests before the gate"
            " sees them: remove it from config.properties"
        )


def _text(value: object) -> str:
    if isinstance(value, bytes | bytearray):
        return value.decode("utf-8", "replace")
    return value if isinstance(value, str) else ""


def _status(code: object) -> int:
    return code if isinstance(code, int) else 503
