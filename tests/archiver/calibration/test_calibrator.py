"""`calpow calibrate` from end to end on a real TorchServe."""

import contextlib
import dataclasses
import hashlib
import io
import json
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest

from calpow.archiver.calibration import calibrator
from calpow.archiver.calibration.calibration_document import Calibration, Role
from calpow.archiver.calibration.calibrator import calibrate
from calpow.archiver.calibration.fitting import ROOM, FittedPaper, fit_paper
from calpow.archiver.calibration.order import CalibrationOrder
from calpow.archiver.calibration.timing import machine_times
from calpow.archiver.calibration.timing.latency import Latency
from calpow.archiver.calibration.timing.machine_times import LEAST_SHARE
from calpow.archiver.errors import FittingError, FolderError
from calpow.archiver.victim.fingerprint import fingerprint
from calpow.client.cli.main import main
from calpow.handler.config import file_sha256
from calpow.handler.errors import CalibrationError
from calpow.handler.leakage.gnmax.accountant import Accountant
from calpow.handler.leakage.specs import OutputKind, VictimShape
from calpow.handler.ledger.ledger import Totals
from calpow.handler.policy.calibrated_policy import BatchRows, PolicyName
from calpow.handler.policy.policies import MICRO
from calpow.puzzle.profiles import PROFILES
from calpow.puzzle.solving.engines import has_fast_engine
from tests.archiver.calibration.conftest import TEACHERS
from tests.support.quick_timing import quick_timing
from tests.support.victims.build import json_lists, random

pytestmark = [pytest.mark.server, pytest.mark.training]


def order(home: Path, output: Path, **changes: object) -> CalibrationOrder:
    members: dict[str, object] = {
        "victim": home / "victim.mar",
        "ensemble": home / "teachers.pt",
        "data": home / "heldout",
        "output": output,
        **changes,
    }
    return CalibrationOrder(**members)  # type: ignore[arg-type]  # the test's own mapping


@dataclass(frozen=True)
class Run:
    """A run of `calpow calibrate`: the file it wrote and the lines it printed."""

    calibration: Calibration
    printed: str


@pytest.fixture(scope="module")
def run(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One run of the command, with all the timing it does and paths relative to where the files are."""
    output = tmp_path_factory.mktemp("output") / "calibration.json"
    words = ["--victim", "victim.mar", "--ensemble", "teachers.pt", "--data", "heldout", "--output", str(output)]
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.chdir(home)
        assert main(["calibrate", *words]) == 0
    return Run(Calibration.load(output), printed.getvalue())


def test_the_file_says_what_it_was_measured_with(home: Path, run: Run) -> None:
    policy, provenance = run.calibration.policy, run.calibration.measurement.provenance
    assert policy.name is PolicyName.conditional
    assert policy.victim_sha256 == fingerprint(home / "victim.mar")
    assert policy.parts == {"teachers.pt": file_sha256(home / "teachers.pt")}
    assert policy.shape == VictimShape(4, (4,), "float32", "layer")
    assert [score.name.value for score in policy.scores] == ["pate"]
    assert policy.scores[0].settings == {"sigma": TEACHERS / 25, "delta": 1e-5, "teachers": TEACHERS}
    assert policy.output is OutputKind.logits
    assert policy.rows == BatchRows(in_order=True, counted=False)
    assert "one at a time" not in run.printed
    assert provenance["samples"] == 120
    assert policy.puzzle == PROFILES["hashcash-sha1"].kind
    assert provenance["puzzle"] == "hashcash-sha1"
    assert "hashes of hashcash-sha1" in run.printed


@pytest.mark.skipif(not has_fast_engine(), reason="calpow[fast] is not installed")
def test_work_is_calibrated_in_the_seconds_of_the_fastest_client_and_the_owner_told_what_others_take(run: Run) -> None:
    facts = run.calibration.measurement.provenance
    assert facts["solver"] == "fast"
    # Vectors are answered in a few milliseconds: at this size half of a puzzle is the beginnings of its stamps.
    fast, python = run.calibration.policy.floor_seconds, float(facts["floor_seconds_in_python"])
    assert python > 2 * fast
    assert f"that is with calpow[fast]; a client without it takes {1e3 * python:.2f} ms" in run.printed


def test_legitimate_users_stay_within_twice_the_latency(run: Run) -> None:
    facts = run.calibration.measurement.provenance
    assert float(facts["conditional_users_99th_percentile_multiple"]) <= ROOM
    # The floor's puzzle was measured to take what the budget leaves; other load on the machine gets its share.
    latency = run.calibration.measurement.latency_seconds
    left = max(latency - run.calibration.measurement.added_seconds, LEAST_SHARE * latency)
    assert run.calibration.policy.floor_seconds == pytest.approx(left / ROOM, rel=0.5)
    assert "Honest users: 99 of 100 of every kind pay at most" in run.printed


@pytest.mark.parametrize("name", list(PolicyName))
def test_an_account_like_the_data_pays_the_floor_and_a_thief_more(run: Run, name: PolicyName) -> None:
    policy = dataclasses.replace(run.calibration.policy, name=name)
    n = 10_000
    honest = Totals(round(n * policy.paper.slope * MICRO), 0, n)
    assert policy.seconds(honest) == pytest.approx(policy.floor_seconds, rel=0.01)
    # Every query of his costs the most there is; his answers are of all classes.
    highest = Accountant.epsilon_at(1e-5, TEACHERS / 25, TEACHERS).highest
    excess = fmean(policy.conditional.excess((highest,), label) for label in range(4))
    thief = Totals(round(n * highest * MICRO), round(n * excess * MICRO), n)
    assert policy.seconds(thief) > 2 * policy.floor_seconds


def test_the_evidence_tells_honest_users_from_attackers(run: Run) -> None:
    evidence = run.calibration.rehearsal
    names = [profile.name for profile in evidence.profiles]
    assert names[:6] == ["uniform", "mixture", "class 0", "class 1", "class 2", "class 3"]
    assert {"noise", "blobs", "perturbed", "shuffled", "one stranger in five"} < set(names)
    honest = [profile for profile in evidence.profiles if profile.role is Role.legitimate]
    assert all(profile.work.high[-1] <= ROOM * 1.001 * evidence.horizon for profile in honest)
    assert all(0 <= value <= 1 for profile in evidence.profiles for value in profile.auroc.values())


def test_puzzles_of_scrypt_are_calibrated_by_what_scrypt_takes(home: Path, tmp_path: Path) -> None:
    with quick_timing():
        calibration = calibrate(order(home, tmp_path / "c.json", puzzle="scrypt", budget=10.0))
    policy, provenance = calibration.policy, calibration.measurement.provenance
    assert policy.puzzle == PROFILES["scrypt"].kind
    assert (provenance["puzzle"], provenance["solver"]) == ("scrypt", "scrypt")
    floor = policy.solver.work(policy.floor_seconds)
    assert floor / policy.solver.hashes_per_second == pytest.approx(policy.floor_seconds, rel=0.5)


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
    with quick_timing():
        assert main(["calibrate", *map(str, words), "--metric", "entropy", "--horizon", "1000"]) == 0
    calibration = Calibration.load(tmp_path / "c.json")
    assert calibration.policy.rows == BatchRows(in_order=False, counted=True)
    assert calibration.measurement.provenance["samples"] == 4 * (4 * 1 + 4 * 2 + 4 * 3)
    assert "the samples of a batch cannot be told apart: requests run one at a time" in capsys.readouterr().out


def test_a_victim_that_is_replaced_meanwhile_is_calibrated_as_it_was(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim = Path(shutil.copyfile(home / "victim.mar", tmp_path / "victim.mar"))
    expected, whole = fingerprint(victim), file_sha256(victim)
    measured: list[str] = []

    def replace_and_fit(*arguments: object) -> FittedPaper:
        victim.write_bytes(b"another")
        return fit_paper(*arguments)  # type: ignore[arg-type]  # passed on as they are

    def measure(plain: Path, protected: Path, *others: object) -> Latency:
        with zipfile.ZipFile(protected) as archive:
            measured.extend((file_sha256(plain), hashlib.sha256(archive.read("victim.mar")).hexdigest()))
        return Latency(median=0.004, low=0.003, high=0.005, requests=20, added=0.001)

    monkeypatch.setattr(calibrator, "fit_paper", replace_and_fit)
    monkeypatch.setattr(machine_times, "measure_latency", measure)
    with quick_timing():
        calibration = calibrate(order(home, tmp_path / "c.json", victim=victim, horizon=100))
    assert calibration.policy.victim_sha256 == expected
    assert measured == [whole, whole]


def test_teachers_of_another_victim_are_refused(home: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    victim = random(tmp_path / "other", "victim")
    with pytest.raises(CalibrationError, match="trained for another victim"):
        calibrate(order(home, tmp_path / "c.json", victim=victim))


def test_data_of_other_classes_are_refused(home: Path, tmp_path: Path) -> None:
    shutil.copytree(home / "heldout", tmp_path / "data")
    (tmp_path / "data" / "3").rename(tmp_path / "data" / "cat")
    with pytest.raises(CalibrationError, match=r"classes 0, 1, 2, cat, the teachers were trained on 0, 1, 2, 3"):
        calibrate(order(home, tmp_path / "c.json", data=tmp_path / "data"))


def test_classes_in_another_order_than_the_teachers_need_the_same_option(home: Path, tmp_path: Path) -> None:
    (tmp_path / "classes.json").write_text('["3", "2", "1", "0"]')
    with pytest.raises(CalibrationError, match=r"order 3, 2, 1, 0, .* on 0, 1, 2, 3: give the same --classes here"):
        calibrate(order(home, tmp_path / "c.json", classes=tmp_path / "classes.json"))


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


def test_an_output_that_cannot_be_is_refused_before_anything_is_measured(home: Path, tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match="--output"):
        calibrate(order(home, tmp_path / "nowhere" / "c.json", victim=tmp_path / "no.mar"))
