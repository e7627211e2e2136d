"""`calpow calibrate` from end to end on a real TorchServe, and the timing behind it."""

import argparse
import contextlib
import dataclasses
import io
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from calpow.archiver.calibration import latency
from calpow.archiver.calibration.calibrator import LEAST_SHARE, calibrate
from calpow.archiver.calibration.fitting import ROOM, FittingError
from calpow.archiver.calibration.instrument import vote_settings
from calpow.archiver.calibration.latency import MeasuringError, measure_latency
from calpow.archiver.calibration.samples import price_folder
from calpow.archiver.calibration.solver_timing import (
    TimingError,
    mean_solving_seconds,
    measure_floor,
    measure_solver,
    reference_client,
)
from calpow.archiver.cli import calibrate as command
from calpow.archiver.cli.calibrate import Order, OrderError
from calpow.archiver.payloads import FolderError, read_folder
from calpow.archiver.teachers.training import Order as TeachersOrder
from calpow.archiver.teachers.training import train
from calpow.archiver.victim_archive import open_victim
from calpow.client.cli.main import main
from calpow.handler.config import file_sha256
from calpow.handler.leakage.gnmax.accountant import Accountant
from calpow.handler.leakage.output import OutputKind
from calpow.handler.leakage.score import Priced
from calpow.handler.ledger.ledger import Totals
from calpow.handler.policy.calibration_file import Calibration, CalibrationError, PolicyName, Rows
from calpow.handler.policy.policies import MICRO, SolverFit
from calpow.handler.policy.rehearsal_evidence import Role
from calpow.puzzle.profiles import PROFILES
from calpow.puzzle.solving.engines import has_fast
from tests.support.guarded import protect
from tests.support.victims.build import counting, json_lists, vector_class, vectors

TEACHERS = 5
CLIENT = reference_client(PROFILES["hashcash-sha1"].kind, fast=False)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A victim that knows vectors, its teachers, and held-out vectors of each class."""
    home = tmp_path_factory.mktemp("calibrate")
    vector_class(home, "victim")
    train(TeachersOrder(home / "victim.mar", vectors(home / "train"), home / "teachers.pt2", teachers=TEACHERS))
    rng = np.random.default_rng(0)
    for label in range(4):
        folder = home / "heldout" / str(label)
        folder.mkdir(parents=True)
        for number in range(30):
            vector = rng.random(4)
            vector[label] += 0.7
            (folder / f"{number}.txt").write_text(",".join(f"{value:.3f}" for value in vector))
    return home


def order(home: Path, output: Path, **changes: object) -> Order:
    members: dict[str, object] = {
        "victim": home / "victim.mar",
        "ensemble": home / "teachers.pt2",
        "data": home / "heldout",
        "output": output,
        **changes,
    }
    return Order(**members)  # type: ignore[arg-type]  # the test's own mapping


@dataclass(frozen=True)
class Run:
    """What `calpow calibrate` wrote and printed."""

    made: Calibration
    printed: str


@pytest.fixture(scope="module")
def run(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One run of the command, with paths relative to where the files are."""
    output = tmp_path_factory.mktemp("output") / "calibration.json"
    parser = argparse.ArgumentParser()
    command.add_command(parser.add_subparsers())
    words = ["calibrate", "--victim", "victim.mar", "--ensemble", "teachers.pt2", "--data", "heldout", "--output"]
    args = parser.parse_args([*words, str(output)])
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.chdir(home)
        assert args.run(args) == 0
    return Run(Calibration.load(output), printed.getvalue())


def test_the_file_says_what_it_was_measured_with(home: Path, run: Run) -> None:
    made = run.made
    assert made.policy is PolicyName.conditional
    assert made.victim_sha256 == file_sha256(home / "victim.mar")
    assert made.parts == {"teachers.pt2": file_sha256(home / "teachers.pt2")}
    assert (made.shape.classes, made.shape.input_shape) == (4, (4,))
    assert [metric.name.value for metric in made.metrics] == ["pate"]
    assert made.metrics[0].settings == {"sigma": TEACHERS / 25, "delta": 1e-5, "teachers": TEACHERS}
    assert made.output is OutputKind.logits
    assert made.rows == Rows(in_order=True, counted=False)
    assert "one at a time" not in run.printed
    assert made.provenance["samples"] == 120
    assert made.puzzle == PROFILES["hashcash-sha1"].kind
    assert made.provenance["puzzle"] == "hashcash-sha1"
    assert "hashes of hashcash-sha1" in run.printed


@pytest.mark.skipif(not has_fast(), reason="calpow[fast] is not installed")
def test_work_is_calibrated_in_the_seconds_of_the_fastest_client_and_the_owner_told_what_others_take(run: Run) -> None:
    facts = run.made.provenance
    assert facts["solver"] == "fast"
    # Vectors are answered in a few milliseconds: at this size half of a puzzle is the beginnings of its stamps.
    fast, python = run.made.floor_seconds, float(facts["floor_seconds_in_python"])
    assert python > 2 * fast
    assert f"that is with calpow[fast]; a client without it takes {1e3 * python:.2f} ms" in run.printed
    assert run.made.solver.hashes_per_second > 5e6


def test_legitimate_users_stay_within_twice_the_latency(run: Run) -> None:
    facts = run.made.provenance
    assert float(facts["conditional_users_99th_percentile_multiple"]) <= ROOM
    # The floor's puzzle was measured to take what the budget leaves; other load on the machine gets its share.
    latency = run.made.latency_seconds
    left = max(latency - float(facts["added_seconds"]), LEAST_SHARE * latency)
    assert run.made.floor_seconds == pytest.approx(left / ROOM, rel=0.5)
    assert "A query takes 99 of 100 honest users" in run.printed


@pytest.mark.parametrize("policy", list(PolicyName))
def test_an_account_like_the_data_pays_the_floor_and_a_thief_more(run: Run, policy: PolicyName) -> None:
    made = dataclasses.replace(run.made, policy=policy)
    n = 10_000
    honest = Totals(round(n * made.paper.slope * MICRO), 0, n)
    assert made.seconds(honest) == pytest.approx(made.floor_seconds, rel=0.01)
    # Every query of his costs the most there is; his answers are of all classes.
    highest = Accountant.epsilon_at(1e-5, TEACHERS / 25, TEACHERS).highest
    cost = torch.full((4, 1), highest, dtype=torch.float64)
    excess = float(made.excess(cost, torch.arange(4)).mean())
    thief = Totals(round(n * highest * MICRO), round(n * excess * MICRO), n)
    assert made.seconds(thief) > 2 * made.floor_seconds


def test_the_evidence_tells_honest_users_from_attackers(run: Run) -> None:
    evidence = run.made.evidence
    names = [each.name for each in evidence.profiles]
    assert names[:6] == ["uniform", "mixture", "class 0", "class 1", "class 2", "class 3"]
    assert {"noise", "blobs", "perturbed", "shuffled", "one stranger in five"} < set(names)
    honest = [each for each in evidence.profiles if each.role is Role.legitimate]
    assert all(each.work.high[-1] <= ROOM * 1.001 * evidence.horizon for each in honest)
    assert all(0 <= value <= 1 for each in evidence.profiles for value in each.auroc.values())


def test_costs_come_with_the_classes_and_groups_of_their_payloads(home: Path, tmp_path: Path) -> None:
    for label, name in ((0, "one/a.txt"), (0, "one/b.txt"), (0, "c.txt"), (1, "d.txt")):
        path = tmp_path / "data" / str(label) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("1,2,3,4")

    def price(inputs: Tensor) -> Priced:
        return Priced(inputs.sum(dim=1, keepdim=True).double(), inputs.argmax(dim=1))

    with open_victim(home / "victim.mar") as victim:
        samples = price_folder(victim, read_folder(tmp_path / "data"), price)
    assert samples.costs.tolist() == [[10.0]] * 4
    assert samples.labels.tolist() == [3] * 4
    assert samples.classes.tolist() == [0, 0, 0, 1]
    assert len(set(samples.groups[:3].tolist())) == 2
    assert samples.groups_per_class().tolist() == [2, 1]


def test_the_metrics_settings_are_in_the_papers_proportion() -> None:
    assert [vote_settings(teachers, None)["sigma"] for teachers in (50, 250)] == [2.0, 10.0]
    assert vote_settings(250, 20.0) == {"teachers": 250.0, "sigma": 10.0, "order": 20.0}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"budget": 1.0}, "--overhead-budget 1.0: give more than 1"),
        ({"horizon": 5}, "--horizon 5: give a number of queries from 100"),
        ({"metrics": ("pate", "pate")}, "names one twice"),
        ({"ensemble": None}, "metric pate needs --ensemble"),
        ({"metrics": ("entropy",)}, "--ensemble is for metric pate"),
        ({"puzzle": "argon2id"}, "--puzzle argon2id: give one of hashcash-sha1, hashcash-sha256, scrypt, scrypt-hard"),
    ],
)
def test_orders_that_make_no_sense_are_refused(
    home: Path, tmp_path: Path, changes: dict[str, object], said: str
) -> None:
    with pytest.raises(OrderError, match=said):
        order(home, tmp_path / "c.json", **changes)


def test_teachers_of_another_victim_are_refused(home: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    victim = vector_class(tmp_path / "other", "victim", batched=True)
    with pytest.raises(CalibrationError, match="trained for another victim"):
        calibrate(order(home, tmp_path / "c.json", victim=victim))


def test_data_of_other_classes_are_refused(home: Path, tmp_path: Path) -> None:
    shutil.copytree(home / "heldout", tmp_path / "data")
    (tmp_path / "data" / "3").rename(tmp_path / "data" / "cat")
    with pytest.raises(CalibrationError, match=r"classes 0, 1, 2, cat, the teachers were trained on 0, 1, 2, 3"):
        calibrate(order(home, tmp_path / "c.json", data=tmp_path / "data"))


def test_too_few_payloads_are_refused_in_one_line(home: Path, tmp_path: Path) -> None:
    for label in range(4):
        folder = tmp_path / "data" / str(label)
        folder.mkdir(parents=True)
        (folder / "0.txt").write_text("1,2,3,4")
    with pytest.raises(FittingError, match=r"\Aclass 0 has 1 .* at least 10\Z"):
        calibrate(order(home, tmp_path / "c.json", data=tmp_path / "data"))
    assert not (tmp_path / "c.json").exists()


def test_a_payload_the_victim_cannot_read_is_named(home: Path, tmp_path: Path) -> None:
    shutil.copytree(home / "heldout", tmp_path / "data")
    (tmp_path / "data" / "0" / "5.txt").write_text("no vector")
    with pytest.raises(FolderError, match=r"5\.txt"):
        calibrate(order(home, tmp_path / "c.json", data=tmp_path / "data"))


def test_puzzles_of_scrypt_are_calibrated_by_what_scrypt_takes(home: Path, tmp_path: Path) -> None:
    made = calibrate(order(home, tmp_path / "c.json", puzzle="scrypt", budget=10.0))
    assert made.puzzle == PROFILES["scrypt"].kind
    assert (made.provenance["puzzle"], made.provenance["solver"]) == ("scrypt", "scrypt")
    assert 500 < made.solver.hashes_per_second < 50_000
    floor = made.solver.work(made.floor_seconds)
    assert floor / made.solver.hashes_per_second == pytest.approx(made.floor_seconds, rel=0.5)


def test_a_victim_of_lists_is_calibrated_by_sample_and_the_owner_told_that_its_requests_run_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    for label in range(4):
        folder = tmp_path / "heldout" / str(label)
        folder.mkdir(parents=True)
        for number in range(12):
            vectors = (rng.random((1 + number % 3, 4)) + 3 * np.eye(4)[label]).tolist()
            document = vectors if number % 2 else {"instances": vectors}
            (folder / f"{number}.json").write_text(json.dumps(document))
    words = ["--victim", json_lists(tmp_path), "--data", tmp_path / "heldout", "--output", tmp_path / "c.json"]
    assert main(["calibrate", *map(str, words), "--metric", "entropy", "--horizon", "1000"]) == 0
    made = Calibration.load(tmp_path / "c.json")
    assert made.rows == Rows(in_order=False, counted=True)
    assert made.provenance["samples"] == 4 * (4 * 1 + 4 * 2 + 4 * 3)
    assert "the samples of a batch cannot be told apart: requests run one at a time" in capsys.readouterr().out


def test_a_puzzle_whose_least_takes_longer_than_is_left_is_refused() -> None:
    hard = reference_client(PROFILES["scrypt-hard"].kind, fast=False)
    solver = SolverFit(0.0, 400.0)
    with pytest.raises(TimingError, match=r"least puzzle of scrypt takes .* ms here, and .* may solve for"):
        measure_floor(hard, 0.0005, solver)


def test_the_fast_reference_client_must_be_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = [PROFILES[name].kind for name in ("hashcash-sha1", "scrypt")]
    if has_fast():
        assert [reference_client(kind, fast=True).engine.name for kind in kinds] == ["fast", "scrypt"]
    monkeypatch.setattr("calpow.puzzle.solving.engines.has_fast", lambda: False)
    with pytest.raises(TimingError, match=r"pip install 'calpow\[fast\]'"):
        reference_client(kinds[0], fast=True)
    assert reference_client(kinds[1], fast=True).engine.name == "scrypt"
    assert reference_client(kinds[0], fast=False).engine.name == "python"


def test_an_output_that_cannot_be_is_refused_before_anything_is_measured(home: Path, tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match="--output"):
        calibrate(order(home, tmp_path / "nowhere" / "c.json", victim=tmp_path / "no.mar"))


def test_a_victim_that_refuses_its_payloads_is_not_timed(home: Path, tmp_path: Path) -> None:
    payload = tmp_path / "p.txt"
    payload.write_text("no vector")
    with pytest.raises(MeasuringError, match=r"answers \d+ to .*p\.txt"):
        measure_latency(home / "victim.mar", home / "victim.mar", CLIENT.kind, [payload], 0)


def test_a_payload_of_more_samples_than_it_shows_is_timed_once_its_price_is_known(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing tells the gate of the samples but its pass: it withholds the first answer and asks for the rest."""
    monkeypatch.setattr(latency, "REQUESTS", 10)
    monkeypatch.setattr(latency, "WARM_UP_SECONDS", 0.5)
    victim = counting(tmp_path, "counting", workers=1, batch=1)
    (tmp_path / "guarded").mkdir()
    parts = protect(tmp_path / "guarded", "counting", victim, home / "teachers.pt2")
    payload = tmp_path / "payload.txt"
    payload.write_text("\n".join(["0.1,0.9,0.2,0.3"] * 7))
    took = measure_latency(victim, parts.guarded, CLIENT.kind, [payload], 0)
    assert took.requests == 10
    assert 0 < took.low <= took.median <= took.high


def test_the_solvers_line_predicts_solving_times() -> None:
    solver = measure_solver(CLIENT)
    assert 0 <= solver.start_seconds < 0.001
    for work in (2.0**12, 2.0**15, 2.0**18):
        assert mean_solving_seconds(CLIENT, work) == pytest.approx(solver.seconds(work), rel=0.8)


@pytest.mark.skipif(not has_fast(), reason="calpow[fast] is not installed")
def test_the_fast_client_gets_no_discount_between_the_floor_and_a_second() -> None:
    fast = reference_client(CLIENT.kind, fast=True)
    fitted = measure_solver(fast)
    floor = measure_floor(fast, 0.001, fitted)
    solver = floor.on(fitted)
    assert solver.work(floor.seconds) == pytest.approx(floor.work)
    for multiple in (10, 50, 200):
        taken = mean_solving_seconds(fast, solver.work(multiple * floor.seconds))
        # Room for other load on the machine; bits that were linear in log seconds gave a fifth and less.
        assert 0.4 < taken / (multiple * floor.seconds) < 2.5


def test_the_floors_puzzle_takes_the_seconds_wanted_whatever_the_line_says() -> None:
    wrong = SolverFit(0.0, 1e5)
    floor = measure_floor(CLIENT, 0.002, wrong)
    assert floor.seconds == pytest.approx(0.002, rel=0.5)
    assert floor.work > 1_000
