"""Mode observe: every answer is the unprotected victim's, whatever happens to ledger and records; both are kept."""

import os
import signal
import sqlite3
import time
import zipfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import requests

from calpow.archiver.packaging import ArchiveError, Order, build
from calpow.archiver.server import Server, served
from calpow.client.cli.main import main
from calpow.handler.config import GateConfig, Mode
from calpow.handler.errors import GateMisconfigured
from calpow.handler.ledger import open_ledger
from calpow.handler.ledger.ledger import Totals
from calpow.handler.observe.records import Record, meter_name, shared_path
from calpow.handler.policy.calibration_file import Calibration
from tests.e2e.test_released import VECTOR, seen
from tests.support.grpc_wire import predict
from tests.support.guarded import TIMEOUT, Protected, build_all

MODELS = ("vector", "function", "eager")
SETTLES = 20.0


@dataclass(frozen=True)
class Watched:
    """A running server: `NAME` is observed, `NAME-plain` is as it was."""

    server: Server
    uri: str
    records: Path
    folder: Path

    def ask(self, model: str, payload: bytes, key: str | None = None) -> requests.Response:
        headers = {"X-Api-Key": key} if key else {}
        return requests.post(self.server.url(model), data=payload, headers=headers, timeout=TIMEOUT)

    def recorded(self) -> list[Record]:
        lines = self.records.read_text().splitlines() if self.records.is_file() else []
        return [record for line in lines if line and (record := Record.read(line))]

    def records_of(self, account: str, count: int) -> list[Record]:
        """What was recorded of an account, once there is so much of it."""
        deadline = time.monotonic() + SETTLES
        while True:
            found = [each for each in self.recorded() if each.account == account]
            if len(found) >= count or time.monotonic() > deadline:
                return found
            time.sleep(0.05)

    def totals_of(self, account: str, queries: int) -> Totals:
        """What an account has run up, once it is so many queries."""
        deadline = time.monotonic() + SETTLES
        while True:
            totals = open_ledger(self.uri).account("vector", account).totals
            if totals.queries >= queries or time.monotonic() > deadline:
                return totals
            time.sleep(0.05)


def observed(part: Protected, folder: Path, name: str) -> Path:
    """The archive that observes a victim."""
    return build(Order(part.victim, part.teachers, part.calibration, folder, name, mode="observe"))


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Protected]:
    """The parts of victims of every kind."""
    return build_all(tmp_path_factory.mktemp("twins"))


@pytest.fixture(scope="module")
def watched(twins: Mapping[str, Protected], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """Victims as they were, and observed."""
    folder = tmp_path_factory.mktemp("watched")
    archives = {name: observed(twins[name], folder, name) for name in MODELS}
    archives |= {f"{name}-plain": twins[name].victim for name in MODELS}
    uri, records = f"sqlite:///{folder / 'ledger.db'}", folder / "records" / "records.jsonl"
    around = {"CALPOW_LEDGER": uri, "CALPOW_RECORDS": str(records)}
    with served(archives, environment=around) as server:
        yield Watched(server, uri, records, twins["vector"].victim.parent.parent)


def same(watched: Watched, model: str, payload: bytes, key: str | None = None) -> requests.Response:
    """The observed answer, which is the plain victim's to the byte."""
    answer = watched.ask(model, payload, key)
    assert seen(answer) == seen(watched.ask(f"{model}-plain", payload))
    assert "PoW-Next" not in answer.headers
    return answer


@pytest.mark.parametrize("model", MODELS)
def test_every_kind_of_victim_answers_as_it_did_without_key_or_work(watched: Watched, model: str) -> None:
    picture = (watched.folder / "colours" / "3" / "0.png").read_bytes()
    assert same(watched, model, picture if model in {"eager", "script"} else VECTOR).status_code == 200


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
    ours, plain = (requests.post(each, data=VECTOR, timeout=TIMEOUT) for each in (url, f"{url}-plain"))
    assert ours.json() == {"class": 1, "explained": True}
    assert seen(ours) == seen(plain)


def test_descriptions_are_the_victims_own(watched: Watched) -> None:
    url = f"{watched.server.management}/models/vector"
    ours, plain = (requests.get(f"{each}?customized=true", timeout=TIMEOUT) for each in (url, f"{url}-plain"))
    assert ours.status_code == plain.status_code == 200
    assert ours.json()[0].get("customizedMetadata") == plain.json()[0].get("customizedMetadata")


def test_a_batch_is_the_victims_own_whoever_is_in_it(watched: Watched) -> None:
    payloads = [VECTOR, b"0.5,0.1,0.1,0.1", VECTOR + b";teapot", VECTOR + b";raw"]
    with ThreadPoolExecutor(4) as pool:
        ours = list(pool.map(lambda each: watched.ask("vector", each), payloads))
        plain = list(pool.map(lambda each: watched.ask("vector-plain", each), payloads))
    assert [seen(each) for each in ours] == [seen(each) for each in plain]


def test_an_account_and_its_queries_are_written_down(watched: Watched) -> None:
    key = open_ledger(watched.uri).add_key("ada")
    before = time.time()
    for _ in range(3):
        assert same(watched, "vector", VECTOR, key).status_code == 200
    found = watched.records_of("ada", 3)
    assert len(found) == 3
    assert all(before - 1 <= each.at <= time.time() for each in found)
    assert [each.classes for each in found] == [(1,)] * 3
    assert len({each.costs for each in found}) == 1
    totals = watched.totals_of("ada", 3)
    assert totals.queries == 3
    assert totals.cost_micro == pytest.approx(3e6 * found[0].costs[0][0], abs=3)
    assert key not in watched.records.read_text()


def test_who_shows_no_key_is_recorded_as_nobody_and_never_charged(watched: Watched) -> None:
    before = len(watched.records_of("", 0))
    watched.ask("vector", VECTOR)
    assert len(watched.records_of("", before + 1)) == before + 1
    assert open_ledger(watched.uri).account("vector", "").totals.queries == 0


def test_the_records_say_what_they_were_measured_with(watched: Watched, twins: Mapping[str, Protected]) -> None:
    watched.ask("vector", VECTOR)
    made = Calibration.load(twins["vector"].calibration)
    name = meter_name(made.victim_sha256, made.parts, made.output, made.metrics)
    assert name in {each.meter for each in watched.records_of("", 1)}
    other = meter_name("f" * 64, made.parts, made.output, made.metrics)
    assert name != other


def test_grpc_is_answered_as_it_was(watched: Watched) -> None:
    ours, plain = (predict(watched.server.grpc, name, {"body": VECTOR}) for name in ("vector", "vector-plain"))
    assert ours == plain


def test_a_locked_ledger_keeps_nobody_waiting_and_nothing_is_lost(watched: Watched) -> None:
    key = open_ledger(watched.uri).add_key("bob")
    watched.ask("vector", VECTOR, key)
    with sqlite3.connect(watched.uri.removeprefix("sqlite:///"), isolation_level=None) as lock:
        lock.execute("BEGIN EXCLUSIVE")
        begun = time.monotonic()
        for _ in range(10):
            assert watched.ask("vector", VECTOR, key).status_code == 200
        took = time.monotonic() - begun
        time.sleep(2)
        lock.execute("ROLLBACK")
    # The ledger's own patience is a second for each.
    assert took < 5
    watched.ask("vector", VECTOR, key)
    assert watched.totals_of("bob", 12).queries == 12
    assert len(watched.records_of("bob", 12)) == 12


def test_records_that_cannot_be_written_are_no_obstacle_and_do_not_flood_the_log(watched: Watched) -> None:
    away = watched.records.with_name("away.jsonl")
    watched.records_of("", 1)
    watched.records.rename(away)
    watched.records.mkdir()
    said = watched.server.log().count("queries are not recorded")
    for _ in range(30):
        assert same(watched, "vector", VECTOR).status_code == 200
    time.sleep(1)
    assert watched.server.log().count("queries are not recorded") - said <= 2
    watched.records.rmdir()
    watched.ask("vector", VECTOR)
    assert len(watched.records_of("", 1)) >= 1


def test_a_worker_that_is_killed_leaves_a_file_that_can_be_read(watched: Watched) -> None:
    (pid,) = watched.server.worker_pids("vector")
    with ThreadPoolExecutor(8) as pool:
        pending = [pool.submit(watched.ask, "vector", VECTOR) for _ in range(200)]
        time.sleep(0.1)
        os.kill(pid, signal.SIGKILL)
        statuses = {each.result().status_code for each in pending}
    assert 200 in statuses
    assert not statuses & {401, 402, 403, 429}
    deadline = time.monotonic() + 60
    while watched.server.worker_pids("vector") in ([], [pid]) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert same(watched, "vector", VECTOR).status_code == 200
    watched.recorded()


def test_what_was_recorded_is_what_is_calibrated_with(
    watched: Watched, twins: Mapping[str, Protected], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    asked: list[tuple[bytes, str]] = []
    for number in range(14):
        key = open_ledger(watched.uri).add_key(f"user{number}")
        for label in range(4):
            for vector in rng.random((9, 4)) + 3 * np.eye(4)[label]:
                asked.append((",".join(f"{value:.3f}" for value in vector).encode(), key))
    with ThreadPoolExecutor(8) as pool:
        assert {each.status_code for each in pool.map(lambda each: watched.ask("vector", *each), asked)} == {200}
    assert sum(len(watched.records_of(f"user{number}", 36)) for number in range(14)) == len(asked)
    for label in range(4):
        (tmp_path / "data" / str(label)).mkdir(parents=True)
        payload = ",".join(str(value) for value in np.eye(4)[label])
        (tmp_path / "data" / str(label) / "one.txt").write_text(payload)
    part, output = twins["vector"], tmp_path / "calibration.json"
    words = ["--victim", part.victim, "--ensemble", part.teachers, "--data", tmp_path / "data", "--metric", "pate"]
    command = ["calibrate", *words, "--from-records", watched.records, "--output", output]
    assert main([str(word) for word in command]) == 0
    assert "accounts" in capsys.readouterr().out.splitlines()[0]
    made = Calibration.load(output)
    assert int(made.provenance["recorded_accounts"]) >= 14
    assert int(made.provenance["recorded_queries"]) >= len(asked)
    assert "accounts as recorded" in {each.name for each in made.evidence.profiles}
    assert "answer_accuracy" not in made.provenance
    other = [*command[:-2], "--output", str(output), "--rdp-order", "20"]
    assert main([str(word) for word in other]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "was measured with" in said


def test_a_ledger_that_is_gone_is_no_obstacle(watched: Watched) -> None:
    """Last: the workers go on without it."""
    key = open_ledger(watched.uri).add_key("eve")
    for file in Path(watched.uri.removeprefix("sqlite:///")).parent.glob("ledger.db*"):
        file.unlink()
    for _ in range(3):
        assert same(watched, "vector", VECTOR, key).status_code == 200
    log = watched.server.log()
    assert "observing vector, nobody is blocked, records go to" in log


def test_an_archive_says_what_it_does(twins: Mapping[str, Protected], tmp_path: Path) -> None:
    part = twins["vector"]
    made = build(Order(part.victim, part.teachers, part.calibration, tmp_path, "m", mode="observe", records="/r.jsonl"))
    with zipfile.ZipFile(made) as archive:
        archive.extractall(tmp_path / "out")
    config = GateConfig.read(tmp_path / "out")
    assert (config.mode, config.records) == (Mode.observe, "/r.jsonl")
    with pytest.raises(GateMisconfigured, match=r"records\.jsonl is relative"):
        build(
            Order(part.victim, part.teachers, part.calibration, tmp_path, "n", mode="observe", records="records.jsonl")
        )
    with pytest.raises(ArchiveError, match="--records is for --mode observe"):
        build(Order(part.victim, part.teachers, part.calibration, tmp_path, "n", records="/r.jsonl"))


def test_records_go_where_was_said_else_where_the_environment_says_else_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    monkeypatch.delenv("CALPOW_RECORDS", raising=False)
    assert shared_path(None) == Path("/home/ada/.calpow/records.jsonl")
    monkeypatch.setenv("CALPOW_RECORDS", "/var/r.jsonl")
    assert shared_path(None) == Path("/var/r.jsonl")
    assert shared_path("/given.jsonl") == Path("/given.jsonl")
    monkeypatch.setenv("CALPOW_RECORDS", "r.jsonl")
    with pytest.raises(GateMisconfigured, match="relative"):
        shared_path(None)
