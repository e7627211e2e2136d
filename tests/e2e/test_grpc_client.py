"""PowInterceptor asks protected models on TorchServe's real gRPC port, with the modules that its users generate."""

import asyncio
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest

from calpow.archiver.server import Server, served
from calpow.client.errors import Cancelled, ClientError, RequestRefused, WorkLimitExceeded
from calpow.client.grpc import PowInterceptor, aio_interceptors
from calpow.handler.gate.tokens import Claims, Signer
from calpow.handler.ledger.ledger import Ledger
from calpow.handler.ledger.uri import open_ledger
from calpow.puzzle.profiles import DEFAULT_PROFILE
from calpow.puzzle.solving.solver import solve
from calpow.puzzle.wire import format_solution
from tests.support.grpc_stubs import Stubs, generate, write_proto
from tests.support.guarded import TIMEOUT, protect, train_teachers
from tests.support.victims import build as victims

pytestmark = pytest.mark.server

VECTOR = b"0.1,0.9,0.3,0.2"
SEVERAL = b"\n".join(b"0.%d,0.9,0.3,0.2" % number for number in range(1, 9))
OTHER = b"0.7,0.1,0.3,0.2"
STREAMED = b"0.1,0.9,0.25,0.3;stream"


@dataclass(frozen=True)
class GrpcSite:
    """A server with a victim of several vectors a payload (`several`), and one that can stream (`streaming`)."""

    server: Server
    ledger: Ledger
    stubs: Stubs

    def ask(self, interceptors: Any, model: str, body: bytes, entries: Mapping[str, bytes] | None = None) -> bytes:
        """Return one prediction, asked for over a channel of its own."""
        with self.channel(*interceptors) as channel:
            request = self.stubs.request(model, body, entries)
            answer: bytes = self.stubs.stub(channel).Predictions(request, timeout=TIMEOUT).prediction
            return answer

    def channel(self, *interceptors: Any) -> Any:
        return _Intercepted(self.server.grpc, interceptors)

    def queries(self, account: str, model: str = "several") -> int:
        return self.ledger.account(model, account).history.queries


class _Intercepted:
    """Context manager of a channel with interceptors."""

    def __init__(self, target: str, interceptors: Any) -> None:
        self._channel = grpc.insecure_channel(target)
        self._interceptors = interceptors

    def __enter__(self) -> Any:
        return grpc.intercept_channel(self._channel, *self._interceptors) if self._interceptors else self._channel

    def __exit__(self, *_: object) -> None:
        self._channel.close()


@dataclass
class Watch(grpc.UnaryUnaryClientInterceptor):  # type: ignore[misc]  # grpc has no types
    """The requests that PowInterceptor sends. The first `lost` answers do not arrive."""

    lost: int = 0
    sent: list[Any] = field(default_factory=list)

    def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        self.sent.append(request)
        call = continuation(client_call_details, request)
        if "PoW-Solution" in request.input and self.lost:
            assert call.result() is not None
            self.lost -= 1
            return Lost()
        return call

    def solutions(self) -> list[bytes | None]:
        return [request.input.get("PoW-Solution") for request in self.sent]


class Lost(grpc.RpcError):  # type: ignore[misc]  # as above
    """A call whose connection broke."""

    def result(self) -> Any:
        raise self


@pytest.fixture(scope="module")
def grpc_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GrpcSite]:
    folder = tmp_path_factory.mktemp("grpc")
    (folder / "guarded").mkdir()
    several = victims.counting(folder, "several", workers=1, batch=2)
    streaming = victims.stateful(folder, "streaming", workers=1, batch=1)
    teachers = train_teachers(folder, several, victims.vectors(folder / "vectors"))
    guarded = {
        victim.stem: protect(folder / "guarded", victim.stem, victim, teachers).guarded
        for victim in (several, streaming)
    }
    uri = f"sqlite:///{folder / 'ledger.db'}"
    archives = {**guarded, "several-plain": several, "streaming-plain": streaming}
    with served(archives, environment={"CALPOW_LEDGER": uri}) as server:
        yield GrpcSite(server, open_ledger(uri), generate(folder))


def test_answers_are_those_of_the_bare_model_and_are_paid_beforehand_from_the_second_on(grpc_site: GrpcSite) -> None:
    bodies = [b"0.%d,0.9,0.3,0.2" % number for number in range(1, 5)]
    watch, pow_interceptor = Watch(), PowInterceptor(grpc_site.ledger.add_key("ada"))
    answers = [grpc_site.ask([pow_interceptor, watch], "several", body) for body in bodies]
    assert answers == [grpc_site.ask([], "several-plain", body) for body in bodies]
    unpaid, *paid = watch.solutions()
    assert unpaid is None
    assert [(solution or b"").startswith(b"prepaid ") for solution in paid] == [False, True, True, True]
    assert grpc_site.queries("ada") == 4


def test_the_users_own_request_is_left_as_it_was(grpc_site: GrpcSite) -> None:
    request = grpc_site.stubs.request("several", VECTOR, {"x-api-key": b"cp_stale"})
    before = request.SerializeToString(deterministic=True)
    with grpc_site.channel(PowInterceptor(grpc_site.ledger.add_key("untouched"))) as channel:
        assert grpc_site.stubs.stub(channel).Predictions(request, timeout=TIMEOUT).prediction
    assert request.SerializeToString(deterministic=True) == before


def test_two_threads_share_an_interceptor(grpc_site: GrpcSite) -> None:
    pow_interceptor = PowInterceptor(grpc_site.ledger.add_key("twins"))
    payloads = [b"0.%d,0.9,0.3,0.2" % number for number in range(10, 30)]
    with grpc_site.channel(pow_interceptor) as channel, ThreadPoolExecutor(2) as pool:
        stub = grpc_site.stubs.stub(channel)
        answers = list(
            pool.map(lambda body: stub.Predictions(grpc_site.stubs.request("several", body), timeout=TIMEOUT), payloads)
        )
    assert all(len(json.loads(answer.prediction)[0]) == 4 for answer in answers)
    assert grpc_site.queries("twins") == 20


def test_a_future_and_a_call_have_what_grpc_gives_them(grpc_site: GrpcSite) -> None:
    with grpc_site.channel(PowInterceptor(grpc_site.ledger.add_key("futures"))) as channel:
        stub = grpc_site.stubs.stub(channel)
        answer, call = stub.Predictions.with_call(grpc_site.stubs.request("several", VECTOR), timeout=TIMEOUT)
        future = stub.Predictions.future(grpc_site.stubs.request("several", VECTOR), timeout=TIMEOUT)
        assert (call.code(), future.code()) == (grpc.StatusCode.OK,) * 2
        assert future.result().prediction == answer.prediction


def test_a_withheld_answer_is_paid_for(grpc_site: GrpcSite) -> None:
    """Eight samples that nobody could count before the model ran."""
    plain = grpc_site.ask([], "several-plain", SEVERAL)
    watch = Watch()
    interceptors = [PowInterceptor(grpc_site.ledger.add_key("withheld")), watch]
    assert grpc_site.ask(interceptors, "several", SEVERAL) == plain
    assert len(watch.sent) == 3
    assert grpc_site.queries("withheld") == 8


def test_a_lost_answer_is_asked_for_again_and_not_paid_twice(grpc_site: GrpcSite) -> None:
    watch = Watch(lost=1)
    with grpc_site.channel(PowInterceptor(grpc_site.ledger.add_key("lost")), watch) as channel:
        stub = grpc_site.stubs.stub(channel)
        with pytest.raises(Lost) as lost:
            stub.Predictions(grpc_site.stubs.request("several", VECTOR), timeout=TIMEOUT)
        answer = stub.Predictions(lost.value.request, timeout=TIMEOUT)
    assert answer.prediction == grpc_site.ask([], "several-plain", VECTOR)
    first, *others = watch.solutions()
    assert first is None
    assert len(others) == 2
    assert others[0] == others[1]
    assert grpc_site.queries("lost") == 1


def test_after_an_expired_challenge_the_new_one_is_solved(grpc_site: GrpcSite) -> None:
    account = "late"
    signer = Signer(grpc_site.ledger.secrets)
    claims = Claims("0" * 32, signer.subject(account), "several", int(time.time()) - 9, DEFAULT_PROFILE, 5, 16)
    expired = format_solution(signer.sign(claims), solve(claims.puzzle))
    watch = Watch()
    interceptors = [PowInterceptor(grpc_site.ledger.add_key(account)), watch]
    answer = grpc_site.ask(interceptors, "several", VECTOR, {"PoW-Solution": expired.encode()})
    assert len(json.loads(answer)[0]) == 4
    assert watch.solutions()[0] == expired.encode()
    assert len(watch.sent) == 2


@pytest.mark.parametrize(("key", "problem"), [("cp_00000000_" + "0" * 48, "unknown"), (None, "missing")])
def test_a_wrong_key_raises(grpc_site: GrpcSite, key: str | None, problem: str) -> None:
    with pytest.raises(RequestRefused) as refused:
        grpc_site.ask([PowInterceptor(key)], "several", VECTOR)
    error = refused.value
    assert (error.status, error.problem) == (401, f"identity-{problem}")
    assert isinstance(error, grpc.RpcError)
    assert error.code() is grpc.StatusCode.UNAUTHENTICATED
    assert error.details() == str(error)
    assert json.loads(error.response.prediction)["status"] == 401


def test_a_payload_that_the_model_cannot_read_raises_and_leaves_the_work_good(grpc_site: GrpcSite) -> None:
    watch, pow_interceptor = Watch(), PowInterceptor(grpc_site.ledger.add_key("unreadable"))
    with pytest.raises(RequestRefused) as refused:
        grpc_site.ask([pow_interceptor, watch], "several", b"no numbers")
    assert (refused.value.status, refused.value.problem) == (400, "bad-payload")
    solution = watch.sent[-1].input["PoW-Solution"]
    assert grpc_site.ask([pow_interceptor, watch], "several", VECTOR, {"PoW-Solution": solution})
    assert watch.solutions()[-1] == solution


def test_limits_of_work_are_kept(grpc_site: GrpcSite) -> None:
    with pytest.raises(WorkLimitExceeded) as limited:
        grpc_site.ask([PowInterceptor(grpc_site.ledger.add_key("poor"), max_hashes=10)], "several", VECTOR)
    assert isinstance(limited.value, grpc.RpcError)
    assert limited.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert grpc_site.queries("poor") == 0


def test_an_unknown_model_is_grpcs_own_error(grpc_site: GrpcSite) -> None:
    with pytest.raises(grpc.RpcError) as unknown:
        grpc_site.ask([PowInterceptor(grpc_site.ledger.add_key("lost-way"))], "nobody", VECTOR)
    assert not isinstance(unknown.value, ClientError)
    assert "not found" in unknown.value.details()


def test_streams_bring_every_message_of_the_victim(grpc_site: GrpcSite) -> None:
    pow_interceptor = PowInterceptor(grpc_site.ledger.add_key("streams"))
    with grpc_site.channel(pow_interceptor) as channel:
        stub = grpc_site.stubs.stub(channel)
        for body in (STREAMED, VECTOR, b"0.2,0.1,0.25,0.3;stream"):
            plain = list(stub_of_plain(grpc_site, body))
            answer = stub.StreamPredictions(grpc_site.stubs.request("streaming", body), timeout=TIMEOUT)
            assert [message.prediction for message in answer] == plain
            assert answer.code() is grpc.StatusCode.OK
    assert grpc_site.queries("streams", "streaming") == 3


def stub_of_plain(site: GrpcSite, body: bytes) -> Iterator[bytes]:
    """The messages of the bare victim; one that sends no stream cannot be asked for one."""
    with site.channel() as channel:
        stub, request = site.stubs.stub(channel), site.stubs.request("streaming-plain", body)
        if b"stream" in body:
            yield from (message.prediction for message in stub.StreamPredictions(request, timeout=TIMEOUT))
        else:
            yield stub.Predictions(request, timeout=TIMEOUT).prediction


def test_a_refused_stream_raises(grpc_site: GrpcSite) -> None:
    with grpc_site.channel(PowInterceptor("cp_00000000_" + "0" * 48)) as channel:
        answer = grpc_site.stubs.stub(channel).StreamPredictions(
            grpc_site.stubs.request("streaming", STREAMED), timeout=TIMEOUT
        )
        with pytest.raises(RequestRefused):
            next(answer)


def test_asyncio_asks_and_streams_as_well(grpc_site: GrpcSite) -> None:
    # No vector twice: which of two is the repetition, and is not counted, would depend on their order.
    bodies = (b"0.9,0.9,0.3,0.2", SEVERAL, OTHER)

    async def ask() -> tuple[list[bytes], list[bytes]]:
        interceptors = aio_interceptors(grpc_site.ledger.add_key("asyncio"))
        async with grpc.aio.insecure_channel(grpc_site.server.grpc, interceptors=interceptors) as channel:
            stub, request = grpc_site.stubs.stub(channel), grpc_site.stubs.request
            calls = [stub.Predictions(request("several", body), timeout=TIMEOUT) for body in bodies]
            answers = [answer.prediction for answer in await asyncio.gather(*calls)]
            stream = stub.StreamPredictions(request("streaming", STREAMED), timeout=TIMEOUT)
            return answers, [message.prediction async for message in stream]

    answers, messages = asyncio.run(ask())
    assert answers == [grpc_site.ask([], "several-plain", body) for body in bodies]
    assert messages == list(stub_of_plain(grpc_site, STREAMED))
    assert grpc_site.queries("asyncio") == 10


def test_asyncio_raises_refusals_and_the_lost_ones_of_grpc(grpc_site: GrpcSite) -> None:
    async def ask(target: str) -> None:
        async with grpc.aio.insecure_channel(target, interceptors=aio_interceptors("cp_nobody")) as channel:
            await grpc_site.stubs.stub(channel).Predictions(grpc_site.stubs.request("several", VECTOR), timeout=2)

    with pytest.raises(RequestRefused) as refused:
        asyncio.run(ask(grpc_site.server.grpc))
    assert refused.value.problem == "identity-unknown"
    with pytest.raises(grpc.RpcError) as lost:
        asyncio.run(ask("127.0.0.1:1"))
    assert lost.value.code() is grpc.StatusCode.UNAVAILABLE
    assert lost.value.request.input["body"] == VECTOR


def test_work_ends_when_its_task_is_cancelled_or_its_progress_says_so(grpc_site: GrpcSite) -> None:
    begun, ended = threading.Event(), threading.Event()

    def wait(_: object) -> None:
        begun.set()
        time.sleep(0.2)

    async def ask() -> None:
        interceptors = aio_interceptors(grpc_site.ledger.add_key("cancelled"), progress=wait)
        async with grpc.aio.insecure_channel(grpc_site.server.grpc, interceptors=interceptors) as channel:
            task = asyncio.ensure_future(
                grpc_site.stubs.stub(channel).Predictions(grpc_site.stubs.request("several", VECTOR), timeout=TIMEOUT)
            )
            await asyncio.to_thread(begun.wait, TIMEOUT)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            ended.set()

    asyncio.run(ask())
    assert ended.is_set()

    def stop(_: object) -> None:
        raise Cancelled("enough")

    with pytest.raises(Cancelled):
        grpc_site.ask([PowInterceptor(grpc_site.ledger.add_key("stopped"), progress=stop)], "several", VECTOR)
    assert grpc_site.queries("stopped") == 0


@pytest.mark.parametrize("way", ["from calpow.client.grpc import PowInterceptor", "import asyncio\nimport grpc"])
def test_the_lines_of_the_documentation_work_when_pasted(grpc_site: GrpcSite, tmp_path: Path, way: str) -> None:
    document = (Path(__file__).resolve().parents[2] / "docs" / "consuming.md").read_text()
    (generate_lines,) = re.findall(r"(?m)^    (python -m grpc_tools.*\\\n.*)$", document)
    blocks: list[str] = re.findall(r"```python\n(.*?)```", document, re.DOTALL)
    (program,) = (block for block in blocks if way in block and "inference_pb2" in block)
    write_proto(tmp_path)
    (tmp_path / "digit.png").write_bytes(VECTOR)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": f"{os.environ.get('PYTHONPATH', '')}:{tmp_path}"}
    subprocess.run(["sh", "-ec", generate_lines], check=True, cwd=tmp_path, env=environment, capture_output=True)
    program = program.replace("127.0.0.1:7070", grpc_site.server.grpc).replace('"digits"', '"several"')
    done = subprocess.run(
        [sys.executable, "-c", program.replace("cp_...", grpc_site.ledger.add_key("pasted"))],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert len(json.loads(done.stdout)[0]) == 4
