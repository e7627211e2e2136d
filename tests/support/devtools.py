"""A headless Chromium that a test drives over the DevTools protocol: its pages, scripts, mouse and keyboard."""

from __future__ import annotations

import base64
import json
import os
import select
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.browser import CHROMIUM, OPTIONS

TIMEOUT = 30.0  # seconds


class ScriptFailed(Exception):
    """A script in a page threw an error."""


@dataclass
class Browser:
    """A running browser. The protocol is JSON messages, each ended by a zero byte, over a pair of pipes."""

    reading: int
    writing: int
    _buffer: bytes = b""
    _number: int = 0

    def call(self, method: str, session: str | None = None, **parameters: object) -> dict[str, Any]:
        """Send a command and return its result; events in between are dropped."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        os.write(self.writing, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + TIMEOUT
        while True:
            reply = self._receive(deadline)
            if reply.get("id") == self._number:
                assert "error" not in reply, (method, reply["error"])
                result: dict[str, Any] = reply["result"]
                return result

    def page(self, url: str) -> Page:
        """Open a page in a new tab, and return it once it is loaded."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(self, session, target)
        page.open(url)
        return page

    def _receive(self, deadline: float) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self.reading], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, "the browser does not answer"
            received = os.read(self.reading, 1 << 16)
            assert received, "the browser is gone"
            self._buffer += received
        message, _, self._buffer = self._buffer.partition(b"\0")
        decoded: dict[str, Any] = json.loads(message)
        return decoded


@dataclass
class Page:
    """A tab of a browser."""

    browser: Browser
    session: str
    target: str

    def call(self, method: str, **parameters: object) -> dict[str, Any]:
        """Send a command for this tab and return its result."""
        return self.browser.call(method, self.session, **parameters)

    def open(self, url: str) -> None:
        """Navigate to a page, and wait until it and its modules are loaded."""
        error = self.call("Page.navigate", url=url).get("errorText")
        assert error is None, (url, error)
        self.wait_for(f"location.href === {json.dumps(url)} && document.readyState === 'complete'")

    def run(self, body: str, **constants: object) -> Any:
        """Run an async function with this body and return its result. Raises ScriptFailed."""
        declarations = "".join(f"const {name} = {json.dumps(value)};" for name, value in constants.items())
        return self.value(f"(async () => {{ {declarations} {body} }})()")

    def value(self, expression: str) -> Any:
        """Evaluate an expression, await its value and return it. Raises ScriptFailed."""
        reply = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in reply:
            details = reply["exceptionDetails"]
            thrown = details.get("exception", {})
            raise ScriptFailed(thrown.get("description", thrown.get("value", details["text"])))
        return reply["result"].get("value")

    def wait_for(self, condition: str, seconds: float = TIMEOUT) -> None:
        """Wait until an expression is true."""
        deadline = time.monotonic() + seconds
        while not self.value(condition):
            assert time.monotonic() < deadline, f"never came true: {condition}"
            time.sleep(0.02)

    def drag(self, points: Sequence[tuple[float, float]]) -> None:
        """Press the mouse at the first point, move it along the points, and release it at the last."""
        for event, (x, y) in (
            ("mousePressed", points[0]),
            *(("mouseMoved", point) for point in points[1:]),
            ("mouseReleased", points[-1]),
        ):
            self.call("Input.dispatchMouseEvent", type=event, x=x, y=y, button="left", buttons=1, clickCount=1)

    def press(self, key: str, text: str = "") -> None:
        """Press and release a key, named as in KeyboardEvent.key."""
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, text=text)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key)

    def size(self, width: int, height: int, *, dark: bool = False) -> None:
        """Set the size of the window, in CSS pixels, and its color scheme."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=True)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def picture(self, file: Path) -> None:
        """Save what is seen of the whole page as a PNG file."""
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        file.write_bytes(base64.b64decode(shot["data"]))

    def close(self) -> None:
        """Close the tab."""
        self.browser.call("Target.closeTarget", targetId=self.target)


@contextmanager
def run_browser(profile: Path) -> Iterator[Browser]:
    """Run a browser, with `profile` as its folder, until the block ends."""
    assert CHROMIUM
    (browser_in, our_out), (our_in, browser_out) = os.pipe(), os.pipe()
    # Chromium reads commands from descriptor 3 and answers on 4.
    shell = f'exec "$@" 3<&{browser_in} 4>&{browser_out}'
    command = [CHROMIUM, *OPTIONS, "--remote-debugging-pipe", f"--user-data-dir={profile}", "about:blank"]
    process = subprocess.Popen(
        ["bash", "-c", shell, "browser", *command],
        pass_fds=(browser_in, browser_out),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(browser_in)
    os.close(browser_out)
    browser = Browser(our_in, our_out)
    try:
        yield browser
        browser.call("Browser.close")
        process.wait(TIMEOUT)
    finally:
        process.kill()
        process.wait()
        os.close(our_in)
        os.close(our_out)
