"""Fixtures of the ledger's tests, which every backend must pass."""

from pathlib import Path

import pytest

from calpow.handler.ledger.ledger import Ledger
from calpow.handler.ledger.uri import open_ledger


@pytest.fixture(params=["sqlite"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URI of a ledger that does not exist yet. Another backend joins the tests with its name and its URI here."""
    return {"sqlite": f"sqlite:///{tmp_path}/ledger.db"}[request.param]


@pytest.fixture
def ledger(uri: str) -> Ledger:
    return open_ledger(uri)
