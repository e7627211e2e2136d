"""The backends that the ledger's tests run on."""

from pathlib import Path

import pytest


@pytest.fixture(params=["sqlite"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A ledger that does not exist yet. Another backend joins the suites with its name and its URI here."""
    return {"sqlite": f"sqlite:///{tmp_path}/ledger.db"}[request.param]
