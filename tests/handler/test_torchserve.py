"""The adapter between TorchServe and the gate, without a server."""

import gc
import os
import tempfile
import weakref
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
from ts.context import RequestProcessor
from ts.utils.util import PredictionException

from calpow.handler.gate.interface import Released
from calpow.handler.metrics.tally import Tally
from calpow.handler.torchserve import GateHandler, is_exposed
from calpow.handler.torchserve_request import TorchServeRequest
from calpow.handler.victim import HeldAnswer
from calpow.handler.victim_failures import VictimFailure


@pytest.mark.skipif(os.name != "posix", reason="modes are of POSIX")
def test_an_archive_is_exposed_where_everybody_may_pass_every_folder_and_read_the_file() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "models"
        file = folder / "victim.mar"
        folder.mkdir()
        file.write_bytes(b"weights")
        file.chmod(0o644)
        folder.chmod(0o755)
        assert not is_exposed(file), "the folder above is the owner's alone"
        Path(name).chmod(0o711)
        everybody = all(parent.stat().st_mode & 0o001 for parent in Path(name).resolve().parents)
        assert is_exposed(file) == everybody
        file.chmod(0o640)
        assert not is_exposed(file)


class FailingStrategy:
    """Releases a failure of the victim for every request."""

    def answer(self, requests: Sequence[TorchServeRequest], run: object) -> list[Released[HeldAnswer]]:
        failure = VictimFailure(513, "not this one")
        return [Released(HeldAnswer(None, failure, RequestProcessor({})), None) for _ in requests]


class Body(bytearray):
    """A body whose end can be observed."""


def test_a_failure_that_grpc_reports_keeps_nothing_of_its_request() -> None:
    handler = GateHandler()
    passes = SimpleNamespace(run=None)
    vars(handler).update(_strategy=FailingStrategy(), _passes=passes, _version="1", _counted=False, _tally=Tally())
    context = SimpleNamespace(
        request_ids={0: "id"}, request_processor=[RequestProcessor({})], metrics=SimpleNamespace()
    )

    def fail() -> weakref.ref[Body]:
        body = Body(b"1,2")
        with pytest.raises(PredictionException, match="not this one : 513"):
            handler.handle([{"body": body}], context)
        return weakref.ref(body)

    gc.disable()
    try:
        assert fail()() is None
    finally:
        gc.enable()
