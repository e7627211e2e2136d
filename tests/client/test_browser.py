"""client/js in a real headless Chromium: a page asks a site of another origin that asks for work."""

import base64
import hashlib
import random
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from typing import Any

import pytest

from calpow.puzzle.algorithms import ScryptCost
from tests.support.browser import CHROMIUM
from tests.support.desk import TOKEN, Desk, challenge, desk_running, in_seconds, puzzle_of
from tests.support.devtools import Browser, Page

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")

KINDS = (
    pytest.param("hashcash-sha1", None, 12, id="sha1"),
    pytest.param("hashcash-sha256", None, 12, id="sha256"),
    pytest.param("scrypt", ScryptCost(16, 2, 3), 4, id="scrypt"),
)
# What came of it: the error's name, the progress that was told, and whatever answer there was.
ASK = """
    const { powFetch } = await import(module);
    const progress = [];
    const said = { error: null, status: null, text: null, progress };
    try {
      const onProgress = (told) => progress.push([told.found, told.count, told.seconds, told.secondsLeft]);
      const answer = await powFetch(url, { method: "POST", body: "payload", key: "k", onProgress, ...options });
      Object.assign(said, { status: answer.status, text: await answer.text() });
    } catch (error) {
      Object.assign(said, { error: error.name, text: error.message, status: error.response?.status ?? null });
    }
    return said;
"""


@pytest.fixture(scope="module")
def home() -> Iterator[Desk]:
    """The site that the page is of: another origin than `desk`."""
    with desk_running() as running:
        yield running


@pytest.fixture(scope="module")
def page(browser: Browser, home: Desk) -> Page:
    """An empty page of `home`, to be left as it is."""
    return browser.page(f"{home.url}/")


@pytest.fixture
def own_page(browser: Browser, home: Desk) -> Iterator[Page]:
    """An empty page of `home` that a test may change."""
    tab = browser.page(f"{home.url}/")
    yield tab
    tab.close()


@pytest.fixture
def ask(page: Page, home: Desk, desk: Desk) -> Callable[..., Any]:
    """Ask the desk from the page."""

    def asked(body: str = ASK, **options: object) -> Any:
        return page.run(body, module=f"{home.url}/calpow.js", url=f"{desk.url}/ask", options=options)

    return asked


# ---- Digests and stamps


# Without workers and without WebAssembly.
STRICT = "script-src 'self'; worker-src 'none'"


@pytest.fixture
def strict_page(browser: Browser, desk: Desk) -> Iterator[Page]:
    """A page that may run neither workers nor WebAssembly."""
    desk.policy = STRICT
    tab = browser.page(f"{desk.url}/")
    yield tab
    tab.close()


@pytest.mark.parametrize("name", ["page", "strict_page"])
def test_the_modules_digests_are_those_of_hashlib(request: pytest.FixtureRequest, name: str) -> None:
    page: Page = request.getfixturevalue(name)
    rng = random.Random(7)
    messages = [rng.randbytes(size) for size in range(200)]
    costs = [(2, 1, 1), (64, 8, 1), (16, 2, 3), (256, 1, 2)] * 10
    digests = page.run(
        """
        const { digest } = await import("/mint.js");
        const hex = (bytes) => [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
        const bytes = messages.map((text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)));
        return {
          sha1: bytes.map((each) => hex(digest("hashcash-sha1", each))),
          sha256: bytes.map((each) => hex(digest("hashcash-sha256", each))),
          scrypt: costs.map(([n, r, p], i) => hex(digest("scrypt", bytes[5 * i], { n, r, p }))),
        };
        """,
        messages=[base64.b64encode(each).decode() for each in messages],
        costs=costs,
    )

    assert digests["sha1"] == [hashlib.sha1(each).hexdigest() for each in messages]
    assert digests["sha256"] == [hashlib.sha256(each).hexdigest() for each in messages]
    assert digests["scrypt"] == [
        hashlib.scrypt(messages[5 * i], salt=b"", n=n, r=r, p=p, dklen=32).hex() for i, (n, r, p) in enumerate(costs)
    ]


@pytest.mark.parametrize(("algorithm", "cost", "bits"), KINDS)
@pytest.mark.parametrize("workers", [0, 2])
def test_stamps_minted_in_a_page_solve_the_puzzle(
    page: Page, algorithm: str, cost: ScryptCost | None, bits: int, workers: int
) -> None:
    for length in (1, 16, 19, 20, 128):
        document = challenge(algorithm=algorithm, bits=bits, count=8, id="x" * length, **(vars_of(cost)))
        stamps = page.run(
            'const { solve } = await import("/calpow.js"); return solve(document, { workers });',
            document=document,
            workers=workers,
        )
        puzzle_of(document).verify(stamps)


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


def vars_of(cost: ScryptCost | None) -> dict[str, int]:
    return {} if cost is None else {"n": cost.n, "r": cost.r, "p": cost.p}


@pytest.mark.parametrize("algorithm", ["hashcash-sha1", "hashcash-sha256"])
def test_a_puzzle_takes_as_many_digests_as_it_says(page: Page, algorithm: str) -> None:
    ratio = page.run(
        """
        const { solve, readChallenge } = await import("/calpow.js");
        let taken = 0;
        const onProgress = (progress) => (last = progress);
        let last;
        for (let i = 0; i < 16; i++) {
          await solve(document, { workers: 0, onProgress });
          taken += last.hashes;
        }
        return taken / (16 * readChallenge(document).expectedHashes);
        """,
        document=challenge(algorithm=algorithm, bits=10, count=64),
    )

    # 1,024 stamps: the mean strays by 3 % (one standard deviation).
    assert 0.85 < ratio < 1.15


def test_where_the_page_may_run_neither_workers_nor_webassembly_it_solves_and_stays_alive(strict_page: Page) -> None:
    document = challenge(bits=15, count=16)
    stamps, slices, gap = strict_page.run(
        """
        const { solve } = await import("/calpow.js");
        let [gap, before, slices] = [0, performance.now(), 0];
        const tick = (now) => {
          gap = Math.max(gap, now - before);
          before = now;
          requestAnimationFrame(tick);
        };
        requestAnimationFrame(tick);
        const stamps = await solve(document, { onProgress: () => slices++ });
        return [stamps, slices, gap];
        """,
        document=document,
    )

    puzzle_of(document).verify(stamps)
    assert slices > 20
    assert gap < 250


# ---- Asking


def test_a_challenge_is_solved_and_the_answer_comes_back(ask: Callable[..., Any], desk: Desk) -> None:
    desk.asks_once()

    said = ask()

    assert (said["status"], said["text"]) == (200, "paid")
    assert [each["x-api-key"] for each in desk.seen] == ["k", "k"]
    assert said["progress"][0] == [0, 16, pytest.approx(0, abs=0.1), None]
    assert said["progress"][-1][:2] == [16, 16]


@pytest.mark.parametrize(("algorithm", "cost", "bits"), KINDS)
def test_every_kind_of_puzzle_can_be_asked_across_origins(
    ask: Callable[..., Any], desk: Desk, algorithm: str, cost: ScryptCost | None, bits: int
) -> None:
    desk.asks_once(algorithm=algorithm, bits=bits, **vars_of(cost))

    assert ask()["text"] == "paid"


def test_a_module_of_a_third_origin_still_has_workers(own_page: Page) -> None:
    document = challenge(bits=17, count=32)
    with desk_running() as third:
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


ABSURD = {
    "no object": "challenge",
    "nothing": None,
    "no token": challenge(token=7),
    "a token with a line break": challenge(token=f"{TOKEN}\n"),
    "a long token": challenge(token=f"{TOKEN:x<5121}"),
    "an id with a colon": challenge(id="a:b"),
    "an id with a line break": challenge(id="a\n"),
    "a long id": challenge(id="a" * 129),
    "no id": challenge(id=""),
    "no bits": challenge(bits=0),
    "2^60 hashes": challenge(bits=60),
    "half a bit": challenge(bits=4.5),
    "bits as text": challenge(bits="4"),
    "a yes for bits": challenge(bits=True),
    "no stamps": challenge(count=0),
    "65 stamps": challenge(count=65),
    "no time": challenge(expires="tomorrow"),
    "no day": challenge(expires="2030-02-31T00:00:00Z"),
    "a number for an algorithm": challenge(algorithm=1),
    "scrypt without a cost": challenge(algorithm="scrypt"),
    "scrypt, n no power of two": challenge(algorithm="scrypt", n=48, r=8, p=1),
    "scrypt of a gibibyte": challenge(algorithm="scrypt", n=2**20, r=8, p=1),
    "scrypt of 17 lanes": challenge(algorithm="scrypt", n=2, r=1, p=17),
    "scrypt, n beyond r": challenge(algorithm="scrypt", n=2**16, r=1, p=1),
    "scrypt, negative n": challenge(algorithm="scrypt", n=-(2**31), r=8, p=1),
}


@pytest.mark.parametrize(
    ("document", "error"),
    [
        *(pytest.param(each, "MalformedChallenge", id=name) for name, each in ABSURD.items()),
        pytest.param(challenge(algorithm="argon2id"), "UnknownAlgorithm", id="argon2id"),
        pytest.param(challenge(algorithm="constructor"), "UnknownAlgorithm", id="constructor"),
        pytest.param(challenge(bits=29, count=20), "WorkLimitExceeded", id="beyond 2^32"),
    ],
)
def test_what_cannot_be_solved_is_an_error_that_says_so_and_nothing_is_solved(
    ask: Callable[..., Any], desk: Desk, document: object, error: str
) -> None:
    desk.answer = lambda headers: (402, {"challenge": document}, {})

    said = ask()

    assert (said["error"], said["status"], said["progress"]) == (error, 402, [])
    assert len(desk.seen) == 1


def test_the_limit_holds_for_all_challenges_of_an_answer_together(ask: Callable[..., Any], desk: Desk) -> None:
    desk.asks()

    said = ask(maxHashes=2 * (16 << 4))

    assert (said["error"], desk.solved) == ("WorkLimitExceeded", 2)


@pytest.mark.parametrize(
    ("options", "error"),
    [({"maxHashes": 10 * (16 << 4)}, "WorkLimitExceeded"), ({"maxSeconds": 0.5}, "SolvingTooLong")],
)
def test_a_server_that_asks_for_ever_is_left_by_work_or_time(
    ask: Callable[..., Any], desk: Desk, options: dict[str, object], error: str
) -> None:
    desk.asks()

    said = ask(**options)

    assert (said["error"], said["status"], len(desk.seen)) == (error, 402, desk.solved + 1)
    assert desk.solved == 10 if error == "WorkLimitExceeded" else desk.solved > 3
    assert said["text"].endswith(" (the last solution was refused: do the work)")


REST = challenge(token=f"{TOKEN}b", id="0e57", bits=3, count=5)


def test_of_too_little_work_the_rest_alone_is_solved_and_sent(ask: Callable[..., Any], desk: Desk) -> None:
    desk.asks_in_turn(challenge(), REST, challenge(token=f"{TOKEN}c", id="0e58", count=2))

    said = ask(maxHashes=(16 << 4) + (5 << 3) + (2 << 4))

    assert (said["status"], said["text"], desk.solved) == (200, "paid", 3)
    assert [len(each.get("pow-solution", "").split()) for each in desk.seen] == [0, 17, 6, 3]


def test_the_rest_counts_against_the_limit_of_work(ask: Callable[..., Any], desk: Desk) -> None:
    desk.asks_in_turn(challenge(), REST)

    said = ask(maxHashes=(16 << 4) + (5 << 3) - 1)

    assert (said["error"], desk.solved) == ("WorkLimitExceeded", 1)


def test_a_first_demand_after_a_solution_means_that_a_header_was_dropped(ask: Callable[..., Any], desk: Desk) -> None:
    problem = {"type": "urn:calpow:problem:pow-required", "challenge": challenge()}
    desk.answer = lambda headers: (402, problem, {})

    said = ask()

    assert (said["error"], said["status"], desk.solved) == ("HeadersDropped", 402, 1)
    assert "PoW-Solution" in said["text"]


def test_identical_requests_side_by_side_are_all_answered(ask: Callable[..., Any], desk: Desk) -> None:
    issued = count()
    spent: set[str] = set()

    def answer(headers: Mapping[str, str]) -> tuple[int, object, dict[str, str]]:
        token, *stamps = headers.get("pow-solution", "").split() or [""]
        if token and token not in spent:
            spent.add(token)
            puzzle_of(challenge(id=token.rpartition(".")[2])).verify(stamps)
            return 200, "paid", {}
        number = f"{next(issued):04x}"
        return 402, {"challenge": challenge(id=number, token=f"e30.e30.{number}")}, {}

    desk.answer = answer
    answers = ask(
        """
        const { powFetch } = await import(module);
        const asked = Array.from({ length: 40 }, () => powFetch(url, { method: "POST", body: "same", key: "k" }));
        return Promise.all(asked.map(async (each) => (await each).text()));
        """
    )

    assert answers == ["paid"] * 40
    assert len(spent) == 40


def test_a_token_may_have_5120_characters(ask: Callable[..., Any], desk: Desk) -> None:
    desk.asks_once(token=f"{TOKEN:x<5120}")

    assert ask()["text"] == "paid"


def test_expired_by_the_servers_own_clock_is_not_solved(ask: Callable[..., Any], desk: Desk) -> None:
    document = challenge(expires=in_seconds(-30))
    desk.answer = lambda headers: (402, {"challenge": document}, {"Access-Control-Expose-Headers": "Date"})

    said = ask()

    assert (said["error"], said["progress"], len(desk.seen)) == ("ChallengeExpired", [], 1)


def test_expired_by_the_pages_clock_alone_is_tried_once(ask: Callable[..., Any], desk: Desk) -> None:
    desk.asks_once(expires=in_seconds(-3600))
    assert ask()["text"] == "paid"

    desk.asks(expires=in_seconds(-3600))
    assert (ask()["error"], desk.solved) == ("ChallengeExpired", 2)


def test_a_challenge_that_will_expire_on_the_way_is_given_up(ask: Callable[..., Any], desk: Desk) -> None:
    document = challenge(bits=36, count=16, expires=in_seconds(60))
    desk.answer = lambda headers: (402, {"challenge": document}, {"Access-Control-Expose-Headers": "Date"})

    said = ask(maxHashes=2**50)

    assert (said["error"], desk.solved) == ("ChallengeExpired", 0)
    assert 0.5 < said["progress"][-1][2] < 4


@pytest.mark.parametrize("options", [{"maxSeconds": 10}, {}])
def test_work_beyond_the_seconds_allowed_is_given_up(
    ask: Callable[..., Any], desk: Desk, options: dict[str, object]
) -> None:
    desk.asks(bits=36)

    said = ask(maxHashes=2**50, **options)

    assert said["error"] == "SolvingTooLong"
    assert said["progress"][-1][2] < 5


def test_cancelling_ends_the_work_at_once_with_the_workers(own_page: Page, desk: Desk) -> None:
    desk.asks(bits=30, count=64)
    said = own_page.run(
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
        let [told, before] = [0, 0];
        setTimeout(() => { before = performance.now(); controller.abort(); }, 400);
        const asked = powFetch(url, { method: "POST", body: "x", signal: controller.signal, maxHashes: 2 ** 50,
                                      onProgress: () => told++ });
        const error = await asked.catch((error) => error);
        const [took, then] = [performance.now() - before, told];
        let answers = 0;
        for (const worker of workers) worker.onmessage = () => answers++;
        await new Promise((resolve) => setTimeout(resolve, 200));
        const abort = error instanceof DOMException;
        return { name: error.name, abort, took, then, told, workers: workers.length, answers };
        """,
        url=f"{desk.url}/ask",
    )

    assert said["name"] == "AbortError"
    assert said["abort"]
    assert said["took"] < 100
    assert said["then"] == said["told"] > 1
    assert said["workers"] >= 1
    assert said["answers"] == desk.solved == 0


def test_what_onprogress_throws_ends_the_work_and_reaches_the_caller(ask: Callable[..., Any], desk: Desk) -> None:
    desk.asks(bits=30)
    body = ASK.replace("progress.push(", "progress.push(undefinedName, ")

    assert ask(body, maxHashes=2**50)["error"] == "ReferenceError"
    assert desk.solved == 0


@pytest.mark.parametrize(
    "body",
    ["new ReadableStream()", "new Request(url, { method: 'POST', body: 'x' }).body", "({ digit: 7 })", "[1, 2]"],
)
def test_a_body_that_can_be_sent_once_only_is_refused_before_anything_is_sent(
    ask: Callable[..., Any], desk: Desk, body: str
) -> None:
    assert ask(ASK.replace('"payload"', body))["error"] == "BodyNotRewindable"
    assert desk.seen == []


def test_a_request_with_a_body_is_refused_and_one_without_is_asked(ask: Callable[..., Any], desk: Desk) -> None:
    asked = 'powFetch(url, { method: "POST", body: "payload", key: "k", onProgress, ...options })'
    request = "powFetch(new Request(url, { method: 'POST', body: 'x' }), { key: 'k' })"
    assert ask(ASK.replace(asked, request))["error"] == "BodyNotRewindable"
    assert desk.seen == []


@pytest.mark.parametrize("key", ["", " secret", "secret\r\nX-Evil: 1", "schlüssel"])
def test_a_key_that_cannot_stand_in_a_header_is_refused_without_repeating_it(
    ask: Callable[..., Any], desk: Desk, key: str
) -> None:
    said = ask(key=key)

    assert said["error"] == "UnusableKey"
    assert key == "" or key not in said["text"]
    assert desk.seen == []


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (200, "free"),
        (401, "{}"),
        (402, "pay"),
        (402, "[]"),
        (402, "null"),
        (403, "{}"),
        (413, "{}"),
        (429, "{}"),
        (503, "no"),
    ],
)
def test_whatever_is_no_challenge_is_handed_over_as_it_came(
    ask: Callable[..., Any], desk: Desk, status: int, text: str
) -> None:
    desk.answer = lambda headers: (status, text, {"Retry-After": "1"})

    said = ask()

    assert (said["error"], said["status"], said["text"], len(desk.seen)) == (None, status, text, 1)


def test_a_redirect_does_not_carry_the_key_away(ask: Callable[..., Any], desk: Desk) -> None:
    with desk_running() as elsewhere:
        desk.answer = lambda headers: (307, "", {"Location": f"{elsewhere.url}/catch"})

        assert ask()["error"] == "TypeError"
        assert elsewhere.seen == []
