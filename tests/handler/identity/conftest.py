"""Fixtures of the tests of identification."""

from pathlib import Path

import pytest

from tests.support.identity_provider import Provider


@pytest.fixture
def provider(tmp_path: Path) -> Provider:
    """An identity provider with one key."""
    provider = Provider(tmp_path)
    provider.add("first")
    return provider
