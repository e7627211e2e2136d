"""A fixture of the command line's tests: an empty folder to work in."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _in_an_empty_folder_without_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CALPOW_KEY", raising=False)
    monkeypatch.chdir(tmp_path)
