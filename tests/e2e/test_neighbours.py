"""Metrics other than the default, from the command line to the served answer: pknn with entropy, gap with odin."""

import math
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from calpow.archiver.server import served
from calpow.client import PowAuth
from calpow.client.cli.main import main
from calpow.handler.config import file_sha256
from calpow.handler.leakage.neighbours import Neighbours
from calpow.handler.ledger import open_ledger
from calpow.handler.policy.calibration_file import Calibration, PolicyName
from calpow.handler.policy.rehearsal_evidence import Role
from tests.support.guarded import TIMEOUT
from tests.support.victims import build as victims

PAYLOAD = b"0.1,0.9,0.3,0.2"


@dataclass(frozen=True)
class Owner:
    """An owner's folder, in which he runs commands."""

    home: Path

    def run(self, *words: str) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.home)
            assert main(words) == 0


@pytest.fixture(scope="module")
def owner(tmp_path_factory: pytest.TempPathFactory) -> Owner:
    home = tmp_path_factory.mktemp("neighbours")
    victims.vector_class(home, "victim")
    victims.vectors(home / "train")
    victims.vectors(home / "heldout", each=20)
    (home / "far").mkdir()
    for number in range(20):
        (home / "far" / f"{number}.txt").write_text(f"{0.4 + number / 1000},0.4,0.4,0.4")
    return Owner(home)


def calibrated(owner: Owner, name: str, *words: str) -> Calibration:
    owner.run("calibrate", "--victim", "victim.mar", "--data", "heldout", "--output", name, *words)
    return Calibration.load(owner.home / name)


def answers_like_the_victim(owner: Owner, name: str) -> None:
    """The archive is served beside the victim: a paid answer is the victim's own."""
    uri = f"sqlite:///{owner.home / name}.db"
    archives = {name: owner.home / f"{name}.mar", "plain": owner.home / "victim.mar"}
    with served(archives, environment={"CALPOW_LEDGER": uri}) as server:
        plain = requests.post(server.url("plain"), data=PAYLOAD, timeout=TIMEOUT)
        auth = PowAuth(open_ledger(uri).add_key("ada"))
        paid = requests.post(server.url(name), data=PAYLOAD, auth=auth, timeout=TIMEOUT)
        assert (paid.status_code, paid.content) == (200, plain.content)
        assert open_ledger(uri).account(name, "ada").totals.queries > 0


def test_reference_points_guard_a_victim_without_teachers(owner: Owner) -> None:
    owner.run("neighbours", "--victim", "victim.mar", "--data", "train", "--k", "25", "--output", "neighbours.pt")
    card = Neighbours.load(owner.home / "neighbours.pt").card
    assert (card.points, card.width, card.k, card.class_names) == (240, 4, 25, ("0", "1", "2", "3"))
    assert card.victim_sha256 == file_sha256(owner.home / "victim.mar")
    made = calibrated(
        owner,
        "pknn.json",
        *("--metric", "pknn", "entropy", "--neighbours", "neighbours.pt", "--rdp-order", "8"),
        *("--overhead-budget", "3", "--horizon", "1000", "--attack", "undecided=far"),
    )
    assert [each.name.value for each in made.metrics] == ["pknn", "entropy"]
    assert made.metrics[0].settings == {"teachers": 25.0, "sigma": 1.0, "order": 8.0}
    composed = 1000 * float(made.provenance["mean_cost"]) + math.log(1e5) / 7
    assert made.provenance["legitimate_epsilon_at_horizon"] == pytest.approx(composed)
    assert made.parts == {"neighbours.pt": file_sha256(owner.home / "neighbours.pt")}
    evidence = made.evidence
    assert (evidence.overhead_budget, evidence.horizon, evidence.checkpoints[-1]) == (3.0, 1000, 1000)
    thieves = {each.name: each for each in evidence.profiles if each.role is Role.attacker}
    assert thieves["undecided"].samples == 20
    assert thieves["undecided"].auroc["entropy"] > 0.9
    words = ("--victim", "victim.mar", "--neighbours", "neighbours.pt", "--calibration", "pknn.json")
    owner.run("archive", *words, "--model-name", "pknn")
    answers_like_the_victim(owner, "pknn")


def test_the_papers_rule_on_gap_and_odin_is_served(owner: Owner) -> None:
    made = calibrated(owner, "paper.json", "--policy", "paper", "--metric", "gap", "odin-moved")
    assert made.policy is PolicyName.paper
    assert made.parts == {}
    assert made.metrics[1].settings["magnitude"] > 0
    assert made.paper.slope == pytest.approx(float(made.provenance["mean_cost"]))
    assert made.evidence.score_name == "summed cost above the baseline"
    owner.run("archive", "--victim", "victim.mar", "--calibration", "paper.json", "--model-name", "paper")
    answers_like_the_victim(owner, "paper")
