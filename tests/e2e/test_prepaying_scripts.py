"""client/js pays TorchServe beforehand, from a page of another origin in a headless Chromium and from Node."""

import base64
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
import requests

from benchmarks.demo.pages import pages
from tests.support.devtools import Browser
from tests.support.guarded import Site
from tests.support.node import needs_node, run_in_node
from tests.support.page_scripts import needs_chromium

pytestmark = pytest.mark.server

Run = Callable[..., Any]
# Keeps the solution of every request that is sent; `query` asks about a picture and returns the status.
PREPARED = """
    const plain = globalThis.fetch;
    const sent = [];
    globalThis.fetch = (input, init) => {
      sent.push(init.headers.get("PoW-Solution") ?? "");
      return plain(input, init);
    };
    const picture = Uint8Array.from(atob(encoded), (letter) => letter.charCodeAt(0));
    const query = async (options) => {
      const answer = await powFetch(url, { method: "POST", body: picture, key, ...options });
      return answer.status;
    };
"""


@pytest.fixture(params=[pytest.param("page", marks=[pytest.mark.browser, needs_chromium]), "node"])
def run(request: pytest.FixtureRequest) -> Iterator[Run]:
    """Run a script with `powFetch` and `pause`, in a page of another origin or in Node."""
    if request.param == "node":
        if needs_node.args[0]:
            pytest.skip("Node is not installed")
        yield run_in_node
        return
    browser: Browser = request.getfixturevalue("browser")
    prelude = """
        const { powFetch } = await import("/calpow.js");
        const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
    """
    with pages({}, port=0) as address:
        tab = browser.page(f"{address}/demo.html")
        yield lambda body, **constants: tab.run(prelude + body, **constants)
        tab.close()


@pytest.fixture
def account(site: Site, request: pytest.FixtureRequest) -> Mapping[str, str]:
    """The constants of PREPARED, for an account of the test's own."""
    return {
        "url": site.server.url("eager"),
        "key": site.key(request.node.name),
        "encoded": base64.b64encode(site.picture).decode(),
    }


def test_from_the_second_query_on_an_answer_takes_one_round_trip(run: Run, account: Mapping[str, str]) -> None:
    statuses, trips, works = run(
        PREPARED
        + """
        const statuses = [], trips = [], works = [];
        for (let number = 0; number < 4; number++) {
          let work = 0;
          const before = sent.length;
          statuses.push(await query({ onProgress: () => work++ }));
          trips.push(sent.length - before);
          works.push(work > 0);
          await pause(500);
        }
        return [statuses, trips, works];
        """,
        **account,
    )

    assert statuses == [200] * 4
    assert trips == [2, 1, 1, 1]
    assert works == [True, True, False, False]


def test_ten_queries_at_once_pay_with_different_stamps(run: Run, account: Mapping[str, str]) -> None:
    statuses, sent = run(
        PREPARED
        + """
        await query();
        await query();
        await pause(300);
        sent.length = 0;
        return [await Promise.all(Array.from({ length: 10 }, () => query())), sent];
        """,
        **account,
    )

    assert statuses == [200] * 10
    assert len(sent) == 10
    stamps = [stamp for solution in sent for stamp in solution.split()[1:]]
    assert all(solution.startswith("prepaid ") for solution in sent)
    assert len(set(stamps)) == len(stamps) >= 10


def test_stamps_that_the_server_calls_spent_are_replaced_by_a_challenge(run: Run, account: Mapping[str, str]) -> None:
    statuses, sent = run(
        PREPARED
        + """
        const recording = globalThis.fetch;
        let copies = 0;
        // The stamps pay for another request before their own.
        globalThis.fetch = async (input, init) => {
          const isFirst = init.headers.get("PoW-Solution")?.startsWith("prepaid ") && copies++ === 0;
          if (isFirst) await plain(input, { ...init, body: Uint8Array.from([...picture, 0]) });
          return recording(input, init);
        };
        return [[await query(), await query(), await query()], sent];
        """,
        **account,
    )

    assert statuses == [200] * 3
    assert [solution.split(" ")[0][:7] for solution in sent] == ["", "eyJhbGc", "prepaid", "eyJhbGc", "prepaid"]


@pytest.mark.parametrize("page", [True, False])
def test_only_a_page_s_request_is_told_which_headers_it_may_read(site: Site, page: bool) -> None:
    headers = {"X-Api-Key": site.key(f"exposed {page}"), **({"Origin": "https://example.org"} if page else {})}
    response = requests.post(site.server.url("eager"), data=site.picture, headers=headers, timeout=30)

    exposed = {name.strip() for name in response.headers.get("Access-Control-Expose-Headers", "").split(",")}
    assert exposed == ({"PoW-Next", "PoW-Subject", "WWW-Authenticate", "Date", "Retry-After"} if page else {""})
