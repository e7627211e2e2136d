"""Mode observe: every answer is the unprotected victim's, whatever happens to ledger and records; both are kept."""

import json
import os
import signal
import sqlite3
import time
import zipfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests

from calpow.archiver.calibration.calibration_document import Calibration
from calpow.archiver.errors import ArchiveError
from calpow.archiver.packaging import ArchiveOrder, build
from calpow.archiver.server import Server, served
from calpow.client.cli.main import main
from calpow.handler.config import GateConfig, Mode
from calpow.handler.errors import GateMisconfigured
from calpow.handler.ledger.history import History
from calpow.handler.ledger.uri import open_ledger
from calpow.handler.observe.records import Record, meter_name, shared_path
from calpow.handler.policy.calibration_file import load_policy
from tests.e2e.test_released import VECTOR, seen
from tests.support.grpc_wire import predict
from tests.support.guarded import AUDIT, TIMEOUT, Protected, picture
from tests.support.quick_fit import quick_fit
from tests.support.quick_timing import quick_timing

pytestmark = pytest.mark.server

MODELS = ("vector", "function", "eager")
SETTLES = 20.0


@dataclass(frozen=True)
class Watched:
    """A running server: `NAME` is observed, `NAME-plain` is as it was."""

    server: Server
    uri: str
    records: Path
    audit: Path

    def ask(self, model: str, payload: bytes, key: str | None = None) -> requests.Response:
        headers = {"X-Api-Key": key} if key else {}
        return requests.post(self.server.url(model), data=payload, headers=headers, timeout=TIMEOUT)

    def recorded(self) -> list[Record]:
        lines = self.records.read_text().splitlines() if self.records.is_file() else []
        return [record for line in lines if line and (record := Record.read(line))]

    def records_of(self, account: str, count: int) -> list[Record]:
        """Return what was recorded of an account, as soon as there is so much of it."""
        deadline = time.monotonic() + SETTLES
        while True:
            records = [record for record in self.recorded() if record.account == account]
            if len(records) >= count or time.monotonic() > deadline:
                return records
            time.sleep(0.05)

    def history_of(self, account: str, queries: int) -> History:
        """Return the past of an account, as soon as it is of so many queries."""
        deadline = time.monotonic() + SETTLES
        while True:
            history = open_ledger(self.uri).account("vector", account).history
            if history.queries >= queries or time.monotonic() > deadline:
                return history
            time.sleep(0.05)


def observed(part: Protected, folder: Path, name: str) -> Path:
    """The archive that observes a victim."""
    return build(ArchiveOrder(part.victim, part.teachers, part.calibration, folder, name, mode="observe"))


@pytest.fixture(scope="module")
def watched(protected: Mapping[str, Protected], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """Victims as they were, and observed."""
    folder = tmp_path_factory.mktemp("watched")
    archives = {name: observed(protected[name], folder, name) for name in MODELS}
    archives |= {f"{name}-plain": protected[name].victim for name in MODELS}
    uri, records = f"sqlite:///{folder / 'ledger.db'}", folder / "records" / "records.jsonl"
    audit = folder / AUDIT
    around = {"CALPOW_LEDGER": uri, "CALPOW_RECORDS": str(records), "CALPOW_AUDIT": str(audit)}
    with served(archives, environment=around) as server:
        yield Watched(server, uri, records, audit)


def same(watched: Watched, model: str, payload: bytes, key: str | None = None) -> requests.Response:
    """The observed answer, which is the plain victim's to the byte."""
    answer = watched.ask(model, payload, key)
    assert seen(answer) == seen(watched.ask(f"{model}-plain", payload))
    assert "PoW-Next" not in answer.headers
    return answer


@pytest.mark.parametrize("model", MODELS)
def test_every_kind_of_victim_answers_as_it_did_without_key_or_work(
    watched: Watched, protected: Mapping[str, Protected], model: str
) -> None:
    payload = picture(protected) if model in {"eager", "script"} else VECTOR
    assert same(watched, model, payload).status_code == 200


@pytest.mark.parametrize(
    "command",
    [
        "raw",
        "tensor",
        "number",
        "list",
        "none",
        "html",
        "teapot",
        "refuse",
        "raise",
        "memory",
        "fail",
        "unwritable",
        "short",
    ],
)
def test_every_kind_of_answer_and_of_failure_is_the_victims_own(watched: Watched, command: str) -> None:
    same(watched, "vector", VECTOR + b";" + command.encode())


@pytest.mark.parametrize("payload", [b"", b"no vector", b"nan,1,2,3", b"1e300,0,0,0", b"\xff\xfe", b"1,2"])
def test_what_cannot_be_priced_is_the_victims_to_answer(watched: Watched, payload: bytes) -> None:
    same(watched, "vector", payload)


@pytest.mark.parametrize("key", ["", "nonsense", "cp_00000000_" + "0" * 48])
def test_a_key_that_nobody_knows_is_no_obstacle(watched: Watched, key: str) -> None:
    assert same(watched, "vector", VECTOR, key).status_code == 200


def test_explanations_are_the_victims_own(watched: Watched) -> None:
    url = f"{watched.server.inference}/explanations/vector"
    ours, plain = (requests.post(address, data=VECTOR, timeout=TIMEOUT) for address in (url, f"{url}-plain"))
    assert ours.json() == {"class": 1, "explained": True}
    assert seen(ours) == seen(plain)


def test_descriptions_are_the_victims_own(watched: Watched) -> None:
    url = f"{watched.server.management}/models/vector"
    ours, plain = (requests.get(f"{address}?customized=true", timeout=TIMEOUT) for address in (url, f"{url}-plain"))
    assert ours.status_code == plain.status_code == 200
    assert ours.json()[0].get("customizedMetadata") == plain.json()[0].get("customizedMetadata")


def test_a_batch_is_the_victims_own_whoever_is_in_it(watched: Watched) -> None:
    payloads = [VECTOR, b"0.5,0.1,0.1,0.1", VECTOR + b";teapot", VECTOR + b";raw"]
    with ThreadPoolExecutor(4) as pool:
        ours = list(pool.map(lambda payload: watched.ask("vector", payload), payloads))
        plain = list(pool.map(lambda payload: watched.ask("vector-plain", payload), payloads))
    assert list(map(seen, ours)) == list(map(seen, plain))


def test_an_account_and_its_queries_are_written_down(watched: Watched) -> None:
    key = open_ledger(watched.uri).add_key("ada")
    before = time.time()
    for _ in range(3):
        assert same(watched, "vector", VECTOR, key).status_code == 200
    records = watched.records_of("ada", 3)
    assert len(records) == 3
    assert all(before - 1 <= record.at <= time.time() for record in records)
    assert [record.classes for record in records] == [(1,)] * 3
    assert len({record.costs for record in records}) == 1
    history = watched.history_of("ada", 1)
    assert history.queries == 1, "it is one sample"
    assert history.cost_micro == pytest.approx(1e6 * records[0].costs[0][0], abs=3)
    assert key not in watched.records.read_text()


def test_the_audit_says_what_an_answer_would_have_cost(watched: Watched) -> None:
    answer = watched.ask("vector", VECTOR, open_ledger(watched.uri).add_key("audited"))
    deadline = time.monotonic() + SETTLES
    while not (lines := [line for line in _lines(watched.audit) if line["account"] == "audited"]):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    (line,) = lines
    assert (line["event"], line["samples"], line["work"], line["model"]) == ("observed", 1, 0, "vector")
    assert line["request"] == answer.headers["x-request-id"]
    assert line["price"] > 0


def _lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_who_shows_no_key_is_recorded_as_nobody_and_never_charged(watched: Watched) -> None:
    before = len(watched.records_of("", 0))
    watched.ask("vector", VECTOR)
    assert len(watched.records_of("", before + 1)) == before + 1
    assert open_ledger(watched.uri).account("vector", "").history.queries == 0


def test_the_records_say_what_they_were_measured_with(watched: Watched, protected: Mapping[str, Protected]) -> None:
    watched.ask("vector", VECTOR)
    policy = load_policy(protected["vector"].calibration)
    name = meter_name(policy.victim_sha256, policy.parts, policy.output, policy.scores)
    assert name in {record.meter for record in watched.records_of("", 1)}
    other = meter_name("f" * 64, policy.parts, policy.output, policy.scores)
    assert name != other


def test_grpc_is_answered_as_it_was(watched: Watched) -> None:
    ours, plain = (predict(watched.server.grpc, name, {"body": VECTOR}) for name in ("vector", "vector-plain"))
    assert ours == plain


def test_a_locked_ledger_keeps_nobody_waiting_and_nothing_is_lost(watched: Watched) -> None:
    key = open_ledger(watched.uri).add_key("bob")
    vectors = iter([f"0.1,0.9,0.3,0.{number}".encode() for number in range(100, 112)])
    watched.ask("vector", next(vectors), key)
    with sqlite3.connect(watched.uri.removeprefix("sqlite:///"), isolation_level=None) as lock:
        lock.execute("BEGIN EXCLUSIVE")
        begun = time.monotonic()
        for _ in range(10):
            assert watched.ask("vector", next(vectors), key).status_code == 200
        took = time.monotonic() - begun
        time.sleep(2)
        lock.execute("ROLLBACK")
    # The ledger waits a second for the lock at each access.
    assert took < 5
    watched.ask("vector", next(vectors), key)
    assert watched.history_of("bob", 12).queries == 12
    assert len(watched.records_of("bob", 12)) == 12


def test_records_that_cannot_be_written_are_no_obstacle_and_do_not_flood_the_log(watched: Watched) -> None:
    away = watched.records.with_name("away.jsonl")
    watched.records_of("", 1)
    watched.records.rename(away)
    watched.records.mkdir()
    before = watched.server.log().count("queries are not recorded")
    for _ in range(30):
        assert same(watched, "vector", VECTOR).status_code == 200
    time.sleep(1)
    assert watched.server.log().count("queries are not recorded") - before <= 2
    watched.records.rmdir()
    watched.ask("vector", VECTOR)
    assert len(watched.records_of("", 1)) >= 1


def test_a_worker_that_is_killed_leaves_a_file_that_can_be_read(watched: Watched) -> None:
    (pid,) = watched.server.worker_pids("vector")
    with ThreadPoolExecutor(8) as pool:
        pending = [pool.submit(watched.ask, "vector", VECTOR) for _ in range(200)]
        time.sleep(0.1)
        os.kill(pid, signal.SIGKILL)
        statuses = {answer.result().status_code for answer in pending}
    assert 200 in statuses
    assert not statuses & {401, 402, 403, 429}
    deadline = time.monotonic() + 60
    while watched.server.worker_pids("vector") in ([], [pid]) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert same(watched, "vector", VECTOR).status_code == 200
    watched.recorded()


def test_what_was_recorded_is_what_is_calibrated_with(
    watched: Watched, protected: Mapping[str, Protected], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    queries: list[tuple[bytes, str]] = []
    for number in range(14):
        key = open_ledger(watched.uri).add_key(f"user{number}")
        for label in range(4):
            for vector in rng.random((9, 4)) + 3 * np.eye(4)[label]:
                queries.append((",".join(f"{value:.3f}" for value in vector).encode(), key))
    with ThreadPoolExecutor(8) as pool:
        answers = pool.map(lambda query: watched.ask("vector", *query), queries)
        assert {answer.status_code for answer in answers} == {200}
    assert sum(len(watched.records_of(f"user{number}", 36)) for number in range(14)) == len(queries)
    for label in range(4):
        (tmp_path / "data" / str(label)).mkdir(parents=True)
        payload = ",".join(str(value) for value in np.eye(4)[label])
        (tmp_path / "data" / str(label) / "one.txt").write_text(payload)
    part, output = protected["vector"], tmp_path / "calibration.json"
    words = ["--victim", part.victim, "--ensemble", part.teachers, "--data", tmp_path / "data"]
    command = ["calibrate", *words, "--from-records", watched.records, "--output", output]
    with quick_timing(), quick_fit():
        assert main([str(word) for word in command]) == 0
    assert "accounts" in capsys.readouterr().out.splitlines()[0]
    calibration = Calibration.load(output)
    provenance = calibration.measurement.provenance
    assert int(provenance["recorded_accounts"]) >= 14
    assert int(provenance["recorded_queries"]) >= len(queries)
    assert "accounts as recorded" in {profile.name for profile in calibration.rehearsal.profiles}
    assert "answer_accuracy" not in provenance
    other = [*command[:-2], "--output", str(output), "--rdp-order", "20"]
    assert main([str(word) for word in other]) == 2
    assert "was measured with" in capsys.readouterr().err.splitlines()[-1]


def test_a_ledger_that_is_gone_is_no_obstacle(watched: Watched) -> None:
    """Last: the workers go on without it."""
    key = open_ledger(watched.uri).add_key("eve")
    for file in Path(watched.uri.removeprefix("sqlite:///")).parent.glob("ledger.db*"):
        file.unlink()
    for _ in range(3):
        assert same(watched, "vector", VECTOR, key).status_code == 200
    log = watched.server.log()
    assert "observing vector, nobody is blocked, records go to" in log


def test_an_archive_says_what_it_does(
    protected: Mapping[str, Protected], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    part = protected["vector"]

    def archive(name: str, records: str, mode: str) -> Path:
        order = ArchiveOrder(part.victim, part.teachers, part.calibration, tmp_path, name, records=records, mode=mode)
        return build(order)

    for name, records, kept in (("m", "/r.jsonl", "/r.jsonl"), ("n", "r.jsonl", str(tmp_path / "r.jsonl"))):
        with zipfile.ZipFile(archive(name, records, "observe")) as packed:
            packed.extractall(tmp_path / f"{name}-out")
        config = GateConfig.read(tmp_path / f"{name}-out")
        assert (config.mode, config.records) == (Mode.observe, kept)
    with pytest.raises(ArchiveError, match="--records is for --mode observe"):
        archive("o", "/r.jsonl", "enforce")


def test_records_go_where_the_order_says_else_where_the_environment_says_else_home(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    monkeypatch.delenv("CALPOW_RECORDS", raising=False)
    assert shared_path(None) == Path("/home/ada/.calpow/records.jsonl")
    monkeypatch.setenv("CALPOW_RECORDS", "/var/r.jsonl")
    assert shared_path(None) == Path("/var/r.jsonl")
    assert shared_path("/given.jsonl") == Path("/given.jsonl")
    monkeypatch.setenv("CALPOW_RECORDS", "r.jsonl")
    with pytest.raises(GateMisconfigured, match="relative"):
        shared_path(None)


def test_an_operator_switches_a_running_model_to_enforce_and_back(watched: Watched) -> None:
    ledger = open_ledger(watched.uri)
    assert watched.ask("function", VECTOR).status_code == 200
    try:
        for mode, status in (("enforce", 401), ("off", 200), (None, 200)):
            ledger.set_mode("function", mode)
            deadline = time.monotonic() + SETTLES
            while watched.ask("function", VECTOR).status_code != status:
                assert time.monotonic() < deadline
                time.sleep(0.2)
    finally:
        ledger.set_mode("function", None)
