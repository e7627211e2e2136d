"""What an owner gets wrong: one line that says what to do, exit code 2, and nothing written."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from calpow.client.cli.main import main
from calpow.handler.config import file_sha256
from calpow.handler.leakage.registry import MetricName
from calpow.handler.policy.calibration_file import Calibration, Chosen, Shape
from calpow.handler.policy.policies import Conditional
from tests.support.parts import calibration, plain_standard
from tests.support.victims import build as victims

Refused = Callable[..., str]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A victim, held-out data of its classes, teachers and reference points."""
    home = tmp_path_factory.mktemp("bad-input")
    victims.vector_class(home, "victim")
    victims.vectors(home / "train")
    victims.vectors(home / "heldout", each=12)
    given = ["--victim", str(home / "victim.mar"), "--data", str(home / "train")]
    assert main(["teachers", *given, "--teachers", "3", "--output", str(home / "teachers.pt2")]) == 0
    assert main(["neighbours", *given, "--k", "5", "--output", str(home / "neighbours.pt")]) == 0
    return home


@pytest.fixture
def refused(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Refused:
    """Run a command at home, with `--output` in a folder of its own; the one line it ended with."""

    def run(*words: object) -> str:
        monkeypatch.chdir(home)
        capsys.readouterr()
        assert main([str(word) for word in words]) == 2
        said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("calpow:")]
        assert len(said) == 1
        assert not (tmp_path / "out").exists()
        return said[0]

    return run


def odd(folder: Path, how: str) -> Path:
    (folder / "odd").mkdir()
    return victims.odd(folder / "odd", how)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("one number", "one number a sample; a two-class model must answer with both classes"),
        ("sigmoids", "numbers from 0 to 1 that do not sum to 1, as of several labels at once"),
        ("no batch", "of shape (48,)"),
        ("three axes", "of shape (48, 4, 1)"),
        ("nan", "NaN or infinity for some inputs; repair it"),
        ("constant", "the same for every input"),
        ("classes", "a bare class without probabilities; use --metric pate"),
        ("five", "5 numbers a sample for 4 classes; give data of the victim's classes"),
        ("raises", "the model cannot answer this payload (IndexError)"),
        ("list", "the model does not answer with a tensor"),
        ("fewer", "one row of classes a sample"),
    ],
)
def test_a_victim_that_gives_no_distribution_is_refused(refused: Refused, tmp_path: Path, how: str, said: str) -> None:
    victim = odd(tmp_path, how)
    words = ("calibrate", "--victim", victim, "--data", "heldout", "--metric", "entropy", "--output", tmp_path / "out")
    assert said in refused(*words)


def refused_by_every_command(refused: Refused, victim: Path, output: Path) -> set[str]:
    """What the commands of which one is an owner's first say to a victim."""
    given = ("--victim", victim, "--data", "heldout", "--output", output)
    return {
        refused(*command, *given) for command in (("calibrate", "--metric", "entropy"), ("neighbours",), ("teachers",))
    }


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("no model", "holds no model that can be followed"),
        ("two models", "holds several models (encoder, head): put them into one module"),
        ("no call", "answers without a call of its model: it must call the model itself"),
        ("forward", "answers without a call of its model: it must call the model itself"),
        ("two tensors", "asked with several tensors, or with none: only models of one tensor"),
        ("flat", "asked with torch.float32 of shape (4,): it must be asked with a dense batch"),
        ("refuses", ".txt: the handler refuses this payload, with status 422"),
        ("raises", ".txt: the model cannot answer this payload (IndexError)"),
    ],
)
def test_a_victim_whose_model_cannot_be_followed_is_refused_by_the_first_command(
    refused: Refused, tmp_path: Path, how: str, said: str
) -> None:
    answers = refused_by_every_command(refused, odd(tmp_path, how), tmp_path / "out.pt2")
    assert all(said in answer for answer in answers), answers


def test_a_function_handler_without_a_model_is_refused_by_the_first_command(refused: Refused, tmp_path: Path) -> None:
    (answer,) = refused_by_every_command(refused, victims.bare_function(tmp_path), tmp_path / "out.pt2")
    assert "holds no model that can be followed: load it in initialize, and keep it as self.model" in answer


def test_an_asynchronous_handler_is_refused_by_the_first_command(refused: Refused, tmp_path: Path) -> None:
    (answer,) = refused_by_every_command(refused, victims.asynchronous(tmp_path), tmp_path / "out.pt2")
    assert "the victim's handler is asynchronous" in answer


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--metric", "pate"), "metric pate needs --ensemble, from calpow teachers"),
        (("--metric", "pknn"), "metric pknn needs --neighbours, from calpow neighbours"),
        (("--metric", "gap", "--neighbours", "neighbours.pt"), "--neighbours is for metric pknn"),
        (("--metric", "pknn", "--neighbours", "teachers.pt2"), "is no reference set"),
        (("--metric", "pate", "--ensemble", "neighbours.pt"), "cannot be read as a program of torch.export"),
        (("--metric", "gap", "gap"), "--metric names one twice: gap gap"),
        (("--metric", "gap", "--rdp-order", "1"), "--rdp-order 1.0: give an order above 1"),
        (("--metric", "gap", "--rdp-order", "nan"), "--rdp-order nan: give an order above 1"),
        (("--metric", "gap", "--overhead-budget", "1"), "--overhead-budget 1.0: give more than 1"),
        (("--metric", "gap", "--overhead-budget", "nan"), "--overhead-budget nan"),
        (("--metric", "gap", "--horizon", "3"), "--horizon 3: give a number of queries from 100"),
        (("--metric", "gap", "--attack", "folder"), "--attack folder: give NAME=FOLDER"),
        (("--metric", "gap", "--attack", "a=heldout", "--attack", "a=train"), "another attack of that name"),
        (("--metric", "gap", "--attack", "a=nowhere"), "nowhere is no folder"),
        (("--metric", "gap", "--attack", "noise=heldout"), "noise is a reference attacker's name"),
    ],
)
def test_orders_that_make_no_sense(refused: Refused, tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    given = ("calibrate", "--victim", "victim.mar", "--data", "heldout", "--output", tmp_path / "out")
    assert said in refused(*given, *words)


def test_data_of_other_classes_than_the_reference_points(refused: Refused, home: Path, tmp_path: Path) -> None:
    shutil.copytree(home / "heldout", tmp_path / "data")
    (tmp_path / "data" / "3").rename(tmp_path / "data" / "cat")
    given = ("calibrate", "--victim", "victim.mar", "--data", tmp_path / "data", "--output", tmp_path / "out")
    said = refused(*given, "--metric", "pknn", "--neighbours", "neighbours.pt")
    assert "classes 0, 1, 2, cat, the reference points were taken on 0, 1, 2, 3" in said


def test_reference_points_of_another_victim(refused: Refused, tmp_path: Path) -> None:
    other = odd(tmp_path, "logits")
    given = ("calibrate", "--victim", other, "--data", "heldout", "--output", tmp_path / "out")
    said = refused(*given, "--metric", "pknn", "--neighbours", "neighbours.pt")
    assert "the reference points were taken for another victim" in said


@pytest.mark.parametrize(("k", "said"), [("0", "--k 0: give a number from 1 to 48"), ("49", "from 1 to 48")])
def test_more_neighbours_than_there_are(refused: Refused, tmp_path: Path, k: str, said: str) -> None:
    words = ("neighbours", "--victim", "victim.mar", "--data", "heldout", "--k", k, "--output", tmp_path / "out")
    assert said in refused(*words)


def test_too_few_samples_and_an_attack_of_another_form(refused: Refused, tmp_path: Path) -> None:
    few = victims.vectors(tmp_path / "few", each=9)
    given = ("calibrate", "--victim", "victim.mar", "--metric", "gap", "--output", tmp_path / "out")
    assert "class 0 has 9 independent samples to calibrate with: give at least 10" in refused(*given, "--data", few)
    (tmp_path / "attack").mkdir()
    (tmp_path / "attack" / "a.txt").write_text("not numbers")
    said = refused(*given, "--data", "heldout", "--attack", f"text={tmp_path / 'attack'}")
    assert "a.txt: the model cannot read this payload" in said


def made_with(home: Path, folder: Path, name: MetricName, part: str | None) -> Path:
    """A calibration of the victim by hand, with a metric and the file it needs."""
    settings = {"sigma": 0.2, "delta": 1e-5, "teachers": 5.0} if part else {}
    calibration(
        shape=Shape(4, (4,)),
        victim_sha256=file_sha256(home / "victim.mar"),
        parts={part: file_sha256(home / part)} if part else {},
        metrics=(Chosen(name, settings),),
        conditional=Conditional((plain_standard(4),), (0.0,) * 4, (1.0,) * 4, 1.0, 1.0, 1.0, 2.0, 3.0),
    ).save(folder / "calibration.json")
    return folder / "calibration.json"


def test_an_archive_of_other_parts_than_the_calibration_was_made_with(
    refused: Refused, home: Path, tmp_path: Path
) -> None:
    given = ("archive", "--victim", "victim.mar", "--export-path", tmp_path, "--model-name", "out")
    measured = made_with(home, tmp_path, MetricName.pknn, "neighbours.pt")
    said = refused(*given, "--calibration", measured)
    assert "made with neighbours.pt, which is missing" in said
    said = refused(*given, "--calibration", measured, "--neighbours", "neighbours.pt", "--ensemble", "teachers.pt2")
    assert "do not use teachers.pt2: leave it out, or calibrate with it" in said
    given_neighbours = ["--victim", str(home / "victim.mar"), "--data", str(home / "train"), "--k", "6"]
    assert main(["neighbours", *given_neighbours, "--output", str(tmp_path / "six.pt")]) == 0
    said = refused(*given, "--calibration", measured, "--neighbours", tmp_path / "six.pt")
    assert "made with another neighbours.pt: run calpow calibrate again" in said
    measured = made_with(home, tmp_path, MetricName.entropy, None)
    said = refused(*given, "--calibration", measured, "--ensemble", "teachers.pt2")
    assert "do not use teachers.pt2" in said


@pytest.mark.parametrize(
    ("member", "value", "said"),
    [
        ("schema", 4, "has schema 4, this version reads 5"),
        ("metrics", [{"name": "magic", "settings": {}}], "metrics[0].name must be one of: pate, entropy"),
        ("metrics", [], "conditional.standards has 1 entries for 0 metrics"),
        ("metrics", [{"name": "pate", "settings": {}}], "metric pate needs teachers"),
        ("output", "magic", "output"),
    ],
)
def test_a_calibration_of_another_version_or_metric(
    refused: Refused, home: Path, tmp_path: Path, member: str, value: object, said: str
) -> None:
    measured = made_with(home, tmp_path, MetricName.entropy, None)
    assert Calibration.load(measured)
    measured.write_text(json.dumps({**json.loads(measured.read_text()), member: value}))
    given = ("archive", "--victim", "victim.mar", "--export-path", tmp_path, "--model-name", "out")
    assert said in refused(*given, "--calibration", measured)
