"""A victim's private copy: what a command works on, whatever happens to the file meanwhile."""

import re
from pathlib import Path

import pytest
import torch

from calpow.archiver.victim.fingerprint import fingerprint
from calpow.archiver.victim.victim_archive import copy_victim, open_copy, open_victim
from calpow.handler.config import ENTRY_MODULE, file_sha256
from calpow.handler.errors import VictimError
from tests.support.victims.build import archive, pictures, vector_class


def test_a_victim_that_is_replaced_meanwhile_is_used_as_it_was(tmp_path: Path) -> None:
    victim = vector_class(tmp_path, "victim")
    (tmp_path / "other").mkdir()
    other = pictures(tmp_path / "other", "other", script=False)
    expected = file_sha256(victim)
    with copy_victim(victim) as archive:
        victim.write_bytes(other.read_bytes())
        assert archive.sha256 == expected == file_sha256(archive.path)
        with open_copy(archive) as opened:
            assert opened.fingerprint == archive.fingerprint
            (call,) = opened.calls({"body": b"0.1,0.2,0.3,0.4"})
            assert torch.equal(call.arguments.tensors[0], torch.tensor([[0.1, 0.2, 0.3, 0.4]]))
    assert not archive.path.exists()


def test_the_process_is_as_it_was_after_a_victim_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    victim = vector_class(tmp_path, "victim")
    with open_victim(victim):
        assert Path.cwd() != tmp_path
    assert Path.cwd() == tmp_path
    with open_victim(victim) as again:
        assert again.fingerprint == fingerprint(victim)


def test_what_is_no_model_archive_is_refused_by_its_own_path(tmp_path: Path) -> None:
    bogus = tmp_path / "bogus.mar"
    bogus.write_bytes(b"PK not really")
    with pytest.raises(VictimError, match=f"{bogus} is not a model archive"), copy_victim(bogus):
        pass


@pytest.mark.parametrize("handler", ["object_detector", "image_segmenter"])
def test_models_that_do_not_classify_are_refused_before_they_are_loaded(tmp_path: Path, handler: str) -> None:
    weights = tmp_path / "weights.pt"
    weights.write_bytes(b"not even weights")
    victim = archive(tmp_path, "detector", handler, serialized_file=weights)
    with (
        pytest.raises(VictimError, match=f"detector.mar is served by {handler}.*only models that"),
        copy_victim(victim),
    ):
        pass


def test_a_protected_archive_is_not_protected_again(tmp_path: Path) -> None:
    entry = tmp_path / f"{ENTRY_MODULE}.py"
    entry.write_text("")
    protected = archive(tmp_path, "protected", str(entry))
    with pytest.raises(VictimError, match="is protected already: give the victim's own"), copy_victim(protected):
        pass


def test_what_a_victim_prints_while_it_is_loaded_stays_off_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_victim(service(tmp_path, "print('loading')")):
        pass
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("code", "line"),
    [
        (
            "raise RuntimeError('Invalid device string: cuda:None')",
            "victim.mar: its initialize raises RuntimeError: Invalid device string: cuda:None;"
            " mend it (try it with torchserve first)",
        ),
        ("raise SystemExit(3)", "victim.mar: its initialize raises SystemExit: 3; mend it"),
        ("import no_such_codec", "victim.mar needs the module no_such_codec, which is not installed here: pip install"),
    ],
)
def test_a_victim_that_cannot_be_loaded_is_one_line(tmp_path: Path, code: str, line: str) -> None:
    with pytest.raises(VictimError, match=re.escape(line)), open_victim(service(tmp_path, code)):
        pass


def test_a_missing_requirement_is_named_with_the_victims_own_list(tmp_path: Path) -> None:
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("# codecs\nno-such-codec==1.2\n\nother\n")
    victim = service(tmp_path, "", before="import no_such_codec", requirements_file=requirements)
    line = r"needs the module no_such_codec.*what its requirements.txt lists \(no-such-codec==1.2, other\)"
    with pytest.raises(VictimError, match=line), open_victim(victim):
        pass


def test_a_handler_that_cannot_be_imported_is_not_mistaken_for_a_stock_one(tmp_path: Path) -> None:
    victim = service(tmp_path, "", before="1 / 0")
    with pytest.raises(VictimError, match="its handler raises ZeroDivisionError: division by"), open_victim(victim):
        pass


def service(folder: Path, initialize: str, before: str = "", **options: Path) -> Path:
    """Archive a handler with code of the test's in its `initialize`, and before its class."""
    handler = folder / "own_service.py"
    handler.write_text(SERVICE.format(initialize=initialize or "pass", before=before))
    return archive(folder, "victim", str(handler), **options)


SERVICE = """
import torch
{before}

class Service:
    def initialize(self, context):
        {initialize}
        self.model = torch.nn.Linear(4, 4)

    def handle(self, data, context):
        return [self.model(torch.zeros(1, 4)).tolist() for _ in data]
"""
