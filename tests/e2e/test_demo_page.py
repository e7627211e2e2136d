"""The demo page in a real headless Chromium, and a protected model on TorchServe, of another origin."""

import base64
import json
import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from benchmarks.demo.left_running import CORS
from benchmarks.demo.pages import pages
from benchmarks.digits import victim as digits
from benchmarks.digits.data import disturb, load_splits
from calpow.archiver.server import served
from calpow.handler.ledger.uri import open_ledger
from tests.support.devtools import Browser, Page
from tests.support.guarded import protect, train_teachers
from tests.support.page_scripts import needs_chromium
from tests.support.scripted_server import TOKEN, ScriptedServer, challenge

pytestmark = [pytest.mark.browser, pytest.mark.server, needs_chromium]


@dataclass(frozen=True)
class Model:
    """The protected digits, which allow the demo page's origin, and the site of the demo page."""

    url: str
    key: str
    site: str
    data: Path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    folder = tmp_path_factory.mktemp("digits")
    victim = small_victim(folder)
    teachers = train_teachers(folder, victim, folder / "data")
    guarded = protect(folder, "digits", victim, teachers).guarded
    uri = f"sqlite:///{folder / 'ledger.db'}"
    key = open_ledger(uri).add_key("visitor")
    documents: dict[str, bytes] = {}
    with ExitStack() as stack:
        site = stack.enter_context(pages(documents, port=0))
        server = stack.enter_context(
            served(
                {"digits": guarded},
                environment={"CALPOW_LEDGER": uri},
                properties={**CORS, "cors_allowed_origin": site},
            )
        )
        url = server.url("digits")
        documents["/demo.json"] = json.dumps({"url": url, "key": key}).encode()
        yield Model(url, key, site, folder / "data")


def small_victim(folder: Path) -> Path:
    """Train the demo's victim on fewer pictures; save some of them in `data`, in a folder per class."""
    split = load_splits()["victim-train"]
    rng = np.random.default_rng(0)
    images = np.concatenate([split.images, np.stack([disturb(image, rng) for image in split.images])])
    labels = torch.from_numpy(np.tile(split.labels, 2))
    network = digits.train(torch.from_numpy(images).unsqueeze(1).float() / 255, labels)
    for number in range(300):
        (folder / "data" / str(split.labels[number])).mkdir(parents=True, exist_ok=True)
        Image.fromarray(split.images[number]).save(folder / "data" / str(split.labels[number]) / f"{number:03d}.png")
    return digits.archive(network, folder)


@pytest.fixture
def demo(browser: Browser, model: Model) -> Iterator[Page]:
    """The demo page, with URL and key filled in."""
    tab = browser.page(f"{model.site}/demo.html")
    tab.wait_for("document.getElementById('key').value !== ''")
    yield tab
    tab.close()


BODIES = {
    "Blob": "new Blob([bytes])",
    "ArrayBuffer": "bytes.buffer",
    "Uint8Array": "bytes",
    "FormData": "(() => { const form = new FormData(); form.set('data', new Blob([bytes])); return form; })()",
}


@pytest.mark.parametrize("kind", BODIES)
def test_a_page_of_another_origin_queries_torchserve(demo: Page, model: Model, kind: str) -> None:
    file = sorted((model.data / "7").rglob("*.png"))[list(BODIES).index(kind)]
    answer = demo.run(
        f"""
        const {{ powFetch }} = await import("/calpow.js");
        const bytes = Uint8Array.from(atob(picture), (letter) => letter.charCodeAt(0));
        let count = 0;
        const onProgress = (progress) => (count = progress.count);
        const answer = await powFetch(url, {{ method: "POST", body: {BODIES[kind]}, key, onProgress }});
        return {{ status: answer.status, digit: (await answer.json()).digit, count }};
        """,
        picture=base64.b64encode(file.read_bytes()).decode(),
        url=model.url,
        key=model.key,
    )

    assert (answer["status"], answer["digit"]) == (200, 7)
    assert answer["count"] >= 1


def test_eight_fetches_of_the_same_picture_at_once_are_all_ask(demo: Page, model: Model) -> None:
    file = sorted((model.data / "7").rglob("*.png"))[0]
    statuses = demo.run(
        """
        const { powFetch } = await import("/calpow.js");
        const body = Uint8Array.from(atob(picture), (letter) => letter.charCodeAt(0));
        const query = () => powFetch(url, { method: "POST", body, key });
        return (await Promise.all(Array.from({ length: 8 }, query))).map((answer) => answer.status);
        """,
        picture=base64.b64encode(file.read_bytes()).decode(),
        url=model.url,
        key=model.key,
    )
    assert statuses == [200] * 8


SEVEN = ((0.3, 0.2), (0.5, 0.2), (0.7, 0.2), (0.58, 0.5), (0.46, 0.82))


def draw(page: Page, points: tuple[tuple[float, float], ...]) -> None:
    """Draw a stroke with the mouse, through points of the unit square."""
    left, top, width = page.value(
        "(({ left, top, width }) => [left, top, width])(document.getElementById('board').getBoundingClientRect())"
    )
    page.drag([(left + x * width, top + y * width) for x, y in points])


def ask(page: Page) -> str:
    """Press Ask, wait, and return the text that the page then shows."""
    page.value("document.getElementById('ask').click()")
    page.wait_for("!document.getElementById('ask').disabled")
    return str(page.value("document.getElementById('said').innerText.trim()"))


def test_a_digit_drawn_with_the_mouse_is_read(demo: Page) -> None:
    draw(demo, SEVEN)

    assert ask(demo) == "7"
    work = demo.value("document.getElementById('work').innerText")
    assert "stamps of" in work
    assert "hashcash-sha1" in work


def test_a_digit_drawn_with_the_keyboard_is_read(demo: Page) -> None:
    demo.value("document.getElementById('board').focus()")
    for key, times in ((" ", 1), ("ArrowDown", 11)):
        for _ in range(times):
            demo.press(key, " " if key == " " else "")

    assert ask(demo) == "1"


def test_a_picture_of_a_digit_is_read_whatever_its_size_and_ground(demo: Page, tmp_path: Path) -> None:
    picture = Image.new("RGB", (500, 300), (245, 240, 230))
    points = [(200 + 200 * x, 40 + 220 * y) for x, y in SEVEN]
    ImageDraw.Draw(picture).line(points, fill=(30, 30, 90), width=30, joint="curve")
    picture.save(tmp_path / "seven.png")
    upload(demo, tmp_path / "seven.png")

    assert ask(demo) == "7"


def test_a_picture_of_the_models_own_size_goes_as_it_is(demo: Page, model: Model) -> None:
    upload(demo, sorted((model.data / "4").rglob("*.png"))[0])

    assert ask(demo) == "4"


def upload(page: Page, file: Path) -> None:
    root = page.call("DOM.getDocument")["root"]["nodeId"]
    node = page.call("DOM.querySelector", nodeId=root, selector="#file")["nodeId"]
    before = page.value("document.getElementById('board').toDataURL()")
    page.call("DOM.setFileInputFiles", nodeId=node, files=[os.fspath(file)])
    page.wait_for(f"document.getElementById('board').toDataURL() !== {json.dumps(before)}")


def test_a_complaint_about_a_file_goes_when_the_next_one_can_be_read(demo: Page, model: Model, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no picture")
    root = demo.call("DOM.getDocument")["root"]["nodeId"]
    node = demo.call("DOM.querySelector", nodeId=root, selector="#file")["nodeId"]
    demo.call("DOM.setFileInputFiles", nodeId=node, files=[os.fspath(tmp_path / "notes.txt")])
    demo.wait_for("document.getElementById('message').innerText.includes('cannot read that file')")

    upload(demo, sorted((model.data / "4").rglob("*.png"))[0])
    demo.wait_for("document.getElementById('message').hidden")


def test_an_unknown_key_is_explained(demo: Page) -> None:
    demo.value("document.getElementById('key').value = 'cp_wrong'")
    draw(demo, SEVEN)

    assert ask(demo).startswith("401: This key or token is not known here")


def test_an_unreachable_model_is_explained(demo: Page) -> None:
    demo.value("document.getElementById('url').value = 'http://127.0.0.1:9/predictions/digits'")
    draw(demo, SEVEN)

    assert "cannot be reached" in ask(demo)


@pytest.mark.parametrize("other", [None, {"cat": 0.9}, {"digit": 1, "probabilities": ["<b>"]}])
def test_the_answer_of_another_model_is_explained(
    browser: Browser, model_server: ScriptedServer, other: object
) -> None:
    model_server.answer = lambda headers: (200, other, {})
    with pages({}, port=0) as site:
        tab = browser.page(f"{site}/demo.html")
        tab.run("document.getElementById('url').value = url;", url=f"{model_server.url}/ask")
        draw(tab, SEVEN)
        text = ask(tab)
        tab.close()

    assert text == "The answer could not be read: it is no digit and its probabilities. Is this the model of the demo?"


def test_the_work_of_all_challenges_of_an_answer_is_shown(browser: Browser, model_server: ScriptedServer) -> None:
    rest = challenge(token=f"{TOKEN}b", id="0e57", bits=3, count=5)
    model_server.challenge_in_turn(challenge(), rest, paid={"digit": 7, "probabilities": [0.0] * 7 + [1.0, 0.0, 0.0]})
    with pages({}, port=0) as site:
        tab = browser.page(f"{site}/demo.html")
        tab.run("document.getElementById('url').value = url;", url=f"{model_server.url}/ask")
        draw(tab, SEVEN)
        text = ask(tab)
        work = tab.value("document.getElementById('work').innerText")
        tab.close()

    assert text == "7"
    assert "16 stamps of 4 bits, then 5 stamps of 3 bits (hashcash-sha1)" in work


def test_the_demo_page_shows_progress_and_can_be_cancelled(demo: Page, model_server: ScriptedServer) -> None:
    model_server.challenge_always(bits=23, count=32)
    demo.run("document.getElementById('url').value = url;", url=f"{model_server.url}/ask")
    draw(demo, SEVEN)
    demo.value("document.getElementById('ask').click()")
    demo.wait_for("/^Working: \\d+ of 32 stamps, about/.test(document.getElementById('stage').textContent)")
    demo.value("document.getElementById('cancel').click()")
    demo.wait_for("!document.getElementById('ask').disabled", seconds=2)

    assert demo.value("document.getElementById('message').textContent") == "Cancelled."
    assert model_server.solutions == 0


def test_the_key_goes_nowhere_but_into_the_header(demo: Page, model_server: ScriptedServer) -> None:
    model_server.challenge_once()
    demo.run("document.getElementById('url').value = url;", url=f"{model_server.url}/ask")
    draw(demo, SEVEN)
    ask(demo)
    key = demo.value("document.getElementById('key').value")

    assert [headers.pop("x-api-key") for headers in model_server.requests] == [key, key]
    assert key not in json.dumps(model_server.requests)
    kept = demo.value("location.href + JSON.stringify([localStorage, sessionStorage]) + document.cookie")
    assert key not in kept


@pytest.mark.parametrize("dark", [False, True])
def test_the_demo_page_fits_a_phone(demo: Page, dark: bool) -> None:
    demo.size(360, 740, dark=dark)

    assert demo.value("document.documentElement.scrollWidth") <= 360
    assert demo.value("[...document.querySelectorAll('input:not([type=file])')].every((input) => input.labels.length)")
    smallest = "[...document.querySelectorAll('button, label.button')].map((button) => button.offsetHeight)"
    assert min(demo.value(smallest)) >= 44
