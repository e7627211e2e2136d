"""Rates of minting stamps with client/js, in Node and in a page of a headless Chromium."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.demo.pages import CLIENT_FOLDER, pages
from calpow.puzzle.algorithms import ScryptCost
from calpow.puzzle.wire import cost_fields
from tests.support.browser import CHROMIUM
from tests.support.devtools import run_browser

Run = Callable[[str], Any]
NODE = shutil.which("node")

# Runs the body of an async function from each line of the input, and prints its result as a line of JSON.
_NODE_LOOP = """
    import { createInterface } from "node:readline";
    const AsyncFunction = (async () => {}).constructor;
    for await (const line of createInterface({ input: process.stdin })) {
      console.log(JSON.stringify(await new AsyncFunction(JSON.parse(line))()));
    }
"""
# The job has stamps that take a hundredth of the time and more.
_ONE_CORE = """
    const { searchSlice } = await import(folder + "mint.js");
    const job = { algorithm, cost, bits, fields: `1:${bits}:260101120000:0ac4f841197bd368:0:` };
    const begun = performance.now();
    let [digests, spent] = [0, 0];
    while ((spent = performance.now() - begun) < milliseconds) digests += searchSlice(job, 20).hashes;
    return digests / (spent / 1000);
"""
_ALL_CORES = """
    const { solve } = await import(folder + "calpow.js");
    const rate = async (workers) => {
      let last;
      await solve({ token: "a.b.c", id: crypto.getRandomValues(new Uint32Array(2)).join(""), algorithm, ...cost, bits,
        count: 16, expires: "2099-01-01T00:00:00Z" }, { workers, onProgress: (progress) => (last = progress) });
      return last.hashes / last.seconds;
    };
    return (await rate(cores)) / (await rate(1));
"""


@contextmanager
def script_runtimes() -> Iterator[Mapping[str, Run]]:
    """Start Node and a page in Chromium, where they are installed; yield what runs a script in them, by name."""
    with ExitStack() as stack:
        runtimes: dict[str, Run] = {}
        if NODE:
            runtimes["Node"] = stack.enter_context(_node(NODE))
        if CHROMIUM:
            runtimes["Chromium"] = stack.enter_context(_page())
        yield runtimes


def one_core(run: Run, algorithm: str, cost: ScryptCost | None, seconds: float) -> float:
    """Return the digests a second of one thread."""
    bits = 4 if cost else 17
    return float(
        run(_declare(algorithm=algorithm, cost=_cost(cost), bits=bits, milliseconds=1000 * seconds) + _ONE_CORE)
    )


def all_cores(run: Run, algorithm: str, cost: ScryptCost | None, cores: int) -> float:
    """Return the rate of one large puzzle's solver with a worker on each core, as a multiple of one worker's."""
    bits = 8 if cost else 20
    return float(run(_declare(algorithm=algorithm, cost=_cost(cost), bits=bits, cores=cores) + _ALL_CORES))


def _cost(cost: ScryptCost | None) -> dict[str, int] | None:
    return cost_fields(cost) or None


def _declare(**constants: object) -> str:
    return "".join(f"const {name} = {json.dumps(value)};" for name, value in constants.items())


@contextmanager
def _node(program: str) -> Iterator[Run]:
    command = [program, "--input-type=module", "--eval", _NODE_LOOP]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        yield partial(_run_in_node, process)
        process.stdin.close()


def _run_in_node(process: subprocess.Popen[str], body: str) -> Any:
    assert process.stdin
    assert process.stdout
    process.stdin.write(json.dumps(_declare(folder=f"{CLIENT_FOLDER.as_uri()}/") + body) + "\n")
    process.stdin.flush()
    return json.loads(process.stdout.readline())


@contextmanager
def _page() -> Iterator[Run]:
    with TemporaryDirectory() as profile, run_browser(Path(profile)) as browser, pages({}, port=0) as site:
        page = browser.page(f"{site}/demo.html")
        yield partial(page.run, folder="/")
