"""A real browser without a window: what it says of a page, and what the page has become in it."""

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from typing import Any

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
# No window, nothing remembered, nothing asked of the network.
OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
)
_RESULT = "measured-by-the-test"


@dataclass(frozen=True)
class Opened:
    """The document once it is loaded, and the lines of the browser's console."""

    document: str
    console: tuple[str, ...]


def open_page(page: Path, profile: Path, *options: str) -> Opened:
    """Open a file in a browser of its own, `profile` being its folder."""
    assert CHROMIUM
    done = subprocess.run(
        [CHROMIUM, *OPTIONS, *options, f"--user-data-dir={profile}", "--dump-dom", page.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return Opened(done.stdout, tuple(line for line in done.stderr.splitlines() if ":CONSOLE" in line))


def measure(page: Path, expression: str, folder: Path, width: int) -> Any:
    """The value of a JavaScript expression in a copy of the page that is allowed to run it, so many pixels wide."""
    script = f"<script>parent.postMessage(JSON.stringify({expression}), '*')</script>"
    text = re.sub(r"<meta http-equiv=.*?>", "", page.read_text(encoding="utf-8"))
    (folder / "copy.html").write_text(text.replace("</body>", f"{script}</body>"), encoding="utf-8")
    # A frame, since a window has a least width that no phone has.
    (folder / "frame.html").write_text(
        f"<script>addEventListener('message', said => document.body.setAttribute('{_RESULT}', said.data))</script>"
        f'<body><iframe src="copy.html" style="border: 0; width: {width}px; height: 900px"></iframe></body>'
    )
    opened = open_page(folder / "frame.html", folder / "profile", "--virtual-time-budget=5000")
    found = re.search(rf'{_RESULT}="(.*?)"', opened.document)
    assert found, opened.console
    return json.loads(unescape(found[1]))
