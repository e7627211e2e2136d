"""The modules that a user of TorchServe's gRPC API generates, made of the .proto file in TorchServe's own archive."""

import importlib
import subprocess
import sys
import sysconfig
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple
from zipfile import ZipFile

PROTO = "inference.proto"


class Stubs(NamedTuple):
    """inference_pb2 and inference_pb2_grpc."""

    messages: ModuleType
    services: ModuleType

    def request(self, model: str, body: bytes, **entries: bytes) -> Any:
        """A PredictionsRequest whose input map has a body and these entries."""
        return self.messages.PredictionsRequest(model_name=model, input={"body": body, **entries})

    def stub(self, channel: Any) -> Any:
        return self.services.InferenceAPIsServiceStub(channel)


def write_proto(folder: Path) -> None:
    """Write TorchServe's inference.proto to a folder."""
    jar = Path(sysconfig.get_path("purelib")) / "ts" / "frontend" / "model-server.jar"
    with ZipFile(jar) as archive:
        (folder / PROTO).write_bytes(archive.read(f"proto/{PROTO}"))


def generate(folder: Path) -> Stubs:
    """Generate the modules in a folder, and import them."""
    write_proto(folder)
    imports = ["-I", str(folder), "-I", sysconfig.get_path("purelib")]
    command = [sys.executable, "-m", "grpc_tools.protoc", *imports, f"--python_out={folder}"]
    subprocess.run([*command, f"--grpc_python_out={folder}", PROTO], check=True, capture_output=True, cwd=folder)
    sys.path.insert(0, str(folder))
    try:
        return Stubs(importlib.import_module("inference_pb2"), importlib.import_module("inference_pb2_grpc"))
    finally:
        sys.path.remove(str(folder))
