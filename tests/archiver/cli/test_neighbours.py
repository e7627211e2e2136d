"""`calpow neighbours` with more neighbours than there are."""

from pathlib import Path

import pytest

from calpow.archiver.reference_set import ReferenceOrder, write_reference_set
from calpow.handler.errors import NeighboursError
from tests.archiver.cli.conftest import Refused

pytestmark = [pytest.mark.training, pytest.mark.usefixtures("at_home")]


def test_more_neighbours_than_there_are(refused: Refused, tmp_path: Path) -> None:
    arguments = ("neighbours", "--victim", "victim.mar", "--data", "heldout", "--k", 49, "--output", tmp_path / "out")
    assert "--k 49: give a number from 1 to 48" in refused(*arguments)


def test_fewer_neighbours_than_one(home: Path, tmp_path: Path) -> None:
    with pytest.raises(NeighboursError, match="--k 0: give a number from 1 to 48"):
        write_reference_set(ReferenceOrder(home / "victim.mar", home / "heldout", tmp_path / "out", 0))
