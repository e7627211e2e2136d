"""Scores other than the default, from the command line to the served answer: pknn with entropy, gap with odin."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from calpow.archiver.calibration.calibration_document import Calibration, Role
from calpow.archiver.server import Server, served
from calpow.archiver.victim.fingerprint import fingerprint
from calpow.client import PowAuth
from calpow.client.cli.main import main
from calpow.handler.config import file_sha256
from calpow.handler.leakage.neighbours import Neighbours
from calpow.handler.ledger.uri import open_ledger
from calpow.handler.policy.calibrated_policy import PolicyName
from tests.support.guarded import TIMEOUT
from tests.support.quick_fit import quick_fit
from tests.support.quick_timing import quick_timing
from tests.support.victims import build as victims

pytestmark = [pytest.mark.server, pytest.mark.training]

PAYLOAD = b"0.1,0.9,0.3,0.2"


@dataclass(frozen=True)
class Owner:
    """An owner's folder, in which he runs commands."""

    home: Path

    def run(self, *words: str) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.home)
            assert main(words) == 0

    def calibrate(self, name: str, *words: str) -> None:
        """Calibrate into `NAME.json`, and guard the victim with it as `NAME.mar`."""
        data = ("--victim", "victim.mar", "--data", "heldout")
        with quick_timing(), quick_fit():
            self.run("calibrate", *data, "--output", f"{name}.json", *words)

    def archive(self, name: str, *words: str) -> None:
        calibration = ("--calibration", f"{name}.json", "--model-name", name)
        self.run("archive", "--victim", "victim.mar", *calibration, "--accept-weak", *words)

    def calibration(self, name: str) -> Calibration:
        return Calibration.load(self.home / f"{name}.json")


@pytest.fixture(scope="module")
def owner(tmp_path_factory: pytest.TempPathFactory) -> Owner:
    """An owner who has guarded his victim twice: by `pknn` with `entropy`, and by the paper's rule on `gap`."""
    home = tmp_path_factory.mktemp("neighbours")
    victims.vector_class(home, "victim")
    victims.vectors(home / "train")
    victims.vectors(home / "heldout", per_class=20)
    (home / "far").mkdir()
    for number in range(20):
        (home / "far" / f"{number}.txt").write_text(f"{0.4 + number / 1000},0.4,0.4,0.4")
    owner = Owner(home)
    owner.run("neighbours", "--victim", "victim.mar", "--data", "train", "--k", "25", "--output", "neighbours.pt")
    owner.calibrate(
        "pknn",
        *("--scores", "pknn", "entropy", "--neighbours", "neighbours.pt", "--rdp-order", "8"),
        *("--overhead-budget", "3", "--horizon", "1000", "--attack", "undecided=far"),
    )
    owner.archive("pknn", "--neighbours", "neighbours.pt")
    owner.calibrate("paper", "--policy", "paper", "--scores", "gap", "odin-moved")
    owner.archive("paper")
    return owner


@pytest.fixture(scope="module")
def server(owner: Owner) -> Iterator[Server]:
    """Both archives, served beside the victim."""
    archives = {name: owner.home / f"{name}.mar" for name in ("pknn", "paper")}
    with served(
        {**archives, "plain": owner.home / "victim.mar"}, environment={"CALPOW_LEDGER": ledger_uri(owner)}
    ) as server:
        yield server


def ledger_uri(owner: Owner) -> str:
    return f"sqlite:///{owner.home / 'ledger.db'}"


def test_reference_points_of_a_victim_are_kept_for_pknn(owner: Owner) -> None:
    card = Neighbours.load(owner.home / "neighbours.pt").card
    assert (card.points, card.width, card.k, card.class_names) == (240, 4, 25, ("0", "1", "2", "3"))
    assert card.victim_sha256 == fingerprint(owner.home / "victim.mar")


def test_reference_points_guard_a_victim_without_teachers(owner: Owner) -> None:
    calibration = owner.calibration("pknn")
    policy, provenance = calibration.policy, calibration.measurement.provenance
    assert [score.name.value for score in policy.scores] == ["pknn", "entropy"]
    assert policy.scores[0].settings == {"teachers": 25.0, "sigma": 1.0, "order": 8.0}
    composed = 1000 * float(provenance["mean_cost"]) + math.log(1e5) / 7
    assert provenance["legitimate_epsilon_at_horizon"] == pytest.approx(composed)
    assert policy.parts == {"neighbours.pt": file_sha256(owner.home / "neighbours.pt")}
    evidence = calibration.rehearsal
    assert (evidence.overhead_budget, evidence.horizon, evidence.checkpoints[-1]) == (3.0, 1000, 1000)
    thieves = {profile.name: profile for profile in evidence.profiles if profile.role is Role.attacker}
    assert thieves["undecided"].samples == 10, "the scores were chosen by the other half"
    assert thieves["undecided"].auroc["entropy"] > 0.9


def test_the_papers_rule_is_calibrated_on_gap_and_odin(owner: Owner) -> None:
    calibration = owner.calibration("paper")
    policy = calibration.policy
    assert policy.name is PolicyName.paper
    assert policy.parts == {}
    assert policy.scores[1].settings["magnitude"] > 0
    assert policy.paper.slope == pytest.approx(float(calibration.measurement.provenance["mean_cost"]))
    assert calibration.rehearsal.score_name == "summed cost above the baseline"


@pytest.mark.parametrize("name", ["pknn", "paper"])
def test_a_paid_answer_is_the_victims_own(owner: Owner, server: Server, name: str) -> None:
    ledger = open_ledger(ledger_uri(owner))
    plain = requests.post(server.url("plain"), data=PAYLOAD, timeout=TIMEOUT)
    paid = requests.post(server.url(name), data=PAYLOAD, auth=PowAuth(ledger.add_key("ada")), timeout=TIMEOUT)
    assert (paid.status_code, paid.content) == (200, plain.content)
    assert ledger.account(name, "ada").history.queries > 0
