"""The protected and the unprotected model, in this process as a worker has them, and on a server."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import ts
from ts.metrics.metric_cache_yaml_impl import MetricsCacheYamlImpl
from ts.model_loader import ModelLoaderFactory
from ts.service import Service

from benchmarks.serving.light_client import Connection, request
from benchmarks.serving.load import ServedModel
from benchmarks.speed.stopwatch import WHOLE, Lap, Stopwatch
from calpow.handler.config import VICTIM_FILE
from calpow.handler.model_archive import read_manifest, unpack
from calpow.handler.torchserve import GateHandler


@dataclass(frozen=True)
class TimedReply:
    """The status of an answer, its WWW-Authenticate header (`offer`), and the time that it took."""

    status: int
    lap: Lap
    offer: str


class ModelAccess(Protocol):
    """Access to the protected and to the unprotected model."""

    def send(self, gated: bool, payload: bytes, headers: Mapping[str, str]) -> TimedReply:
        """Send a payload to one of the two models."""


class Inside:
    """Both models in this process, called as a worker calls them."""

    def __init__(self, home: Path, stopwatch: Stopwatch) -> None:
        self._stopwatch = stopwatch
        self._protected = _load_protected(home)
        self._unprotected = _load_unprotected(home)

    def send(self, gated: bool, payload: bytes, headers: Mapping[str, str]) -> TimedReply:
        """Pass the payload to the service as a batch of one."""
        service = self._protected if gated else self._unprotected
        batch = [_incoming(payload, headers)]
        lap = self._stopwatch.lap(lambda: service.predict(batch))
        offer = service.context.get_response_headers(0).get("WWW-Authenticate", "")
        return TimedReply(service.context.get_response_status(0)[0], lap, offer)


class Outside:
    """Both models on a server, over one connection for each of them."""

    def __init__(self, site: ServedModel) -> None:
        self._urls = (site.unprotected, site.protected)
        self._connections = tuple(Connection(url) for url in self._urls)

    def send(self, gated: bool, payload: bytes, headers: Mapping[str, str]) -> TimedReply:
        """Post the payload."""
        answer = self._connections[gated].ask(request(self._urls[gated], payload, headers))
        return TimedReply(answer.status, {WHOLE: answer.seconds}, answer.header("WWW-Authenticate"))


def _incoming(payload: bytes, headers: Mapping[str, str]) -> Mapping[str, object]:
    """Return a request as TorchServe's codec passes it to a worker's service."""
    sent = {"Content-Type": "application/octet-stream", **headers}
    return {
        "requestId": b"0d9c2c0f-5a2b-4a61-9b0e-3a52f0c5c0aa",
        "headers": [{"name": name.encode(), "value": value.encode()} for name, value in sent.items()],
        "parameters": [{"name": "body", "contentType": "application/octet-stream", "value": payload}],
    }


def _load_protected(home: Path) -> Service:
    handler = GateHandler()
    service = Service("protected", str(home), None, handler.handle, None, 1, True, _metrics())
    service.set_cl_socket(None)
    handler.initialize(service.context)
    return service


def _load_unprotected(home: Path) -> Service:
    directory = home / "unprotected"
    unpack(home / VICTIM_FILE, directory)
    entry = read_manifest(home / VICTIM_FILE)["handler"]
    loader = ModelLoaderFactory.get_model_loader()
    service: Service = loader.load("unprotected", str(directory), entry, None, 1, None, True, _metrics())
    service.set_cl_socket(None)
    return service


def _metrics() -> MetricsCacheYamlImpl:
    metrics = MetricsCacheYamlImpl(config_file_path=str(Path(ts.__file__).parent / "configs" / "metrics.yaml"))
    metrics.initialize_cache()
    return metrics
