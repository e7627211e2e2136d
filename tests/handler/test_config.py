"""An archive's settings: what is written is read, and wrong ones are refused in one line."""

from pathlib import Path

import pytest

from calpow.handler.config import FILE, SCHEMA, GateConfig, Mode
from calpow.handler.errors import GateMisconfigured

CONFIG = GateConfig(
    schema=SCHEMA,
    victim_sha256="0" * 64,
    parts={"teachers.pt2": "1" * 64},
    calibration_sha256="2" * 64,
    ledger=None,
    max_samples=256,
    explanation_factor=10.0,
    mode=Mode.observe,
    records="/records.jsonl",
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
        (b'{"schema": 2}', "calpow.json has schema 2, this version reads 3"),
        (CONFIG.to_json().replace("observe", "look").encode(), "calpow.json: mode must be one of: enforce, observe"),
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
