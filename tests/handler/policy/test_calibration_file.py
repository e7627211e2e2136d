"""A worker reads the policy of a calibration file, strictly, and nothing else."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from calpow.handler.errors import CalibrationError
from calpow.handler.policy.calibration_file import SCHEMA, load_policy
from calpow.puzzle.errors import CalpowError
from tests.support.calibration_files import Change, drop, put, save_changed
from tests.support.calibrations import calibrated_policy

SCRYPT = {"algorithm": "scrypt", "cost": {"n": 32, "r": 8, "p": 1}, "least_stamps": 16, "least_bits": 1}


def refused(path: Path) -> str:
    """Return the one line that says what is wrong with a file."""
    with pytest.raises(CalibrationError) as caught:
        load_policy(path)
    text = str(caught.value)
    assert "\n" not in text
    assert isinstance(caught.value, CalpowError)
    assert "calpow calibrate" in text
    return text


def test_the_policy_is_loaded_as_it_was_saved(tmp_path: Path) -> None:
    assert load_policy(save_changed(tmp_path)) == calibrated_policy()


@pytest.mark.parametrize(
    "changes",
    [
        (put("rehearsal", "of another version"), put("measurement", None)),
        (drop("rehearsal"), drop("measurement")),
        (put("comment", "whatever"),),
    ],
    ids=["unreadable", "absent", "more"],
)
def test_a_worker_reads_nothing_but_the_policy(tmp_path: Path, changes: tuple[Change, ...]) -> None:
    assert load_policy(save_changed(tmp_path, *changes)) == calibrated_policy()


def test_the_last_versions_file_is_refused_though_all_else_is_right(tmp_path: Path) -> None:
    older = save_changed(tmp_path, put("schema", SCHEMA - 1))
    assert f"has schema {SCHEMA - 1}, this version reads {SCHEMA}: make it again with calpow calibrate" in refused(
        older
    )


def test_another_schema_is_named_before_anything_else(tmp_path: Path) -> None:
    path = tmp_path / "future.json"
    path.write_text(f'{{"schema": {SCHEMA + 1}, "everything": "else"}}')
    assert f"has schema {SCHEMA + 1}, this version reads {SCHEMA}" in refused(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("schema", "6"), "schema must be of type int"),
        (drop("schema"), "schema is missing"),
        (drop("policy"), "policy must be an object"),
        (put("policy", []), "policy must be an object"),
        (put("policy.comment", "whatever"), "policy.comment is not known"),
        (put("policy.solver.cores", 2), "policy.solver.cores is not known"),
    ],
)
def test_a_document_of_another_form_is_refused(tmp_path: Path, change: Change, message: str) -> None:
    assert message in refused(save_changed(tmp_path, change))


def members(document: Mapping[str, object], prefix: str) -> list[str]:
    """Return the paths of all members of a document, but of those whose names are free."""
    names = []
    for name, value in document.items():
        names.append(prefix + name)
        if isinstance(value, dict) and name != "parts":
            names.extend(members(value, f"{prefix}{name}."))
    return names


def test_every_missing_member_is_named(tmp_path: Path) -> None:
    with_scrypt = put("policy.puzzle", SCRYPT)
    document = json.loads(save_changed(tmp_path, with_scrypt).read_text())
    names = members(document["policy"], "policy.")
    assert len(names) > 25
    for name in names:
        assert f"{name} is missing" in refused(save_changed(tmp_path, with_scrypt, drop(name)))


@pytest.mark.parametrize(
    ("name", "value", "message"),
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
        ("evidence.levels", [0.3, "0.1"], r"evidence.levels[1] must be of type float"),
        ("evidence.likeness", 1.5, "evidence.likeness must be of type int"),
        ("victim_sha256", 7, "victim_sha256 must be of type str"),
        ("name", "strict", "name must be one of: evidence, paper"),
        ("output", None, "output must be one of: probabilities"),
        ("rows", None, "rows must be an object"),
        ("rows.in_order", 1, "rows.in_order must be of type bool"),
        ("rows.counted", "yes", "rows.counted must be of type bool"),
        ("scores", [{"name": "magic", "settings": {}, "layer": ""}], r"scores[0].name must be one of: pate"),
        (
            "scores",
            [{"name": "pate", "settings": {"sigma": "2"}, "layer": ""}],
            "scores[0].settings.sigma must be of type float",
        ),
        ("puzzle.algorithm", "argon2id", "algorithm 'argon2id' is not known here"),
        ("puzzle.algorithm", "scrypt", "n, r and p belong to scrypt"),
        ("puzzle.cost", SCRYPT["cost"], "n, r and p belong to scrypt"),
        ("puzzle.cost", 32, "puzzle.cost must be an object"),
        ("puzzle", {**SCRYPT, "cost": {"n": 33, "r": 8, "p": 1}}, "n is a power of two"),
        ("puzzle", {**SCRYPT, "cost": {"n": 2**40, "r": 8, "p": 1}}, "more memory than the 64 MiB"),
        ("puzzle", {**SCRYPT, "cost": {"n": 32, "r": True, "p": 1}}, "puzzle.cost.r must be of type int"),
        ("puzzle.least_stamps", 0, "between 1 and 32"),
        ("puzzle.least_stamps", 33, "between 1 and 32"),
        ("puzzle.least_bits", 0, "between 1 and 40"),
        ("puzzle.least_bits", 41, "between 1 and 40"),
    ],
)
def test_a_member_of_another_type_or_kind_is_named(tmp_path: Path, name: str, value: object, message: str) -> None:
    assert message in refused(save_changed(tmp_path, put(f"policy.{name}", value)))


def test_a_policy_that_contradicts_itself_is_refused(tmp_path: Path) -> None:
    assert "policy.cap must be at least 1" in refused(save_changed(tmp_path, put("policy.cap", 0.5)))


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000])
def test_a_file_that_is_no_calibration_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "c.json"
    path.write_bytes(content)
    refused(path)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert "does not exist" in refused(tmp_path / "nothing.json")
