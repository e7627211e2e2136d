"""Classifiers of every kind: from the owner's commands to paid answers on a running TorchServe."""

import contextlib
import io
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import requests

from calpow.archiver.calibration import calibrator
from calpow.archiver.calibration.calibration_document import Calibration, Role
from calpow.archiver.calibration.timing.latency import Latency
from calpow.archiver.calibration.timing.machine_times import MachineTimes
from calpow.archiver.calibration.timing.solver_timing import FloorPuzzle
from calpow.archiver.data.media_types import BODY
from calpow.archiver.data.payloads import Payload, read_row
from calpow.archiver.server import Server, served, wait_until_ready
from calpow.archiver.victim.victim_archive import open_victim
from calpow.client import PowAuth
from calpow.client.cli.main import main
from calpow.handler.policy.solver_fit import SolverFit
from calpow.puzzle.profiles import DEFAULT_PROFILE, PROFILES
from tests.support import own_models as own
from tests.support.command_line import read_results
from tests.support.guarded import TIMEOUT
from tests.support.quick_fit import quick_fit
from tests.support.quick_timing import Untimed, quick_timing

pytestmark = [
    pytest.mark.server,
    pytest.mark.training,
    # By TorchServe's text_classifier.
    pytest.mark.filterwarnings("ignore:Implicit dimension choice for softmax"),
]

# Starting a server for the calibration takes longer than all else: these kinds have one, the others are given times.
TIMED: Mapping[str, Callable[[Path], own.OwnModel]] = {
    "image-classifier": own.image_classifier,
    "text-classifier": own.text_classifier,
    "form-part": own.part,
}
UNTIMED: Mapping[str, Callable[[Path], own.OwnModel]] = {
    "transformer": own.transformer,
    "distilbert": own.distilbert,
    "table": own.table,
    "float64": partial(own.table, dtype="float64"),
    "float16": partial(own.table, dtype="float16"),
    "bfloat16": partial(own.table, dtype="bfloat16"),
    "bool": partial(own.table, dtype="bool"),
    "tokens": own.tokens,
    "pixels": own.pixels,
    "base64": own.base64_pictures,
    "tuple": partial(own.structures, returns="tuple"),
    "dict": partial(own.structures, returns="dict"),
    "sample": partial(own.shapes, returns="sample"),
    "context": own.context,
    "sequences": own.sequences,
    "binary-probability": partial(own.binary, network="binary_net"),
    "binary-logit": partial(own.binary, network="flat_net"),
}
KINDS = {**TIMED, **UNTIMED}
# Most of these differ from others in one thing only, and are left to `make test-long`.
LONG = {
    *("float16", "bfloat16", "bool", "pixels", "tuple", "sample", "context", "sequences", "binary-probability"),
    "distilbert",
}
EVERY_KIND = [pytest.param(kind, marks=pytest.mark.long) if kind in LONG else kind for kind in KINDS]
# Options of every command that reads payloads.
OPTIONS = {"form-part": ("--part", "image")}
QUICK = ("--horizon", "100")
ASKED = 4
# So many workers at once take long to start.
START_SECONDS = 400.0


@dataclass(frozen=True)
class Owner:
    """An owner in the folder of a model, who runs commands; `words` were printed by the one that failed, if one did."""

    model: own.OwnModel
    kind: str
    words: str = ""

    @property
    def options(self) -> tuple[str, ...]:
        """The options that tell commands how payloads are sent."""
        return OPTIONS.get(self.kind, ())

    def run(self, *words: str) -> tuple[int, str]:
        """Run a command; return its exit code and what it printed, errors included."""
        printed = io.StringIO()
        with (
            pytest.MonkeyPatch.context() as patch,
            contextlib.redirect_stdout(printed),
            contextlib.redirect_stderr(printed),
        ):
            patch.chdir(self.model.folder)
            return main(words), printed.getvalue()

    def protect(self) -> "Owner":
        """Train teachers, calibrate and archive; return the owner with the words of the command that failed."""
        payloads = ("--victim", "victim.mar", *self.options)
        parts = ("--victim", "victim.mar", "--ensemble", "teachers.pt")
        commands = [
            ("teachers", *payloads, "--data", "train", "--output", "teachers.pt"),
            ("calibrate", *parts, *self.options, "--data", "heldout", "--output", "calibration.json", *QUICK),
            ("archive", *parts, "--calibration", "calibration.json", "--model-name", self.kind, "--accept-weak"),
        ]
        with quick_timing(), quick_fit(), _given_times(self.kind in UNTIMED):
            for command in commands:
                code, words = self.run(*command)
                if code != 0:
                    return Owner(self.model, self.kind, f"calpow {' '.join(command)}\n{words}")
        return self


@contextlib.contextmanager
def _given_times(are_given: bool) -> Iterator[None]:
    """Give calibrations within the block the machine's times, or let them be measured."""
    times = MachineTimes(
        Latency(0.01, 0.009, 0.011, 100, 0.002),
        1.0,
        PROFILES[DEFAULT_PROFILE].kind,
        SolverFit(0.0, 2e6),
        FloorPuzzle(2048.0, 0.001),
        0.01,
    )
    with pytest.MonkeyPatch.context() as patch:
        if are_given:
            patch.setattr(calibrator, "serving", lambda *_: contextlib.nullcontext(Untimed(times.latency)))
            patch.setattr(calibrator, "measure_times", lambda *_: times)
        yield


@pytest.fixture(scope="module")
def owners(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Owner]:
    """An owner of each kind of model that this run tests, who has protected it, or failed to."""
    home = tmp_path_factory.mktemp("own")
    tests = [item for item in request.session.items if item.path == request.path and hasattr(item, "callspec")]
    chosen = {item.callspec.params.get("kind") for item in tests}
    return {
        kind: Owner(make(home / kind), kind).protect() for kind, make in KINDS.items() if kind in {*chosen, "table"}
    }


@dataclass(frozen=True)
class Shop:
    """A server with all models that could be protected, and a key for it."""

    server: Server
    key: str


@pytest.fixture(scope="module")
def shop(owners: Mapping[str, Owner], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    uri = f"sqlite:///{tmp_path_factory.mktemp('shop') / 'ledger.db'}"
    code, printed = next(iter(owners.values())).run("keys", "add", "ada", "--ledger", uri)
    assert code == 0
    archives = {kind: owner.model.folder / f"{kind}.mar" for kind, owner in owners.items() if not owner.words}
    with served(archives, environment={"CALPOW_LEDGER": uri}, wait=False) as server:
        wait_until_ready(server, list(archives), START_SECONDS)
        yield Shop(server, printed.split()[-1])


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_an_owner_can_protect_a_model_of_every_kind(owners: Mapping[str, Owner], kind: str) -> None:
    assert owners[kind].words == ""


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_the_teachers_of_every_kind_of_model_know_its_classes(owners: Mapping[str, Owner], kind: str) -> None:
    rehearsal = Calibration.load(owners[kind].model.folder / "calibration.json").rehearsal
    # Of four classes; a kind of 96 payloads holds back only eight to measure it on.
    assert rehearsal.vote_accuracy >= 0.6
    attackers = [profile.name for profile in rehearsal.profiles if profile.role is Role.attacker]
    assert {"noise", "shuffled"} <= set(attackers)


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_calpow_predict_pays_for_answers_of_every_kind_of_model(
    owners: Mapping[str, Owner], shop: Shop, kind: str
) -> None:
    owner = owners[kind]
    files = [str(path) for path in owner.model.payloads(ASKED)]
    code, printed = owner.run(
        *("predict", shop.server.url(kind), *files, *owner.options, "--key", shop.key, "--output", "answers.jsonl")
    )
    assert code == 0, printed
    results = read_results((owner.model.folder / "answers.jsonl").read_text())
    assert [results[file]["status"] for file in files] == [200] * ASKED


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_a_paid_answer_is_the_unprotected_models_own(owners: Mapping[str, Owner], shop: Shop, kind: str) -> None:
    owner = owners[kind]
    for path in owner.model.payloads(2):
        body = path.read_bytes()
        media = "application/json" if path.suffix == ".json" else "application/octet-stream"
        sent = {"files": {"image": body}} if owner.options else {"data": body, "headers": {"Content-Type": media}}
        answer = requests.post(shop.server.url(kind), auth=PowAuth(shop.key), timeout=TIMEOUT, **sent)
        assert (answer.status_code, answer.content) == (200, _unprotected(owner, path))


def test_a_table_of_many_rows_is_paid_for_at_once(owners: Mapping[str, Owner], shop: Shop) -> None:
    rows = [json.loads(path.read_text())["instances"][0] for path in owners["table"].model.payloads(6)]
    answer = requests.post(shop.server.url("table"), json={"instances": rows}, auth=PowAuth(shop.key), timeout=TIMEOUT)
    assert answer.status_code == 200
    assert len(answer.json()["predictions"]) == 6


def test_labels_that_do_not_exclude_each_other_are_refused_in_words_by_the_first_command(tmp_path: Path) -> None:
    owner = Owner(own.several_labels(tmp_path / "labels"), "labels").protect()
    command, line = owner.words.splitlines()[0], owner.words.splitlines()[-1]
    assert command.startswith("calpow teachers")
    assert "several labels at once" in line


def test_an_owner_is_told_the_file_that_a_model_refuses_and_why(tmp_path: Path) -> None:
    owner = Owner(own.table(tmp_path / "table"), "table")
    (owner.model.folder / "train" / "1" / "05.json").write_text('{"instances": [[1.5, 2.5]]}')
    command = ("teachers", "--victim", "victim.mar", "--data", "train", "--output", "teachers.pt")
    code, words = owner.run(*command)
    assert code == 2
    assert "Traceback" not in words
    assert "05.json" in words
    assert "shapes cannot be multiplied" in words
    code, words = owner.run("--debug", *command)
    assert code == 2
    assert "Traceback" in words
    assert "RuntimeError: mat1" in words
    assert "table_net.py" in words, "the place in the victim's code"


def test_a_client_is_not_told_what_the_model_raised(shop: Shop) -> None:
    for instances in ([[1.5, 2.5]], [["secret"]]):
        answer = requests.post(
            shop.server.url("table"), json={"instances": instances}, auth=PowAuth(shop.key), timeout=TIMEOUT
        )
        assert answer.status_code in (400, 503)
        assert not any(word in answer.text for word in ("secret", "multiplied", "Error(", "Traceback"))


def _unprotected(owner: Owner, path: Path) -> bytes:
    """Return the answer of the unprotected model, as TorchServe would write it."""
    row = read_row(Payload(path, 0, "", owner.options[-1] if owner.options else BODY))
    with open_victim(owner.model.victim) as opened:
        done = opened.victim.run([row], [("unprotected", {})])
        answers = done.serialised(1)
    assert not isinstance(answers, Exception), answers
    (answer,) = answers
    assert isinstance(answer, bytes)
    return answer
