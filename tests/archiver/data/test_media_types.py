"""Media types: the owner's commands and `calpow predict` send a file as the same."""

from pathlib import Path

import pytest

from calpow.archiver.data.media_types import BYTES, JSON, media_type
from calpow.client.cli import file_sender


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.json", JSON),
        ("a.JSON", JSON),
        ("folder.json/a.Json", JSON),
        (".json", JSON),
        ("a.json.gz", BYTES),
        ("a.txt", BYTES),
        ("a.PNG", BYTES),
        ("a", BYTES),
        ("a.jsonl", BYTES),
        ("folder.json/a", BYTES),
    ],
)
def test_a_suffix_tells_the_type_in_either_case_and_in_both_rooms(name: str, expected: str) -> None:
    assert media_type(Path(name)) == expected
    assert (file_sender.media_type(name) or BYTES) == expected
