"""An archive's settings: what is written is read, and wrong ones are refused in one line."""

from dataclasses import replace
from pathlib import Path

import pytest

from calpow.handler.config import FILE, SCHEMA, GateConfig, Mode
from calpow.handler.errors import GateMisconfigured
from calpow.handler.identity.ways import IdentityWay

CONFIG = GateConfig(
    schema=SCHEMA,
    victim_sha256="0" * 64,
    victim_fingerprint="3" * 64,
    parts={"teachers.pt": "1" * 64},
    calibration_sha256="2" * 64,
    ledger=None,
    max_samples=256,
    max_bytes=1 << 24,
    max_pixels=0,
    torch="2.0",
    explanation_factor=10.0,
    mode=Mode.observe,
    records="/records.jsonl",
    identity=(IdentityWay.key, IdentityWay.jwt),
)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(CONFIG.to_json())
    assert GateConfig.read(tmp_path) == CONFIG


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "calpow.json cannot be read"),
        (b"\xff", "calpow.json cannot be read"),
        (b"[]", "calpow.json is not a JSON object"),
        (b'{"schema": 3}', "calpow.json has schema 3, this version reads 5"),
        (CONFIG.to_json().replace("observe", "look").encode(), "calpow.json: mode must be one of: enforce, observe"),
        (
            CONFIG.to_json().replace('"jwt"', '"jtw"').encode(),
            "calpow.json: identity[1] must be one of: key, jwt",
        ),
        (replace(CONFIG, identity=()).to_json().encode(), "calpow.json: identity names no way"),
        (CONFIG.to_json().replace("max_samples", "samples").encode(), "calpow.json: "),
    ],
)
def test_settings_of_another_form_are_refused_in_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(GateMisconfigured, match="calpow archive") as refusal:
        GateConfig.read(tmp_path)
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_settings_that_are_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(GateMisconfigured, match=r"calpow\.json cannot be read"):
        GateConfig.read(tmp_path)


@pytest.mark.parametrize("installed", ["2.0.0+cu117", "2.0.1", "2.14.0", "3.0.0a0+git1234"])
def test_an_archive_runs_on_the_torch_that_it_needs_and_on_newer_ones(installed: str) -> None:
    CONFIG.check_torch(installed)


@pytest.mark.parametrize(
    ("needed", "installed", "way_out"),
    [
        ("2.14", "2.4.1+cu121", "upgrade torch, or train the teachers with --trunk victim, scattering or random"),
        ("2.14", "1.13.1", "upgrade torch"),
        ("2.0", "1.13.1", "upgrade torch"),
    ],
)
def test_an_older_torch_is_refused_in_one_line_with_the_way_out(needed: str, installed: str, way_out: str) -> None:
    with pytest.raises(GateMisconfigured) as refusal:
        replace(CONFIG, torch=needed).check_torch(installed)
    assert str(refusal.value) == f"this archive needs torch >= {needed}; the server has {installed}: {way_out}"
