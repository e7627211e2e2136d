"""`calpow calibrate` from end to end: the fitted policy, its evidence, and what is refused."""

import contextlib
import hashlib
import io
import json
import math
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from calpow.archiver.calibration import calibrator
from calpow.archiver.calibration.calibration_document import Calibration, Role
from calpow.archiver.calibration.calibrator import (
    CLASS_MIX_BUDGET,
    calibrate,
)
from calpow.archiver.calibration.judgement import scores_in_use
from calpow.archiver.calibration.order import CalibrationOrder
from calpow.archiver.calibration.policy_fit.paper_fit import FittedPaper, fit_paper
from calpow.archiver.calibration.timing import machine_times
from calpow.archiver.errors import FittingError, FolderError, OrderError
from calpow.archiver.victim.fingerprint import fingerprint
from calpow.client.cli.main import main
from calpow.handler.config import file_sha256
from calpow.handler.errors import CalibrationError
from calpow.handler.leakage.specs import OutputKind, ScoreName, VictimShape
from calpow.handler.ledger.history import NO_HISTORY
from calpow.handler.policy.calibrated_policy import BatchRows, CalibratedPolicy, PolicyName
from calpow.puzzle.profiles import PROFILES
from calpow.puzzle.solving.engines import has_fast_engine
from tests.archiver.calibration.conftest import TEACHERS
from tests.support.calibrations import identity
from tests.support.quick_timing import Untimed, quick_timing
from tests.support.victims.build import json_lists, random


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
    """One run of the command, with paths relative to where the files are."""
    output = tmp_path_factory.mktemp("output") / "calibration.json"
    words = ["--victim", "victim.mar", "--ensemble", "teachers.pt", "--data", "heldout", "--output", str(output)]
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.chdir(home)
        with quick_timing():
            assert main(["calibrate", *words]) == 0
    return Run(Calibration.load(output), printed.getvalue())


def log_multiple(policy: CalibratedPolicy, scores: list[float], queries: int) -> float:
    """Return the log of the multiple that an account pays after so many samples of class 0 with these scores."""
    history = NO_HISTORY
    for number in range(queries):
        charge = policy.evidence.charge(scores, 0, identity(str(number)))
        history = policy.evidence.after(history, charge)
    return min(policy.evidence.log_multiple(history), math.log(policy.cap))


@pytest.mark.server
@pytest.mark.training
class TestOneRun:
    """One run of the command on a real TorchServe."""

    def test_the_file_says_what_it_was_measured_with(self, home: Path, run: Run) -> None:
        policy, provenance = run.calibration.policy, run.calibration.measurement.provenance
        assert policy.name is PolicyName.evidence
        assert policy.victim_sha256 == fingerprint(home / "victim.mar")
        assert policy.parts == {"teachers.pt": file_sha256(home / "teachers.pt")}
        assert policy.shape == VictimShape(4, (4,), "float32", "layer")
        assert policy.scores[0].name is ScoreName.pate
        assert policy.scores[0].settings == {"sigma": TEACHERS / 25, "delta": 1e-5, "teachers": TEACHERS}
        assert policy.output is OutputKind.logits
        assert policy.rows == BatchRows(in_order=True, counted=False)
        assert "one at a time" not in run.printed
        assert provenance["samples"] == 120
        assert provenance["puzzle"] == "hashcash-sha1"
        assert policy.puzzle.algorithm == PROFILES["hashcash-sha1"].kind.algorithm
        assert "hashes of hashcash-sha1" in run.printed

    def test_a_worker_computes_the_scores_that_are_bet_on_and_no_others(self, run: Run) -> None:
        policy = run.calibration.policy
        used = {0, *(scale.score for scale in policy.evidence.scales)}
        used |= {test.score for test in policy.evidence.tests if test.score is not None}
        assert used == set(range(len(policy.scores)))
        assert 1 <= len(policy.evidence.tests) <= 5

    @pytest.mark.skipif(not has_fast_engine(), reason="calpow[fast] is not installed")
    def test_work_is_in_the_seconds_of_the_fastest_client_and_the_owner_told_what_others_take(self, run: Run) -> None:
        facts = run.calibration.measurement.provenance
        assert facts["solver"] == "fast"
        in_python, policy = float(facts["floor_seconds_in_python"]), run.calibration.policy
        told = f"a client without it takes {1e3 * in_python:.2f} ms" in run.printed
        assert told == (in_python > policy.floor_seconds)

    def test_an_ordinary_account_pays_the_floor_and_an_odd_one_the_cap(self, run: Run) -> None:
        policy = run.calibration.policy
        thresholds = {test.score: test.high[0] for test in policy.evidence.tests}
        odd = [max(thresholds.get(score, (0.0,)), default=0.0) + 1.0 for score in range(len(policy.scores))]
        calm = {
            test.score: (test.high[0][0] + (-test.low[0][0] if test.low and test.low[0] else test.high[0][0] - 2)) / 2
            for test in policy.evidence.tests
            if test.high[0]
        }
        ordinary = [calm.get(score, 0.0) for score in range(len(policy.scores))]
        assert log_multiple(policy, ordinary, 60) == pytest.approx(0.0, abs=0.05)
        assert log_multiple(policy, odd, 300) > math.log(20)

    def test_the_cap_is_in_seconds(self, run: Run) -> None:
        policy = run.calibration.policy
        assert policy.cap * policy.floor_seconds == pytest.approx(60.0)

    def test_the_evidence_tells_honest_users_from_attackers(self, run: Run) -> None:
        evidence = run.calibration.rehearsal
        names = [profile.name for profile in evidence.profiles]
        assert names[:6] == ["uniform", "mixture", "class 0", "class 1", "class 2", "class 3"]
        assert {"noise", "blobs", "perturbed", "shuffled", "gaussian"} < set(names)
        assert evidence.tolerated == ("noise",)
        assert set(evidence.intolerant) == set(names)
        unchanged = [profile.dearest for profile in evidence.honest if not profile.kind]
        assert max(unchanged) <= 1.25 * CLASS_MIX_BUDGET
        assert all(profile.figures is not None for profile in evidence.attackers)
        assert all(0 <= value <= 1 for profile in evidence.profiles for value in profile.auroc.values())
        assert all(profile.role is Role.attacker for profile in evidence.profiles if profile.own_data)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the latency of the victim for known: what it is measured by has tests of its own."""
    monkeypatch.setattr(machine_times, "side_by_side", lambda *_: contextlib.nullcontext(Untimed()))


@pytest.mark.training
def test_the_options_of_the_owner_are_followed(home: Path, tmp_path: Path, quick: None) -> None:
    notes: list[str] = []
    chosen = order(home, tmp_path / "c.json", scores=("energy", "norm"), tolerate=(), cap_seconds=10.0, horizon=1_000)
    with quick_timing():
        calibration = calibrate(chosen, notes.append)
    policy, rehearsal = calibration.policy, calibration.rehearsal
    assert [score.label for score in policy.scores[:1]] == ["pate"]
    assert set(scores_in_use(policy)) == {"energy", "norm"}
    assert policy.cap * policy.floor_seconds == pytest.approx(10.0)
    assert (rehearsal.tolerated, rehearsal.intolerant) == ((), {})
    assert rehearsal.horizon == rehearsal.checkpoints[-1] == 1_000
    facts = calibration.measurement.provenance
    assert (facts["scores"], facts["tolerate"], facts["cap_seconds"]) == ("energy norm", "none", 10.0)
    assert not any(note.startswith("note: score") for note in notes)


@pytest.mark.training
def test_the_papers_policy_sums_pate(home: Path, tmp_path: Path, quick: None) -> None:
    with quick_timing():
        calibration = calibrate(order(home, tmp_path / "c.json", policy="paper", tolerate=(), horizon=1_000))
    assert calibration.policy.name is PolicyName.paper
    assert calibration.policy.paper.slope == pytest.approx(float(calibration.measurement.provenance["mean_cost"]))
    assert calibration.rehearsal.score_name == "summed cost above the baseline"


def rotations(folder: Path) -> Path:
    """Return a folder of one vector turned round, with the largest number at the place of the class."""
    for label in range(4):
        (folder / str(label)).mkdir(parents=True)
        text = ",".join(map(str, np.roll([4, 1, 2, 3], label).tolist()))
        for number in range(12):
            (folder / str(label) / f"{number}.txt").write_text(text)
    return folder


@pytest.mark.training
@pytest.mark.parametrize("scores", [("entropy", "norm"), ()])
def test_scores_that_are_the_same_for_every_sample_are_refused_in_one_line(
    home: Path, tmp_path: Path, scores: tuple[str, ...]
) -> None:
    data = rotations(tmp_path / "data")
    with pytest.raises(FittingError, match=r"\Ascore .* for every legitimate sample, and tells nobody apart: .*\Z"):
        calibrate(order(home, tmp_path / "c.json", ensemble=None, data=data, scores=scores, tolerate=()))


@pytest.mark.training
def test_a_change_of_images_is_refused_for_vectors(home: Path, tmp_path: Path) -> None:
    with pytest.raises(OrderError, match=r"\A--tolerate flip: flips are for images, and the model takes .*\Z"):
        calibrate(order(home, tmp_path / "c.json", tolerate=("flip",)))


@pytest.mark.training
def test_puzzles_of_scrypt_are_calibrated_by_what_scrypt_takes(home: Path, tmp_path: Path, quick: None) -> None:
    with quick_timing():
        calibration = calibrate(
            order(home, tmp_path / "c.json", puzzle="scrypt", budget=10.0, tolerate=(), horizon=1_000)
        )
    policy, provenance = calibration.policy, calibration.measurement.provenance
    assert policy.puzzle.algorithm == PROFILES["scrypt"].kind.algorithm
    assert (provenance["puzzle"], provenance["solver"]) == ("scrypt", "scrypt")
    floor = policy.solver.work(policy.floor_seconds)
    assert floor / policy.solver.hashes_per_second == pytest.approx(policy.floor_seconds, rel=0.5)


@pytest.mark.server
@pytest.mark.training
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
        assert main(["calibrate", *map(str, words), "--scores", "entropy", "--horizon", "1000"]) == 0
    calibration = Calibration.load(tmp_path / "c.json")
    assert calibration.policy.rows == BatchRows(in_order=False, counted=True)
    assert calibration.measurement.provenance["samples"] == 4 * (4 * 1 + 4 * 2 + 4 * 3)
    assert "the samples of a batch cannot be told apart: requests run one at a time" in capsys.readouterr().out


@pytest.mark.training
def test_a_victim_that_is_replaced_meanwhile_is_calibrated_as_it_was(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim = Path(shutil.copyfile(home / "victim.mar", tmp_path / "victim.mar"))
    expected, whole = fingerprint(victim), file_sha256(victim)
    measured: list[str] = []

    def replace_and_fit(*arguments: object) -> FittedPaper:
        victim.write_bytes(b"another")
        return fit_paper(*arguments)  # type: ignore[arg-type]  # passed on as they are

    def side_by_side(plain: Path, protected: Path, *others: object) -> contextlib.AbstractContextManager[Untimed]:
        with zipfile.ZipFile(protected) as archive:
            measured.extend((file_sha256(plain), hashlib.sha256(archive.read("victim.mar")).hexdigest()))
        return contextlib.nullcontext(Untimed())

    monkeypatch.setattr(calibrator, "fit_paper", replace_and_fit)
    monkeypatch.setattr(machine_times, "side_by_side", side_by_side)
    with quick_timing():
        calibration = calibrate(order(home, tmp_path / "c.json", victim=victim, horizon=100))
    assert calibration.policy.victim_sha256 == expected
    assert measured == [whole, whole]


@pytest.mark.training
def test_teachers_of_another_victim_are_refused(home: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    victim = random(tmp_path / "other", "victim")
    with pytest.raises(CalibrationError, match="trained for another victim"):
        calibrate(order(home, tmp_path / "c.json", victim=victim))


@pytest.mark.training
def test_data_of_other_classes_are_refused(home: Path, tmp_path: Path) -> None:
    shutil.copytree(home / "heldout", tmp_path / "data")
    (tmp_path / "data" / "3").rename(tmp_path / "data" / "cat")
    with pytest.raises(CalibrationError, match=r"classes 0, 1, 2, cat, the teachers were trained on 0, 1, 2, 3"):
        calibrate(order(home, tmp_path / "c.json", data=tmp_path / "data"))


@pytest.mark.training
def test_the_data_that_the_teachers_were_trained_on_are_refused(home: Path, tmp_path: Path) -> None:
    shutil.copytree(home / "train", tmp_path / "copy")
    with pytest.raises(CalibrationError, match=r"\Athe data is what the teachers were trained on.* held-out data"):
        calibrate(order(home, tmp_path / "c.json", data=tmp_path / "copy"))


@pytest.mark.training
def test_classes_in_another_order_than_the_teachers_need_the_same_option(home: Path, tmp_path: Path) -> None:
    (tmp_path / "classes.json").write_text('["3", "2", "1", "0"]')
    with pytest.raises(CalibrationError, match=r"order 3, 2, 1, 0, .* on 0, 1, 2, 3: give the same --classes here"):
        calibrate(order(home, tmp_path / "c.json", classes=tmp_path / "classes.json"))


@pytest.mark.training
def test_too_few_payloads_are_refused_in_one_line(home: Path, tmp_path: Path) -> None:
    for label in range(4):
        folder = tmp_path / "data" / str(label)
        folder.mkdir(parents=True)
        (folder / "0.txt").write_text("1,2,3,4")
    with pytest.raises(FittingError, match=r"\Aclass 0 has 1 .* at least 10\Z"):
        calibrate(order(home, tmp_path / "c.json", data=tmp_path / "data"))
    assert not (tmp_path / "c.json").exists()


@pytest.mark.training
def test_a_payload_the_victim_cannot_read_is_named(home: Path, tmp_path: Path) -> None:
    shutil.copytree(home / "heldout", tmp_path / "data")
    (tmp_path / "data" / "0" / "5.txt").write_text("no vector")
    with pytest.raises(FolderError, match=r"5\.txt"):
        calibrate(order(home, tmp_path / "c.json", data=tmp_path / "data"))


@pytest.mark.training
def test_an_output_that_cannot_be_is_refused_before_anything_is_measured(home: Path, tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match="--output"):
        calibrate(order(home, tmp_path / "nowhere" / "c.json", victim=tmp_path / "no.mar"))
