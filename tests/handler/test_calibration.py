"""The calibration file: what is saved is loaded, and whatever is wrong with a file is said in one line."""

import json
from collections.abc import Callable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import cast

import pytest

from calpow.handler.policy.calibration_file import Calibration, CalibrationError, PolicyName
from calpow.puzzle.errors import CalpowError
from calpow.puzzle.profiles import PROFILES
from tests.support.parts import calibration

Document = dict[str, object]
SCRYPT: Document = {"algorithm": "scrypt", "cost": {"n": 32, "r": 8, "p": 1}, "least_stamps": 16}


def saved(tmp_path: Path, change: Callable[[Document], None] = lambda document: None) -> Path:
    """A good calibration's file with a change."""
    path = tmp_path / "calibration.json"
    calibration(provenance={"samples": 450, "mean_cost": 1.7, "machine": "here"}).save(path)
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    return path


def refused(path: Path) -> str:
    """The one line that says what is wrong."""
    with pytest.raises(CalibrationError) as caught:
        Calibration.load(path)
    text = str(caught.value)
    assert "\n" not in text
    assert isinstance(caught.value, CalpowError)
    assert "calpow calibrate" in text
    return text


def put(dotted: str, value: object) -> Callable[[Document], None]:
    def change(document: Document) -> None:
        *parents, last = dotted.split(".")
        for parent in parents:
            document = cast(Document, document[parent])
        document[last] = deepcopy(value)

    return change


def both(first: Callable[[Document], None], second: Callable[[Document], None]) -> Callable[[Document], None]:
    def change(document: Document) -> None:
        first(document)
        second(document)

    return change


def members(document: Mapping[str, object], prefix: str = "") -> list[str]:
    """Dotted names of everything in a document but what owners and metrics name themselves."""
    names = []
    for name, value in document.items():
        names.append(prefix + name)
        if isinstance(value, dict) and name not in ("provenance", "parts"):
            names.extend(members(value, f"{prefix}{name}."))
    return names


@pytest.mark.parametrize("profile", list(PROFILES))
def test_every_kind_of_puzzle_is_loaded_as_it_was_saved(tmp_path: Path, profile: str) -> None:
    made = calibration(puzzle=PROFILES[profile].kind)
    made.save(tmp_path / "c.json")
    assert Calibration.load(tmp_path / "c.json") == made


def test_the_last_versions_file_is_refused_though_all_else_is_right(tmp_path: Path) -> None:
    def older(document: Document) -> None:
        document["schema"] = 4
        del document["rows"]

    assert "has schema 4, this version reads 5: make it again with calpow calibrate" in refused(saved(tmp_path, older))


@pytest.mark.parametrize("policy", list(PolicyName))
def test_what_is_saved_is_loaded(tmp_path: Path, policy: PolicyName) -> None:
    made = calibration(policy=policy, provenance={"samples": 450, "mean_cost": 1.7, "machine": "here"})
    made.save(tmp_path / "c.json")
    assert Calibration.load(tmp_path / "c.json") == made
    assert [file.name for file in tmp_path.iterdir()] == ["c.json"]


def test_every_missing_member_is_named(tmp_path: Path) -> None:
    names = members(json.loads(saved(tmp_path, put("puzzle", SCRYPT)).read_text()))
    assert len(names) > 25
    for name in names:

        def drop(document: Document, name: str = name) -> None:
            *parents, last = name.split(".")
            for parent in parents:
                document = cast(Document, document[parent])
            del document[last]

        assert f"{name} is missing" in refused(saved(tmp_path, both(put("puzzle", SCRYPT), drop)))


def test_members_nobody_knows_are_refused(tmp_path: Path) -> None:
    assert "solver.cores is not known" in refused(saved(tmp_path, put("solver.cores", 2)))


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("floor_seconds", "0.1", "floor_seconds must be of type float"),
        ("floor_seconds", True, "floor_seconds must be of type float"),
        ("floor_seconds", None, "floor_seconds must be of type float"),
        ("floor_seconds", float("nan"), "floor_seconds must be a finite number"),
        ("cap", float("inf"), "cap must be a finite number"),
        ("cap", 10**400, "cap must be a finite number"),
        ("shape.classes", 2.0, "shape.classes must be of type int"),
        ("shape.input_shape", 4, "shape.input_shape must be a list"),
        ("shape", [2, [4]], "shape must be an object"),
        ("conditional.class_means", [1.0, "2"], r"conditional.class_means[1] must be of type float"),
        ("victim_sha256", 7, "victim_sha256 must be of type str"),
        ("provenance", [], "provenance must be an object"),
        ("provenance.samples", [450], "provenance.samples must be one of str, int, float"),
        ("policy", "strict", "policy must be one of: conditional, paper"),
        ("schema", "1", "schema must be of type int"),
        ("output", None, "output must be one of: probabilities"),
        ("rows", None, "rows must be an object"),
        ("rows.in_order", 1, "rows.in_order must be of type bool"),
        ("rows.counted", "yes", "rows.counted must be of type bool"),
        ("evidence.horizon", 1e4, "evidence.horizon must be of type int"),
        ("evidence.profiles", [{"name": "noise"}], "evidence.profiles[0]."),
    ],
)
def test_a_member_of_another_type_is_named(tmp_path: Path, name: str, value: object, said: str) -> None:
    assert said in refused(saved(tmp_path, put(name, value)))


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("victim_sha256", "abc", "victim_sha256 must be 64 hexadecimal digits"),
        ("parts", {"teachers.pt2": "Z" * 64}, "parts.teachers.pt2 must be 64 hexadecimal digits"),
        ("shape.classes", 3, "conditional.class_floors has 2 of 3 classes"),
        ("metrics", [], "conditional.standards has 1 entries for 0 metrics"),
        ("metrics", [{"name": "magic", "settings": {}}], r"metrics[0].name must be one of: pate"),
        ("metrics", [{"name": "pate", "settings": {"sigma": "2"}}], "metrics[0].settings.sigma must be of type float"),
        ("conditional.standards", [], "conditional.standards has 0 entries for 1 metrics"),
        ("conditional.spread", 0.0, "conditional.spread must be more than 0"),
        ("conditional.burst", -1.0, "conditional.burst must be more than 0"),
        ("paper.base", 0.99, "paper.base must be at least 1"),
        ("cap", 0.5, "cap must be at least 1"),
        ("solver.start_seconds", -1e-6, "solver.start_seconds must be at least 0"),
        ("solver.hashes_per_second", 0, "solver.hashes_per_second must be more than 0"),
        ("floor_seconds", 0.0, "floor_seconds must be more than 0"),
        ("puzzle.algorithm", "argon2id", "algorithm 'argon2id' is not known here"),
        ("puzzle.algorithm", "scrypt", "n, r and p belong to scrypt"),
        ("puzzle.cost", SCRYPT["cost"], "n, r and p belong to scrypt"),
        ("puzzle.cost", 32, "puzzle.cost must be an object"),
        ("puzzle", {**SCRYPT, "cost": {"n": 33, "r": 8, "p": 1}}, "n is a power of two"),
        ("puzzle", {**SCRYPT, "cost": {"n": 2**40, "r": 8, "p": 1}}, "more memory than the 64 MiB"),
        ("puzzle", {**SCRYPT, "cost": {"n": 32, "r": True, "p": 1}}, "puzzle.cost.r must be of type int"),
        ("puzzle.least_stamps", 0, "between 1 and 32"),
        ("puzzle.least_stamps", 33, "between 1 and 32"),
    ],
)
def test_values_that_make_no_sense_are_named(tmp_path: Path, name: str, value: object, said: str) -> None:
    assert said in refused(saved(tmp_path, put(name, value)))


def test_a_victim_of_one_class_is_refused(tmp_path: Path) -> None:
    def single(document: Document) -> None:
        put("shape.classes", 1)(document)
        put("conditional.class_means", [1.0])(document)

    assert "shape.classes must be at least 2" in refused(saved(tmp_path, single))


def test_another_schema_is_named_before_anything_else(tmp_path: Path) -> None:
    path = tmp_path / "future.json"
    path.write_text('{"schema": 6, "everything": "else"}')
    assert "has schema 6, this version reads 5" in refused(path)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000])
def test_a_file_that_is_no_calibration_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "c.json"
    path.write_bytes(content)
    refused(path)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert "does not exist" in refused(tmp_path / "nothing.json")


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match=r"cannot be written .* --output"):
        calibration().save(tmp_path / "nowhere" / "c.json")
    (tmp_path / "c.json").mkdir()
    with pytest.raises(CalibrationError, match="cannot be written"):
        calibration().save(tmp_path / "c.json")
    assert [file.name for file in tmp_path.iterdir()] == ["c.json"]


def test_a_calibration_made_in_memory_is_checked_too() -> None:
    with pytest.raises(CalibrationError, match="latency_seconds must be more than 0"):
        calibration(latency_seconds=0.0)
