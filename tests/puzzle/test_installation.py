"""The advice to install an extra names where this calpow came from."""

import json
from pathlib import Path

import pytest

from calpow.puzzle.installation import install_command


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the metadata folder of a calpow that is installed before any other."""
    metadata = tmp_path / "calpow-9.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: calpow\nVersion: 9\n")
    (metadata / "WHEEL").write_text("Wheel-Version: 1.0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return metadata


@pytest.mark.parametrize(
    ("origin", "command"),
    [
        (None, "pip install 'calpow[owner]'"),
        ({"url": "file:///home/ada/calpow", "dir_info": {}}, "pip install '/home/ada/calpow[owner]'"),
        (
            {"url": "file:///home/ada/my%20models", "dir_info": {"editable": True}},
            "pip install -e '/home/ada/my models[owner]'",
        ),
        ({"url": "file:///tmp/calpow-9.whl", "archive_info": {}}, "pip install '/tmp/calpow-9.whl[owner]'"),
        (
            {"url": "https://example.org/calpow.git", "vcs_info": {"vcs": "git", "commit_id": "1"}},
            "pip install 'calpow[owner] @ git+https://example.org/calpow.git'",
        ),
        ({"url": 7}, "pip install 'calpow[owner]'"),
        ([], "pip install 'calpow[owner]'"),
    ],
)
def test_the_command_installs_from_the_same_place(installed: Path, origin: object, command: str) -> None:
    if origin is not None:
        (installed / "direct_url.json").write_text(json.dumps(origin))
    assert install_command("owner") == command


def test_unreadable_metadata_are_an_index(installed: Path) -> None:
    (installed / "direct_url.json").write_text("{")
    assert install_command("fast") == "pip install 'calpow[fast]'"


def test_the_metadata_of_a_clone_do_not_hide_those_of_the_installation(
    installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (installed / "direct_url.json").write_text(json.dumps({"url": "file:///home/ada/calpow", "dir_info": {}}))
    clone = tmp_path / "clone"
    (clone / "calpow.egg-info").mkdir(parents=True)
    (clone / "calpow.egg-info" / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: calpow\nVersion: 9\n")
    monkeypatch.syspath_prepend(str(clone))
    assert install_command("owner") == "pip install '/home/ada/calpow[owner]'"
