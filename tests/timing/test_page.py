"""A page that solves a puzzle stays responsive, and stops at once when it is cancelled."""

from collections.abc import Iterator

import pytest

from tests.support.devtools import Browser, Page
from tests.support.page_scripts import needs_chromium
from tests.support.scripted_server import ScriptedServer, challenge

pytestmark = [pytest.mark.timing, pytest.mark.browser, needs_chromium]


@pytest.fixture
def strict_page(browser: Browser, model_server: ScriptedServer) -> Iterator[Page]:
    """An empty page that may run neither workers nor WebAssembly."""
    model_server.policy = "script-src 'self'; worker-src 'none'"
    tab = browser.page(f"{model_server.url}/")
    yield tab
    tab.close()


def test_a_page_that_solves_by_itself_draws_its_frames(strict_page: Page) -> None:
    longest_gap = strict_page.run(
        """
        const { solve } = await import("/calpow.js");
        let [longest, before] = [0, performance.now()];
        const measure = (now) => {
          longest = Math.max(longest, now - before);
          before = now;
          requestAnimationFrame(measure);
        };
        requestAnimationFrame(measure);
        await solve(document, {});
        return longest;
        """,
        document=challenge(bits=15, count=16),
    )
    assert longest_gap < 250


def test_cancelling_takes_effect_at_once(browser: Browser, model_server: ScriptedServer) -> None:
    page = browser.page(f"{model_server.url}/")
    milliseconds = page.run(
        """
        const { solve } = await import("/calpow.js");
        const controller = new AbortController();
        let cancelledAt = 0;
        setTimeout(() => {
          cancelledAt = performance.now();
          controller.abort();
        }, 400);
        await solve(document, { signal: controller.signal }).catch(() => {});
        return performance.now() - cancelledAt;
        """,
        document=challenge(bits=30, count=64),
    )
    page.close()
    assert milliseconds < 100
