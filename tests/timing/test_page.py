"""A page that solves a puzzle stays responsive, and stops at once when it is cancelled."""

import time
from collections.abc import Iterator, Mapping

import pytest

from tests.support.devtools import Browser, Page
from tests.support.page_scripts import needs_chromium
from tests.support.scripted_server import Answer, ScriptedServer, challenge

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


# A price of minutes of work: the worker in the background is busy for as long as it may be.
PREPAYING = """
    const { powFetch } = await import(module);
    for (let number = 0; number < 2; number++) {
      await powFetch(url, { method: "POST", body: String(number), key: "k", maxHashes: 2 ** 40, workers: 1 });
    }
"""


def announce(model_server: ScriptedServer, hashes: int) -> None:
    """Ask for little work, and announce much more for the next answer."""
    document = challenge()
    exposed = {"Access-Control-Expose-Headers": "PoW-Next, WWW-Authenticate"}
    realm = {**exposed, "WWW-Authenticate": f'PoW realm="digits@9f2c41", challenge="{document["token"]}"'}

    def answer(headers: Mapping[str, str]) -> Answer:
        if "pow-solution" in headers:
            return 200, "paid", {**exposed, "PoW-Next": str(hashes if len(model_server.requests) > 2 else 512)}
        return 402, {"challenge": document}, realm

    model_server.answer = answer


def test_a_page_that_mints_in_the_background_draws_its_frames(browser: Browser, model_server: ScriptedServer) -> None:
    announce(model_server, 1 << 36)
    page = browser.page(f"{model_server.url}/")
    longest_gap, busy = page.run(
        PREPAYING
        + """
        let [longest, before] = [0, performance.now()];
        const measure = (now) => {
          longest = Math.max(longest, now - before);
          before = now;
          requestAnimationFrame(measure);
        };
        requestAnimationFrame(measure);
        await new Promise((resolve) => setTimeout(resolve, 1500));
        return [longest, performance.getEntriesByType("resource").some(({ name }) => name.endsWith("/worker.js"))];
        """,
        module="/calpow.js",
        url=f"{model_server.url}/predict",
    )
    page.close()

    assert longest_gap < 250
    assert busy


def test_closing_a_tab_ends_what_it_mints(browser: Browser, model_server: ScriptedServer) -> None:
    announce(model_server, 1 << 36)
    page = browser.page(f"{model_server.url}/")
    page.run(PREPAYING, module="/calpow.js", url=f"{model_server.url}/predict")
    time.sleep(0.5)
    assert busy_share(browser) > 0.3
    page.close()
    time.sleep(0.5)

    assert busy_share(browser) < 0.1


def busy_share(browser: Browser) -> float:
    """Return the share of a core that the browser's pages use during half a second."""
    before = renderer_seconds(browser)
    time.sleep(0.5)
    after = renderer_seconds(browser)
    return sum(after[number] - before.get(number, 0.0) for number in after) / 0.5


def renderer_seconds(browser: Browser) -> dict[int, float]:
    processes = browser.call("SystemInfo.getProcessInfo")["processInfo"]
    return {process["id"]: process["cpuTime"] for process in processes if process["type"] == "renderer"}
