"""Protected archives: self-contained, checked when they are built and again when they are loaded."""

import dataclasses
import json
import math
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from calpow.archiver import packaging
from calpow.archiver.calibration.calibration_document import Calibration
from calpow.archiver.errors import ArchiveError
from calpow.archiver.packaging import ArchiveOrder, build, needed_torch
from calpow.archiver.server import served
from calpow.archiver.teachers.export import write_ensemble
from calpow.archiver.victim.fingerprint import fingerprint
from calpow.handler.archive_parts import load_parts
from calpow.handler.config import OLDEST_TORCH, GateConfig, file_sha256, release
from calpow.handler.errors import GateMisconfigured, LedgerError, NoDistribution, VictimError
from calpow.handler.identity.ways import IdentityWay
from calpow.handler.leakage.specs import VictimShape
from calpow.handler.leakage.teachers.heads import NetworkEnsemble
from tests.support.ensembles import TEACHERS, ensemble_card
from tests.support.guarded import Protected, Site, protect, train_teachers
from tests.support.victims import build as victims

pytestmark = pytest.mark.training

STAYS_AWAY = 40.0


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Protected:
    """The parts of one good archive, whose victim has a configuration."""
    folder = tmp_path_factory.mktemp("parts")
    victim = victims.vector_class(folder, batched=True)
    return protect(folder, "guarded", victim, train_teachers(folder, victim, victims.vectors(folder / "vectors")))


def order(parts: Protected, folder: Path, **changes: object) -> ArchiveOrder:
    """An order of the good parts, with changes."""
    made = ArchiveOrder(parts.victim, parts.teachers, parts.calibration, folder, "model")
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type]  # the tests' own mapping


def recalibrated(good: Protected, folder: Path, **changes: object) -> Path:
    """The good calibration with changes."""
    path = folder / "calibration.json"
    calibration = Calibration.load(good.calibration)
    policy = dataclasses.replace(calibration.policy, **changes)  # type: ignore[arg-type]
    dataclasses.replace(calibration, policy=policy).save(path)
    return path


def test_an_archive_needs_nothing_but_what_it_holds(parts: Protected, tmp_path: Path) -> None:
    with zipfile.ZipFile(parts.guarded) as archive:
        archive.extractall(tmp_path)
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import calpow_gate_entry;"
        "found = {getattr(m, '__file__', None) or '' for n, m in sys.modules.items() if 'calpow' in n};"
        "print(*sorted(found), sep='\\n')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=tmp_path)
    files = [line for line in done.stdout.splitlines() if line]
    assert len(files) > 15
    assert all(Path(file).is_relative_to(tmp_path) for file in files)


def test_the_worker_needs_neither_scipy_nor_requests(parts: Protected, tmp_path: Path) -> None:
    with zipfile.ZipFile(parts.guarded) as archive:
        archive.extractall(tmp_path)
    program = (
        "import sys; sys.path.insert(0, '.')\n"
        "for name in ('scipy', 'requests', 'tqdm', 'sklearn', 'torchvision'): sys.modules[name] = None\n"
        "import calpow.handler.gate.gate, calpow.handler.observe.observer, calpow.handler.archive_parts\n"
        "import calpow.handler.pass_runner"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=tmp_path, capture_output=True)


def test_a_worker_without_numpy_ends_with_one_line_that_says_so(parts: Protected, tmp_path: Path) -> None:
    with zipfile.ZipFile(parts.guarded) as archive:
        archive.extractall(tmp_path)
        handler = json.loads(archive.read("MAR-INF/MANIFEST.json"))["model"]["handler"].partition(":")[0]
    program = f"import sys; sys.path.insert(0, '.'); sys.modules['numpy'] = None; import {handler.removesuffix('.py')}"
    ended = subprocess.run([sys.executable, "-c", program], check=False, cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode == 1
    # torch warns before it.
    said = "calpow: a worker needs numpy, which is not installed beside TorchServe: pip install numpy"
    assert ended.stderr.splitlines()[-1] == said


def test_an_archive_of_heads_needs_the_oldest_torch_and_says_so(parts: Protected, tmp_path: Path) -> None:
    with zipfile.ZipFile(parts.guarded) as archive:
        settings = json.loads(archive.read("calpow.json"))
    assert settings["torch"] == needed_torch(parts.teachers) == needed_torch(None) == OLDEST_TORCH


def test_an_archive_of_a_program_needs_the_torch_that_exported_it(tmp_path: Path) -> None:
    networks = NetworkEnsemble([nn.Sequential(nn.Flatten(), nn.Linear(64, 3)) for _ in range(TEACHERS)], 3)
    card = ensemble_card(trunk="none", network="net.py:small", epochs=2)
    write_ensemble(networks, card, None, tmp_path / "teachers.pt")
    assert release(needed_torch(tmp_path / "teachers.pt")) == release(torch.__version__) > release(OLDEST_TORCH)


@pytest.mark.parametrize("missing", ["victim", "ensemble", "calibration"])
def test_a_missing_part_is_named(parts: Protected, tmp_path: Path, missing: str) -> None:
    with pytest.raises(ArchiveError, match="nowhere does not exist"):
        build(order(parts, tmp_path, **{missing: tmp_path / "nowhere"}))


def test_an_archive_is_not_overwritten_unless_asked(parts: Protected, tmp_path: Path) -> None:
    first = build(order(parts, tmp_path))
    with pytest.raises(ArchiveError, match="--force"):
        build(order(parts, tmp_path))
    assert build(order(parts, tmp_path, force=True)) == first


def test_the_victim_is_never_overwritten(parts: Protected) -> None:
    with pytest.raises(ArchiveError, match="the victim itself"):
        build(order(parts, parts.victim.parent, model_name=parts.victim.stem, force=True))


def test_what_is_no_archive_is_refused(parts: Protected, tmp_path: Path) -> None:
    bogus = tmp_path / "bogus.mar"
    bogus.write_bytes(b"PK not really")
    with pytest.raises(VictimError, match="torch-model-archiver"):
        build(order(parts, tmp_path, victim=bogus))


def test_paths_that_workers_read_count_from_where_the_command_was_called(
    parts: Protected, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    relative = {"ledger": "sqlite:///data/ledger.db", "records": "records.jsonl", "mode": "observe"}
    with zipfile.ZipFile(build(order(parts, Path(), **relative))) as archive:
        settings = json.loads(archive.read("calpow.json"))
    assert settings["ledger"] == f"sqlite:///{tmp_path}/data/ledger.db"
    assert settings["records"] == f"{tmp_path}/records.jsonl"


@pytest.mark.parametrize("uri", ["sqlite:////var/ledger.db", "sqlite:///~/ledger.db"])
def test_a_ledger_that_is_the_same_everywhere_is_archived_as_it_was_given(
    parts: Protected, tmp_path: Path, uri: str
) -> None:
    with zipfile.ZipFile(build(order(parts, tmp_path, ledger=uri))) as archive:
        assert json.loads(archive.read("calpow.json"))["ledger"] == uri


def test_an_archive_holds_no_password_of_a_ledger(parts: Protected, tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="CALPOW_LEDGER") as refused:
        build(order(parts, tmp_path, ledger="redis://:s3cret@host/0"))
    assert "s3cret" not in str(refused.value)


def test_a_ledger_that_no_backend_serves_is_refused(parts: Protected, tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="no ledger for"):
        build(order(parts, tmp_path, ledger="mysql://ledger"))


@pytest.mark.parametrize("setting", ["asyncCommunication", "continuousBatching", "parallelType"])
def test_ways_of_running_that_a_gate_cannot_guard_are_refused(parts: Protected, tmp_path: Path, setting: str) -> None:
    victim = tmp_path / "odd.mar"
    with zipfile.ZipFile(parts.victim) as source, zipfile.ZipFile(victim, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            target.writestr(name, f"{setting}: true\n".encode() if name == "model-config.yaml" else content)
    measured = recalibrated(parts, tmp_path, victim_sha256=fingerprint(victim))
    with pytest.raises(GateMisconfigured, match=setting):
        build(order(parts, tmp_path, victim=victim, calibration=measured))


def test_a_victim_without_a_model_is_refused(parts: Protected, tmp_path: Path) -> None:
    victim = victims.bare_function(tmp_path)
    measured = recalibrated(parts, tmp_path, victim_sha256=fingerprint(victim))
    with pytest.raises(VictimError, match="no model that can be followed"):
        build(order(parts, tmp_path, victim=victim, calibration=measured))
    assert not (tmp_path / "model.mar").exists()


def test_parts_that_do_not_fit_each_other_are_told_apart(parts: Protected, site: Site, tmp_path: Path) -> None:
    pictures = site.parts["eager"].teachers
    for changes, said in (
        ({"ensemble": pictures}, f"{parts.calibration}: the calibration was made with another teachers.pt"),
        (
            {"victim": site.parts["function"].victim},
            f"{parts.calibration}: the calibration was made for another victim",
        ),
    ):
        with pytest.raises(GateMisconfigured, match=said):
            build(order(parts, tmp_path, **changes))
    other = recalibrated(parts, tmp_path, shape=VictimShape(4, (5,), layer="other"))
    with pytest.raises(GateMisconfigured, match="layer layer, the calibration was made for other: calibrate again"):
        build(order(parts, tmp_path, calibration=other))


def test_data_of_other_classes_than_the_victims_is_refused_before_anything_is_archived(
    parts: Protected, tmp_path: Path
) -> None:
    data = victims.vectors(tmp_path / "data")
    shutil.rmtree(data / "3")
    with pytest.raises(NoDistribution, match="4 numbers a sample for 3 classes"):
        train_teachers(tmp_path, parts.victim, data)


def altered(good: Path, target: Path, name: str, alter: Callable[[bytes], bytes]) -> Path:
    """A copy of an archive with one file altered."""
    with zipfile.ZipFile(good) as source, zipfile.ZipFile(target, "w") as copy:
        for member in source.namelist():
            content = source.read(member)
            copy.writestr(member, alter(content) if member == name else content)
    return target


def test_a_worker_refuses_what_was_altered_after_packaging_with_one_line(parts: Protected, tmp_path: Path) -> None:
    def relative(content: bytes) -> bytes:
        return (json.dumps({**json.loads(content), "ledger": "sqlite:///here.db"})).encode()

    archives = {
        "victim": altered(parts.guarded, tmp_path / "a.mar", "victim.mar", lambda content: content + b"\0"),
        "calibration": altered(parts.guarded, tmp_path / "b.mar", "calibration.json", lambda content: b"{}"),
        "ensemble": altered(parts.guarded, tmp_path / "c.mar", "teachers.pt", lambda content: content[:-1]),
        "settings": altered(parts.guarded, tmp_path / "d.mar", "calpow.json", lambda content: b"{"),
        "ledger": altered(parts.guarded, tmp_path / "e.mar", "calpow.json", relative),
    }
    said = {
        "victim": "victim.mar was altered",
        "calibration": "calibration.json was altered",
        "ensemble": "teachers.pt was altered",
        "settings": "calpow.json cannot be read",
        "ledger": "give sqlite:////absolute/path",
    }
    with served(archives, wait=False) as server:
        deadline = time.monotonic() + STAYS_AWAY
        while time.monotonic() < deadline and not all(text in server.log() for text in said.values()):
            time.sleep(0.5)
        log = server.log()
        assert not any(server.worker_pids(model) for model in archives)
    for model, text in said.items():
        lines = [line for line in log.splitlines() if f"calpow: model {model} not loaded" in line]
        assert lines, model
        assert all(text in line for line in lines)
    assert "Traceback" not in log


def test_a_service_envelope_is_refused_with_one_line(parts: Protected) -> None:
    with served({"vector": parts.guarded}, properties={"service_envelope": "json"}, wait=False) as server:
        deadline = time.monotonic() + STAYS_AWAY
        while time.monotonic() < deadline and "not loaded" not in server.log():
            time.sleep(0.5)
        assert "the server sets service_envelope=json" in server.log()


def test_the_archives_settings_are_what_was_ordered(parts: Protected, tmp_path: Path) -> None:
    settings = {"ledger": "sqlite:////var/lib/calpow/ledger.db", "max_samples": 3, "explanation_factor": 2.5}
    made = build(order(parts, tmp_path, **settings, identity=("anonymous", "jwt")))
    with zipfile.ZipFile(made) as archive:
        archive.extractall(tmp_path / "out")
    config = GateConfig.read(tmp_path / "out")
    assert settings.items() <= dataclasses.asdict(config).items()
    assert config.identity == (IdentityWay.jwt, IdentityWay.anonymous)
    config.check_files(tmp_path / "out")


def test_a_victim_that_is_replaced_meanwhile_is_archived_as_it_was(
    parts: Protected, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim = tmp_path / "victim.mar"
    shutil.copyfile(parts.victim, victim)

    def replace_and_load(*arguments: object) -> object:
        victim.write_bytes(b"another")
        return load_parts(*arguments)  # type: ignore[arg-type]  # passed on as they are

    monkeypatch.setattr(packaging, "load_parts", replace_and_load)
    with zipfile.ZipFile(build(order(parts, tmp_path, victim=victim))) as archive:
        archive.extractall(tmp_path / "out")
    config = GateConfig.read(tmp_path / "out")
    assert config.victim_sha256 == file_sha256(parts.victim)
    assert config.victim_fingerprint == fingerprint(parts.victim)
    config.check_files(tmp_path / "out")


def test_settings_that_a_worker_could_not_read_are_refused(parts: Protected, tmp_path: Path) -> None:
    with pytest.raises(GateMisconfigured, match="max_samples must be of type int"):
        build(order(parts, tmp_path, max_samples=2.5))


def test_by_default_256_samples_are_answered_and_an_explanation_costs_ten_predictions(parts: Protected) -> None:
    with zipfile.ZipFile(parts.guarded) as archive:
        settings = json.loads(archive.read("calpow.json"))
    assert (settings["max_samples"], settings["explanation_factor"]) == (256, 10)


@pytest.mark.parametrize("samples", [0, -1])
def test_an_archive_that_would_answer_no_sample_is_refused(parts: Protected, tmp_path: Path, samples: int) -> None:
    with pytest.raises(ArchiveError, match=f"--max-samples {samples}: give at least 1"):
        build(order(parts, tmp_path, max_samples=samples))


@pytest.mark.parametrize("factor", [-1.0, 0.5, 0.999, math.inf, math.nan])
def test_an_explanation_costs_a_prediction_at_least(parts: Protected, tmp_path: Path, factor: float) -> None:
    with pytest.raises(ArchiveError, match=r"--explanation-factor .*: give at least 1, or 0 to refuse explanations"):
        build(order(parts, tmp_path, explanation_factor=factor))


def test_settings_of_the_frontend_can_be_added_without_another_calibration(parts: Protected, tmp_path: Path) -> None:
    victim = with_config(parts.victim, tmp_path / "victim.mar", b"minWorkers: 2\nbatchSize: 8\n")
    assert file_sha256(victim) != file_sha256(parts.victim)
    with zipfile.ZipFile(build(order(parts, tmp_path, victim=victim))) as archive:
        assert archive.read("model-config.yaml") == b"minWorkers: 2\nbatchSize: 8\n"
    other = with_config(parts.victim, tmp_path / "other.mar", b"handler: {threshold: 0.9}\n")
    with pytest.raises(GateMisconfigured, match="made for another victim"):
        build(order(parts, tmp_path, victim=other, force=True))


def with_config(victim: Path, target: Path, config: bytes) -> Path:
    """A copy of a victim that has a configuration, with another one."""
    return altered(victim, target, "model-config.yaml", lambda content: config)


@pytest.mark.parametrize(
    "name", ["calpow_gate_entry.py", "calpow.json", "calibration.json", "teachers.pt", "settings/calpow"]
)
def test_no_file_of_the_victim_takes_the_place_of_one_of_the_gates(parts: Protected, tmp_path: Path, name: str) -> None:
    """Its configuration lies beside them in the protected archive: one of these names would be an archive without."""
    victim = tmp_path / "odd.mar"
    with zipfile.ZipFile(parts.victim) as source, zipfile.ZipFile(victim, "w") as target:
        manifest = json.loads(source.read("MAR-INF/MANIFEST.json"))
        manifest["model"]["configFile"] = name
        for member in source.namelist():
            if member not in ("MAR-INF/MANIFEST.json", "model-config.yaml"):
                target.writestr(member, source.read(member))
        target.writestr("MAR-INF/MANIFEST.json", json.dumps(manifest))
        target.writestr(name, b"{}")
    measured = recalibrated(parts, tmp_path, victim_sha256=fingerprint(victim))
    with pytest.raises(ArchiveError, match="has a file of this name, too: rename it"):
        build(order(parts, tmp_path, victim=victim, calibration=measured))
    assert not (tmp_path / "model.mar").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"model": {"modelName": "../elsewhere"}},
        {"model": {"modelName": "/elsewhere"}},
        {"model": {"modelName": ["a"]}},
        {"model": {"modelName": "a\n"}},
        {"runtime": "LSP"},
        {"runtime": "java"},
    ],
    ids=str,
)
def test_a_manifest_that_leads_elsewhere_is_refused_in_one_line(
    parts: Protected, tmp_path: Path, changes: dict[str, dict[str, object] | str]
) -> None:
    def alter(content: bytes) -> bytes:
        manifest = json.loads(content)
        model = changes.get("model", {})
        assert isinstance(model, dict)
        return json.dumps(manifest | changes | {"model": manifest["model"] | model}).encode()

    victim = altered(parts.victim, tmp_path / "odd.mar", "MAR-INF/MANIFEST.json", alter)
    measured, folder = recalibrated(parts, tmp_path, victim_sha256=fingerprint(victim)), tmp_path / "made"
    with pytest.raises(ArchiveError) as refused:
        build(order(parts, folder, victim=victim, calibration=measured, model_name=None, force=True))
    assert "\n" not in str(refused.value)
    assert not list(tmp_path.rglob("*elsewhere*"))
    assert not list(folder.glob("*"))


def test_the_runtime_of_the_victim_is_kept(parts: Protected, tmp_path: Path) -> None:
    def run_by_python3(content: bytes) -> bytes:
        return json.dumps(json.loads(content) | {"runtime": "python3"}).encode()

    victim = altered(parts.victim, tmp_path / "victim.mar", "MAR-INF/MANIFEST.json", run_by_python3)
    for source, runtime in ((parts.victim, "python"), (victim, "python3")):
        with zipfile.ZipFile(build(order(parts, tmp_path, victim=source, force=True))) as archive:
            assert json.loads(archive.read("MAR-INF/MANIFEST.json"))["runtime"] == runtime


def test_a_victim_in_a_folder_is_packaged_like_its_mar(parts: Protected, tmp_path: Path) -> None:
    folder = tmp_path / "vector"
    with zipfile.ZipFile(parts.victim) as members:
        members.extractall(folder)
    made = build(order(parts, tmp_path, victim=folder, model_name=None))
    assert made == tmp_path / "vector.mar"
    with zipfile.ZipFile(made) as archive:
        archive.extract("victim.mar", tmp_path)
    assert fingerprint(tmp_path / "victim.mar") == fingerprint(parts.victim)
