"""The pictures of the documentation: the report of the demo's calibration, and the demo's page with a digit drawn.

python -m benchmarks.pictures        takes them with a headless Chromium; protects the demo's model first if need be
"""

import base64
import json
import os
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image

from benchmarks.demo.left_running import CORS, usable_ports
from benchmarks.demo.pages import pages
from benchmarks.demo.protected_model import CONFIG, HOME, MODEL, ROOT, STORE, is_protected, keep_accounts, protect
from calpow.archiver.calibration.calibration_document import Calibration
from calpow.archiver.report.page import write_report
from calpow.archiver.server import served
from calpow.client.cli.main import silence_libraries
from calpow.handler.ledger.uri import open_ledger
from tests.support.browser import CHROMIUM
from tests.support.devtools import Browser, Page, run_browser

FOLDER = Path("docs/pictures")
LARGEST = 150_000  # bytes
COLOURS = 128
WIDTH = 1_000
# A stroke of the mouse, in the unit square.
SEVEN = ((0.25, 0.2), (0.5, 0.2), (0.75, 0.2), (0.65, 0.42), (0.55, 0.64), (0.45, 0.86))
BOARD = "(({ left, top, width }) => [left, top, width])(document.getElementById('board').getBoundingClientRect())"


def main() -> int:
    """Take the pictures."""
    if CHROMIUM is None:
        raise SystemExit("Chromium is not installed: install it, or keep the pictures as they are")
    os.chdir(ROOT)
    silence_libraries()
    if not is_protected():
        HOME.mkdir(exist_ok=True)
        protect()
    FOLDER.mkdir(exist_ok=True)
    with TemporaryDirectory(prefix="calpow-pictures-") as scratch, run_browser(Path(scratch) / "browser") as browser:
        picture_report(browser, Path(scratch) / "report.html")
        picture_page(browser, Path(scratch))
    return 0


def picture_report(browser: Browser, file: Path) -> None:
    """Take the report of the demo's calibration, down to who pays what."""
    calibration = HOME / "calibration.json"
    write_report(Calibration.load(calibration), calibration, file)
    tab = browser.page(file.as_uri())
    take(tab, "document.querySelector('figure')", FOLDER / "report.png")


def picture_page(browser: Browser, scratch: Path) -> None:
    """Serve the demo's model and page, draw a digit on it, ask, and take the page with the answer."""
    keep_accounts(scratch)
    key = open_ledger(os.environ["CALPOW_LEDGER"]).add_key("demo")
    documents: dict[str, bytes] = {}
    with pages(documents) as site:
        properties = {**CORS, "cors_allowed_origin": site}
        archives = {MODEL: STORE / f"{MODEL}.mar"}
        with served(archives, config=CONFIG, properties=properties, ports=usable_ports()) as server:
            documents["/demo.json"] = json.dumps({"url": server.url(MODEL), "key": key}).encode()
            tab = browser.page(f"{site}/demo.html")
            tab.size(WIDTH, 700)
            draw(tab)
            ask(tab)
            take(tab, "document.querySelector('.columns')", FOLDER / "page.png")


def draw(tab: Page) -> None:
    """Draw a seven on the page's board."""
    left, top, width = tab.value(BOARD)
    tab.drag([(left + x * width, top + y * width) for x, y in SEVEN])


def ask(tab: Page) -> None:
    """Ask the model about the drawing, and wait for its answer."""
    tab.value("document.getElementById('ask').click()")
    tab.wait_for("!document.getElementById('ask').disabled")


def take(tab: Page, last: str, file: Path) -> None:
    """Save the page as a PNG file, down to the end of an element that `last` finds. Exits where it gets too large."""
    tab.size(WIDTH, 700)
    bottom = tab.value(f"Math.ceil({last}.getBoundingClientRect().bottom + scrollY) + 16")
    clip = {"x": 0, "y": 0, "width": WIDTH, "height": bottom, "scale": 1}
    shot = tab.call("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
    # A palette is enough for text and lines, and takes a third of the space.
    Image.open(BytesIO(base64.b64decode(shot["data"]))).convert("RGB").quantize(COLOURS).save(file, optimize=True)
    size = file.stat().st_size
    if size > LARGEST:
        raise SystemExit(f"{file} has {size:,} bytes, more than {LARGEST:,}: show less")
    print(f"{file}: {size:,} bytes")


if __name__ == "__main__":
    raise SystemExit(main())
