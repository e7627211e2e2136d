"""Solving in workers and on the page: who searches, and what happens when workers are forbidden or die."""

import pytest

from tests.support.devtools import Page
from tests.support.page_scripts import needs_chromium
from tests.support.scripted_server import ScriptedServer, challenge, scripted_server
from tests.support.shared_cases import puzzle_of

pytestmark = [pytest.mark.browser, needs_chromium]


@pytest.mark.parametrize("name", ["own_page", "strict_page"])
def test_digests_too_slow_for_the_page_are_taken_in_workers_where_there_are_any(
    request: pytest.FixtureRequest, name: str
) -> None:
    page: Page = request.getfixturevalue(name)
    document = challenge(algorithm="scrypt", bits=2, count=4, n=4096, r=8, p=1)
    stamps, taken, in_workers = page.run(
        """
        let inWorkers = 0;
        const Plain = Worker;
        Worker = function (...given) {
          const worker = new Plain(...given);
          worker.addEventListener("message", ({ data }) => (inWorkers += data.hashes));
          return worker;
        };
        const { solve } = await import("/calpow.js");
        let taken = 0;
        const stamps = await solve(document, { onProgress: ({ hashes }) => (taken = hashes) });
        return [stamps, taken, inWorkers];
        """,
        document=document,
    )

    puzzle_of(document).verify(stamps)
    assert in_workers == (taken if name == "own_page" else 0)


def test_a_page_that_may_run_neither_workers_nor_webassembly_solves_between_frames(strict_page: Page) -> None:
    document = challenge(bits=15, count=16)
    stamps, slices, frames = strict_page.run(
        """
        const { solve } = await import("/calpow.js");
        let [frames, slices] = [0, 0];
        const countFrame = () => {
          frames++;
          requestAnimationFrame(countFrame);
        };
        requestAnimationFrame(countFrame);
        const stamps = await solve(document, { onProgress: () => slices++ });
        return [stamps, slices, frames];
        """,
        document=document,
    )

    puzzle_of(document).verify(stamps)
    assert slices > 20
    assert frames > 5


def test_a_module_of_a_third_origin_still_has_workers(own_page: Page) -> None:
    document = challenge(bits=17, count=32)
    with scripted_server() as third:
        stamps, answers = own_page.run(
            """
            let answers = 0;
            const Plain = Worker;
            Worker = function (...given) {
              const worker = new Plain(...given);
              worker.addEventListener("message", () => answers++);
              return worker;
            };
            const { solve } = await import(module);
            return [await solve(document), answers];
            """,
            module=f"{third.url}/calpow.js",
            document=document,
        )

    puzzle_of(document).verify(stamps)
    assert answers > 1


def test_a_page_whose_workers_die_goes_on_by_itself(own_page: Page) -> None:
    document = challenge(bits=18, count=32)
    stamps, deaths = own_page.run(
        """
        let deaths = 0;
        const Plain = Worker;
        Worker = function (...given) {
          const worker = new Plain(...given);
          let answers = 0;
          worker.addEventListener("message", () => {
            if (++answers !== 2) return;
            worker.terminate();
            deaths++;
            setTimeout(() => worker.dispatchEvent(new ErrorEvent("error", { message: "out of memory" })));
          });
          return worker;
        };
        const { solve } = await import("/calpow.js");
        return [await solve(document, { workers: 2 }), deaths];
        """,
        document=document,
    )

    puzzle_of(document).verify(stamps)
    assert deaths == 2


def test_cancelling_ends_the_work_with_the_workers(own_page: Page, model_server: ScriptedServer) -> None:
    model_server.challenge_always(bits=30, count=64)
    outcome = own_page.run(
        """
        const { powFetch } = await import("/calpow.js");
        const workers = [];
        const Plain = Worker;
        Worker = function (...given) {
          const worker = new Plain(...given);
          workers.push(worker);
          return worker;
        };
        const controller = new AbortController();
        let reports = 0;
        setTimeout(() => controller.abort(), 400);
        const error = await powFetch(url, {
          method: "POST", body: "x", signal: controller.signal, maxHashes: 2 ** 50, onProgress: () => reports++,
        }).catch((error) => error);
        const reportsBefore = reports;
        let answers = 0;
        for (const worker of workers) worker.onmessage = () => answers++;
        await new Promise((resolve) => setTimeout(resolve, 200));
        const isDomError = error instanceof DOMException;
        return { name: error.name, isDomError, reportsBefore, reports, workers: workers.length, answers };
        """,
        url=f"{model_server.url}/predict",
    )

    assert outcome["name"] == "AbortError"
    assert outcome["isDomError"]
    assert outcome["reportsBefore"] == outcome["reports"] > 1
    assert outcome["workers"] >= 1
    assert outcome["answers"] == model_server.solutions == 0
