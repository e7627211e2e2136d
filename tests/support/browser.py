"""A headless browser that opens a file: the console's messages, the document, and measurements in it."""

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from typing import Any

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
# No window, no state of earlier runs, no requests of the browser's own.
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
_RESULT = "measured-by-the-test"  # an attribute of the document


@dataclass(frozen=True)
class LoadedPage:
    """The document of a page once it is loaded, and the lines of the browser's console."""

    document: str
    console: tuple[str, ...]


def open_page(page: Path, profile: Path, *options: str) -> LoadedPage:
    """Load a file in a new browser, with `profile` as its folder."""
    assert CHROMIUM
    completed = subprocess.run(
        [CHROMIUM, *OPTIONS, *options, f"--user-data-dir={profile}", "--dump-dom", page.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return LoadedPage(completed.stdout, tuple(line for line in completed.stderr.splitlines() if ":CONSOLE" in line))


def measure(page: Path, expression: str, folder: Path, width: int) -> Any:
    """Return the value of a JavaScript expression in a page, so many pixels wide.

    The page is a copy whose policy allows scripts.
    """
    script = f"<script>parent.postMessage(JSON.stringify({expression}), '*')</script>"
    text = re.sub(r"<meta http-equiv=.*?>", "", page.read_text(encoding="utf-8"))
    (folder / "copy.html").write_text(text.replace("</body>", f"{script}</body>"), encoding="utf-8")
    # In a frame, because a window cannot be as narrow as a phone.
    (folder / "frame.html").write_text(
        f"<script>addEventListener('message', event => document.body.setAttribute('{_RESULT}', event.data))</script>"
        f'<body><iframe src="copy.html" style="border: 0; width: {width}px; height: 900px"></iframe></body>'
    )
    loaded = open_page(folder / "frame.html", folder / "profile", "--virtual-time-budget=5000")
    match = re.search(rf'{_RESULT}="(.*?)"', loaded.document)
    assert match, loaded.console
    return json.loads(unescape(match[1]))
