"""Malformed requests at a real TorchServe, by HTTP and gRPC: run after `make demo`.

python -m benchmarks.serving.malformed                      100,000 requests: minutes
python -m benchmarks.serving.malformed --requests 5000 --seed 7

None of them is paid for. The worker has to survive them, answer none, and keep its memory.
"""

import json
import re
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import grpc
import psutil

from benchmarks.command_line import command_parser
from benchmarks.serving.demo_model import ARCHIVE, PROTECTED, require
from benchmarks.serving.light_client import BadAnswer, Connection, request
from benchmarks.serving.malformed_requests import Malformer, Offer
from calpow.archiver.server import Server, served
from calpow.handler.ledger.ledger import Ledger
from calpow.handler.ledger.uri import URI_VARIABLE, open_ledger
from calpow.puzzle.wire import KEY_HEADER, find_realm

REQUESTS = 100_000
CONNECTIONS = 8
# Of so many requests, one goes by gRPC.
GRPC_EVERY = 10
# Memory is read after this share of the requests, when the allocator has grown to its size, and at the end.
WARM_SHARE = 0.2
_PREDICTIONS = "/org.pytorch.serve.grpc.inference.InferenceAPIsService/Predictions"
_FRAME_OF_GATE = re.compile(r'File "[^"]*/calpow/')
_TYPE = re.compile(rb'"type": ?"urn:calpow:problem:([a-z-]+)"')


@dataclass
class RequestCounts:
    """Counts of the requests by their outcome.

    results: how many had which result: the status and the problem, `silence` where the connection was closed, or the
        code of gRPC's error.
    answered: requests that were answered. faults: those that got a problem with a status of 5xx.
    seconds: the time that they took.
    warm, end: resident bytes of the worker when it was warm, and at the end.
    restarts: whether the worker is another one than at the beginning.
    failures: lines of the log that are frames of the gate in a traceback. TorchServe logs tracebacks of its own, for
        JSON that it cannot read.
    """

    results: Counter[str] = field(default_factory=Counter)
    answered: int = 0
    faults: int = 0
    seconds: float = 0.0
    warm: int = 0
    end: int = 0
    restarts: bool = False
    failures: int = 0

    def count(self, status: int, body: bytes) -> None:
        """Count a response of HTTP, or a message of gRPC with the status 0."""
        kind = _TYPE.search(body[:200])
        problem = kind[1].decode() if kind else ""
        self.results[f"{status or 'gRPC'} {problem}".strip()] += 1
        self.answered += status == 200 or (status == 0 and not problem)
        document = body[:400].partition(b'"status": ')[2][:1]
        self.faults += bool(problem) and document == b"5"


def assail(server: Server, model: str, ledger: Ledger, requests: int = REQUESTS, seed: int = 0) -> RequestCounts:
    """Send malformed requests to a protected model, over keep-alive connections, and say what became of them."""
    key = ledger.add_key("malformed")
    offer = _offer(server, model, key)
    outcome = RequestCounts()
    (pid,) = before = server.worker_pids(model)
    said = len(server.log())
    begun = time.perf_counter()
    warm = max(1, round(requests * WARM_SHARE))
    for part, (first, last) in enumerate(((0, warm), (warm, requests))):
        shares = [range(first + start, last, CONNECTIONS) for start in range(CONNECTIONS)]
        malformers = [Malformer(offer, seed * CONNECTIONS * 2 + part * CONNECTIONS + n) for n in range(CONNECTIONS)]
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            for done in pool.map(lambda share: _send(server, *share), zip(shares, malformers, strict=True)):
                outcome.results.update(done.results)
                outcome.answered += done.answered
                outcome.faults += done.faults
        if not psutil.pid_exists(pid):
            break
        resident = psutil.Process(pid).memory_info().rss
        outcome.warm, outcome.end = (resident, resident) if part == 0 else (outcome.warm, resident)
    outcome.seconds = time.perf_counter() - begun
    outcome.restarts = server.worker_pids(model) != before
    outcome.failures = len(_FRAME_OF_GATE.findall(server.log()[said:]))
    return outcome


def _offer(server: Server, model: str, key: str) -> Offer:
    """Return what a client knows that has asked once."""
    connection = Connection(server.url(model))
    try:
        answer = connection.ask(request(server.url(model), b"1,2,3,4", {KEY_HEADER: key}))
    finally:
        connection.close()
    challenge = json.loads(answer.body)["challenge"]
    realm = find_realm(answer.header("WWW-Authenticate")) or ""
    return Offer(model, urlsplit(server.inference).netloc, key, challenge["token"], challenge["id"], realm)


def _send(server: Server, numbers: Sequence[int], malformer: Malformer) -> RequestCounts:
    outcome = RequestCounts()
    connection = Connection(server.inference)
    with grpc.insecure_channel(server.grpc) as channel:
        predict = channel.unary_unary(_PREDICTIONS)
        for number in numbers:
            if number % GRPC_EVERY == 0:
                _send_by_grpc(predict, malformer.grpc(), outcome)
            else:
                _send_by_http(connection, malformer.http(), outcome)
    connection.close()
    return outcome


def _send_by_http(connection: Connection, sent: bytes, outcome: RequestCounts) -> None:
    try:
        answer = connection.ask(sent)
    except (BadAnswer, OSError):
        connection.close()
        outcome.results["silence"] += 1
        return
    outcome.count(answer.status, answer.body)


def _send_by_grpc(predict: Callable[..., bytes], sent: bytes, outcome: RequestCounts) -> None:
    try:
        outcome.count(0, predict(sent, timeout=30))
    except grpc.RpcError as error:
        outcome.results[f"gRPC {error.code().name}"] += 1


def report(outcome: RequestCounts) -> list[str]:
    """Return the lines of a report."""
    total = sum(outcome.results.values())
    lines = [f"{total:,} malformed requests in {outcome.seconds:,.0f} s, {total / outcome.seconds:,.0f} a second"]
    lines += [f"{count:>9,}  {result}" for result, count in outcome.results.most_common()]
    lines.append(
        f"answered {outcome.answered:,}; 5xx of the gate {outcome.faults:,}; its failures {outcome.failures:,}"
    )
    worker = "another one" if outcome.restarts else "the same"
    lines.append(
        f"worker {worker}; memory {outcome.warm / 2**20:,.1f} MiB after {WARM_SHARE:.0%} of them,"
        f" {outcome.end / 2**20:,.1f} MiB at the end"
    )
    return lines


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve the demo's model, send the requests, and print what became of them."""
    parser = command_parser("benchmarks.serving.malformed", __doc__)
    parser.add_argument("--requests", type=int, default=REQUESTS)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    require(parser, ARCHIVE)
    with tempfile.TemporaryDirectory() as folder:
        uri = f"sqlite:///{folder}/ledger.db"
        with served({PROTECTED: ARCHIVE}, environment={URI_VARIABLE: uri}) as server:
            print("\n".join(report(assail(server, PROTECTED, open_ledger(uri), options.requests, options.seed))))


if __name__ == "__main__":
    main()
