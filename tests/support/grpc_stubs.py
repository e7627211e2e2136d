"""The modules that a user of TorchServe's gRPC APIs generates, made of the .proto files in TorchServe's own archive."""

import importlib
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple
from zipfile import ZipFile


class Stubs(NamedTuple):
    """The modules of one .proto file, of inference.proto if not said otherwise."""

    messages: ModuleType
    services: ModuleType

    def request(self, model: str, body: bytes, entries: Mapping[str, bytes] | None = None, version: str = "") -> Any:
        """A PredictionsRequest whose input map has a body and these entries."""
        inputs = {"body": body, **(entries or {})}
        return self.messages.PredictionsRequest(model_name=model, model_version=version, input=inputs)

    def stub(self, channel: Any) -> Any:
        return self.services.InferenceAPIsServiceStub(channel)


def write_proto(folder: Path, name: str = "inference") -> None:
    """Write one of TorchServe's .proto files to a folder."""
    jar = Path(sysconfig.get_path("purelib")) / "ts" / "frontend" / "model-server.jar"
    with ZipFile(jar) as archive:
        (folder / f"{name}.proto").write_bytes(archive.read(f"proto/{name}.proto"))


def generate(folder: Path, name: str = "inference") -> Stubs:
    """Generate the modules of a .proto file in a folder, and import them."""
    write_proto(folder, name)
    imports = ["-I", str(folder), "-I", sysconfig.get_path("purelib")]
    command = [sys.executable, "-m", "grpc_tools.protoc", *imports, f"--python_out={folder}"]
    subprocess.run([*command, f"--grpc_python_out={folder}", f"{name}.proto"], check=True, capture_output=True)
    sys.path.insert(0, str(folder))
    try:
        return Stubs(importlib.import_module(f"{name}_pb2"), importlib.import_module(f"{name}_pb2_grpc"))
    finally:
        sys.path.remove(str(folder))
