"""Scripts that tests run in Node with client/js, as ES modules."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.demo.pages import CLIENT_FOLDER

NODE = next(filter(None, (shutil.which("node", path=Path(sys.executable).parent), shutil.which("node"))), None)
needs_node = pytest.mark.skipif(NODE is None, reason="Node is not installed")
TIMEOUT = 60.0  # seconds


def run_in_node(body: str, **constants: object) -> Any:
    """Run an async function with this body in a new process, and return its result once the process has ended.

    `powFetch`, `solve` and the rest of client/js are in `calpow`, `pause` waits for so many milliseconds.
    """
    assert NODE
    module = (CLIENT_FOLDER / "calpow.js").as_uri()
    declarations = "".join(f"const {name} = {json.dumps(value)};" for name, value in constants.items())
    script = f"""
        const calpow = await import({json.dumps(module)});
        const {{ powFetch }} = calpow;
        const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
        {declarations}
        const result = await (async () => {{ {body} }})();
        console.log(JSON.stringify(result ?? null));
    """
    completed = subprocess.run(
        [NODE, "--input-type=module", "--eval", script], capture_output=True, text=True, timeout=TIMEOUT, check=False
    )
    assert completed.returncode == 0, completed.stderr
    return json.loads(completed.stdout)
