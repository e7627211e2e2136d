"""Pages in a headless Chromium that use client/js, and a call of powFetch to a server of another origin."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.devtools import Browser, Page
from tests.support.page_scripts import FETCH, PowFetch
from tests.support.scripted_server import ScriptedServer, scripted_server

# Neither workers nor WebAssembly.
STRICT_POLICY = "script-src 'self'; worker-src 'none'"


@pytest.fixture(scope="module")
def page_server() -> Iterator[ScriptedServer]:
    """The server of the page: another origin than `model_server`."""
    with scripted_server() as running:
        yield running


@pytest.fixture(scope="module")
def page(browser: Browser, page_server: ScriptedServer) -> Page:
    """An empty page that tests share and must not change."""
    return browser.page(f"{page_server.url}/")


@pytest.fixture
def own_page(browser: Browser, page_server: ScriptedServer) -> Iterator[Page]:
    """An empty page that a test may change."""
    tab = browser.page(f"{page_server.url}/")
    yield tab
    tab.close()


@pytest.fixture
def strict_page(browser: Browser, model_server: ScriptedServer) -> Iterator[Page]:
    """An empty page that may run neither workers nor WebAssembly."""
    model_server.policy = STRICT_POLICY
    tab = browser.page(f"{model_server.url}/")
    yield tab
    tab.close()


@pytest.fixture
def pow_fetch(page: Page, page_server: ScriptedServer, model_server: ScriptedServer) -> PowFetch:
    """Call powFetch in the page for the model's server, with these options, or run another script."""

    def call(script: str = FETCH, **options: object) -> Any:
        return page.run(
            script, module=f"{page_server.url}/calpow.js", url=f"{model_server.url}/predict", options=options
        )

    return call
