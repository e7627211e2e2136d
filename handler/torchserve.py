"""Adapter between TorchServe's handler interface and the gate."""

import inspect
import io
import json
import logging
import os
import stat
from collections.abc import Mapping, Sequence
from email.utils import formatdate
from http import HTTPStatus
from pathlib import Path
from typing import cast

import torch
from ts.context import Context, RequestProcessor
from ts.protocol.otf_message_handler import create_predict_response
from ts.utils.util import PredictionException

from calpow.handler.archive_parts import load_parts
from calpow.handler.config import VICTIM_FILE, GateConfig, Mode
from calpow.handler.errors import GateMisconfigured
from calpow.handler.gate.audit import AuditFile
from calpow.handler.gate.case import UNDECIDED, log_refusal, refusal_after
from calpow.handler.gate.gate import Gate
from calpow.handler.gate.interface import Allowance, AnswerStrategy, Decision, Refused, Released
from calpow.handler.gate.mode_switch import ModeSwitch
from calpow.handler.gate.problems import Problem
from calpow.handler.identity.identification import Identification
from calpow.handler.image_header import limit_pillow
from calpow.handler.leakage.sample_identity import SampleIdentifier
from calpow.handler.ledger.ledger import Ledger
from calpow.handler.ledger.uri import open_ledger, shared_uri, without_password
from calpow.handler.metrics.reporter import Reporter
from calpow.handler.metrics.tally import ANSWERS, ASKED, FAILURES, REFUSALS, Tally
from calpow.handler.observe.observer import Observer
from calpow.handler.observe.records import shared_path
from calpow.handler.pass_runner import PassRunner
from calpow.handler.policy.calibrated_policy import CalibratedPolicy
from calpow.handler.torchserve_request import Row, TorchServeRequest, is_grpc
from calpow.handler.victim import HeldAnswer, LoadSettings, Victim
from calpow.handler.victim_failures import VictimFailure
from calpow.puzzle.errors import CalpowError
from calpow.puzzle.http_message import write_message
from calpow.puzzle.wire import NEXT_HEADER, PROBLEM_TYPE, SUBJECT_HEADER

log = logging.getLogger(__name__)

# Fetch standard, section 3.2: the headers that a page of another origin may read.
_EXPOSE = "Access-Control-Expose-Headers"
_EXPOSED = f"{NEXT_HEADER}, {SUBJECT_HEADER}, WWW-Authenticate, Date, Retry-After"
# Headers, beside those of this protocol, that a reply by gRPC brings to a client that asks for them.
_REPLY_HEADERS = ("Date", "Retry-After", "WWW-Authenticate")


class GateHandler:
    """TorchServe's handler: refuses requests, or releases what the victim answers to them, as its strategy decides."""

    def initialize(self, context: Context) -> None:
        """Load the archive. A part that does not fit ends the worker with one line in the log."""
        caller = inspect.currentframe()
        try:
            _refuse_envelope(caller.f_back.f_locals if caller and caller.f_back else {})
            self._load(context)
        except CalpowError as error:
            log.error("calpow: model %s not loaded: %s", context.model_name, error)
            raise SystemExit(1) from None

    def _load(self, context: Context) -> None:
        home = Path(os.path.realpath(context.system_properties["model_dir"]))
        config = GateConfig.read(home)
        config.check_torch(torch.__version__)
        config.check_files(home)
        if os.name == "posix" and is_exposed(home / VICTIM_FILE):
            log.warning(
                "calpow: other users of this machine can read the victim in %s: start TorchServe with TMPDIR and TEMP"
                " set to a folder of mode 700",
                home,
            )
        # Everything that can be refused early is, because the victim takes time to load.
        audit = AuditFile.from_environment()
        uri = shared_uri(config.ledger)
        ledger = open_ledger(uri)
        identification = Identification.load(config.identity, os.environ)
        victim = Victim.load(home / VICTIM_FILE, home / "victim", _load_settings(context))
        parts = load_parts(home, victim, config)
        # Who knows the hash of the victim has the victim, and no answer to steal.
        identifier = SampleIdentifier(bytes.fromhex(parts.policy.victim_sha256), parts.policy.input_range)
        self._passes = PassRunner(victim, parts.meter, identifier, parts.policy.rows)
        self._counted = parts.policy.rows.counted
        self._version = str((context.manifest or {}).get("model", {}).get("modelVersion"))
        self._tally = Tally()
        allowance = _allowance(config, explains=victim.explains)
        self._strategy = _strategy(
            context.model_name, config, ledger, parts.policy, allowance, self._tally, audit, identification
        )
        ways = ", ".join(way.value for way in identification.ways)
        log.info("calpow: accounts of %s are in %s, identified by %s", context.model_name, without_password(uri), ways)
        Reporter(context.metrics, context.model_name, self._tally).start()

    def handle(self, data: Sequence[Row], context: Context) -> object:
        """Answer a batch: problem documents for the refused requests, the victim's own answers for the others."""
        requests = {index: request for index, row in enumerate(data) if (request := self._read(context, index, row))}
        answered = self._strategy.answer(list(requests.values()), self._passes)
        decisions = dict(zip(requests, answered, strict=True))
        for index in range(len(data)):
            self._count(decisions.get(index, UNDECIDED))
        context.metrics.request_ids = context.request_ids
        grpc = [is_grpc(processor.get_request_properties()) for processor in context.request_processor]
        whole = [index in requests and requests[index].wants_whole_reply for index in range(len(data))]
        return [
            _write(context, index, decisions.get(index, UNDECIDED), grpc=grpc[index], whole=whole[index])
            for index in range(len(data))
        ]

    def _count(self, decision: Decision[HeldAnswer]) -> None:
        if isinstance(decision, Released):
            self._tally.add(ANSWERS if decision.answer.failure is None else FAILURES)
            return
        self._tally.add(REFUSALS, 1, decision.problem.type)
        if decision.problem.challenge is not None:
            self._tally.add(ASKED, decision.problem.challenge.puzzle.expected_hashes)

    def _read(self, context: Context, index: int, row: Row) -> TorchServeRequest | None:
        """Read one request of a batch. Return None when that fails in an unexpected way, which concerns it alone."""
        try:
            return TorchServeRequest.read(
                context.request_ids[index],
                row,
                context.request_processor[index].get_request_properties(),
                version=self._version,
                counted=self._counted,
            )
        except Exception as error:
            name = context.request_ids[index]
            log_refusal(refusal_after(error, name), name)
            return None


def is_exposed(file: Path) -> bool:
    """Return whether users other than a file's owner and group can read it."""
    reachable = all(folder.stat().st_mode & stat.S_IXOTH for folder in file.resolve().parents)
    return reachable and bool(file.stat().st_mode & stat.S_IROTH)


def _load_settings(context: Context) -> LoadSettings:
    properties = context.system_properties
    return LoadSettings(
        model_name=context.model_name,
        gpu_id=properties.get("gpu_id"),
        batch_size=properties.get("batch_size") or 1,
        limit_max_image_pixels=bool(properties.get("limit_max_image_pixels")),
        metrics=context.metrics,
    )


def _allowance(config: GateConfig, *, explains: bool) -> Allowance:
    """Return the owner's limits. `explains` says whether explanations can be priced."""
    factor = config.explanation_factor if explains else 0.0
    return Allowance(config.max_samples, factor, config.max_bytes, config.max_pixels)


def _strategy(
    model: str,
    config: GateConfig,
    ledger: Ledger,
    policy: CalibratedPolicy,
    allowance: Allowance,
    tally: Tally,
    audit: AuditFile | None,
    identification: Identification,
) -> ModeSwitch:
    """Return what answers in the archive's mode, or in the one that an operator sets in the ledger."""

    def enforce() -> AnswerStrategy:
        if config.max_pixels:
            limit_pillow(config.max_pixels)
        scores = ", ".join(score.label for score in policy.scores)
        log.info("calpow: guarding %s, policy %s, scores %s", model, policy.name.value, scores)
        return Gate(model, ledger, policy, allowance, tally, audit=audit, identification=identification)

    def observe() -> AnswerStrategy:
        records = shared_path(config.records)
        log.info("calpow: observing %s, nobody is blocked, records go to %s", model, records)
        return Observer(model, ledger, policy, records, identification=identification, audit=audit)

    switch = ModeSwitch(model, ledger, config.mode, {Mode.enforce: enforce, Mode.observe: observe})
    switch.follow()
    return switch


def _write(context: Context, index: int, decision: Decision[HeldAnswer], *, grpc: bool, whole: bool) -> object:
    """Write a decision into TorchServe's context and return the body; with `whole`, that is a whole HTTP response.

    Raises the victim's failure of a gRPC request that came alone, because only then its client sees an error.
    """
    streamed = isinstance(decision, Released) and bool(decision.answer.sent)
    if isinstance(decision, Refused):
        body: object = _refuse(context, index, decision.problem, grpc=grpc)
    elif decision.answer.failure is None:
        body = _release(context, index, decision, whole=whole)
    elif grpc and len(context.request_processor) == 1:
        # A new exception, which no frame holds: a cycle of both would keep the request in memory.
        raise PredictionException(decision.answer.failure.message, decision.answer.failure.code)
    else:
        body, streamed = _fail(context, index, decision.answer.failure), False
    if whole and not streamed:
        body = _whole_reply(context, index, decision, body)
    if grpc and "ts_stream_next" not in context.get_response_headers(index):
        # Without it, TorchServe waits for more messages of a stream, and the worker dies.
        context.set_response_header(index, "ts_stream_next", "false")
    return body


def _release(context: Context, index: int, released: Released[HeldAnswer], *, whole: bool) -> object:
    held = released.answer
    context.request_processor[index] = held.processor
    if released.next_hashes is not None:
        context.set_response_header(index, NEXT_HEADER, str(released.next_hashes))
        if released.subject is not None:
            context.set_response_header(index, SUBJECT_HEADER, released.subject)
        _expose_headers(context, index)
    if whole and held.sent:
        # What the victim streamed is encoded already: the headers go before it, in a message of their own.
        head = {index: _whole_reply(context, index, released, b"")}
        names = {index: context.request_ids[index]}
        context.cl_socket.sendall(create_predict_response(head, names, "Prediction success", 200, context, True))
    for message in held.sent:
        context.cl_socket.sendall(message)
    return held.body


def _whole_reply(context: Context, index: int, decision: Decision[HeldAnswer], body: object) -> bytes:
    """Return a reply as an HTTP response with the protocol's headers, for a client that gRPC gives none. Decision 0060.

    An answer of the victim has the status 200: gRPC does not tell the victim's own status otherwise either.
    """
    is_answer = isinstance(decision, Released) and decision.answer.failure is None
    status = 200 if is_answer else context.get_response_status(index)[0]
    headers = {"Date": formatdate(usegmt=True), "Content-Type": context.get_response_content_type(index) or ""}
    for name, value in context.get_response_headers(index).items():
        if name in _REPLY_HEADERS or name.startswith("PoW-"):
            headers[name] = value
    return write_message(status, headers, _encoded(body))


def _encoded(body: object) -> bytes:
    """Return a body as TorchServe would write it."""
    if isinstance(body, torch.Tensor):
        buffer = io.BytesIO()
        torch.save(body, buffer)
        return buffer.getvalue()
    return body.encode() if isinstance(body, str) else bytes(cast(bytes, body))


def _refuse(context: Context, index: int, problem: Problem, *, grpc: bool) -> str:
    context.set_response_status(problem.status, HTTPStatus(problem.status).phrase, index)
    context.set_response_content_type(index, PROBLEM_TYPE)
    for name, value in problem.headers.items():
        context.set_response_header(index, name, value)
    _expose_headers(context, index)
    if not grpc:
        return problem.body()
    # KServe's gRPC codec reads these members of every answer, and kills the worker when they are missing.
    return problem.body(id=context.request_ids[index], model_name=context.model_name, model_version="", outputs=[])


def _expose_headers(context: Context, index: int) -> None:
    """Let a page of another origin read the protocol's headers: TorchServe's own settings for such pages cannot."""
    if any(name.lower() == "origin" for name in context.get_all_request_header(index)):
        others = context.get_response_headers(index).get(_EXPOSE)
        context.set_response_header(index, _EXPOSE, f"{others}, {_EXPOSED}" if others else _EXPOSED)


def _fail(context: Context, index: int, failure: VictimFailure) -> str:
    """Write TorchServe's own error document, for a victim that failed on one request of a batch."""
    code = 507 if failure.code == 413 else failure.code
    phrase = _phrase(code)
    context.request_processor[index] = RequestProcessor(context.get_all_request_header(index))
    context.set_response_status(code, phrase, index)
    context.set_response_content_type(index, "application/json")
    quoted = json.dumps(failure.message, ensure_ascii=False)
    return f'{{\n  "code": {code},\n  "type": "InternalServerException",\n  "message": {quoted}\n}}\n'


def _phrase(code: int) -> str:
    """Return the reason phrase that TorchServe's frontend (Netty) gives a status."""
    if code in {status.value for status in HTTPStatus}:
        return HTTPStatus(code).phrase
    return f"{'Server' if code >= 500 else 'Client'} Error ({code})" if 400 <= code < 600 else ""


def _refuse_envelope(loader_locals: Mapping[str, object]) -> None:
    """Raise GateMisconfigured for a service envelope, which would unpack requests before the gate reads them.

    TorchServe names it nowhere but in the frame of its model loader. Decision 0010.
    """
    if loader_locals.get("envelope") is not None:
        raise GateMisconfigured(
            f"the server sets service_envelope={loader_locals['envelope']}, which unpacks requests before the gate"
            " sees them: remove it from config.properties"
        )
