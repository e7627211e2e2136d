"""The digests and the stamps of mint.js, with and without WebAssembly and workers."""

import base64
import hashlib
import random
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from tests.support.devtools import Page
from tests.support.page_scripts import needs_chromium
from tests.support.scripted_server import challenge
from tests.support.shared_cases import SOLUTIONS, STAMPS, Case, puzzle_of

pytestmark = [pytest.mark.browser, needs_chromium]

KINDS = (
    pytest.param({"algorithm": "hashcash-sha1", "bits": 12}, id="sha1"),
    pytest.param({"algorithm": "hashcash-sha256", "bits": 12}, id="sha256"),
    pytest.param({"algorithm": "scrypt", "bits": 4, "n": 16, "r": 2, "p": 3}, id="scrypt"),
)
# A function from an algorithm, a text, and the parameters of scrypt to the digest in hexadecimal.
DIGEST = """
    const { digest } = await import("/mint.js");
    const hex = (bytes) => [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
    const digestOf = (algorithm, text, cost) => hex(digest(algorithm, new TextEncoder().encode(text), cost));
"""


@pytest.mark.parametrize("name", ["page", "strict_page"])
def test_digests_are_those_of_hashlib(request: pytest.FixtureRequest, name: str) -> None:
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
          sha1: bytes.map((message) => hex(digest("hashcash-sha1", message))),
          sha256: bytes.map((message) => hex(digest("hashcash-sha256", message))),
          scrypt: costs.map(([n, r, p], i) => hex(digest("scrypt", bytes[5 * i], { n, r, p }))),
        };
        """,
        messages=[base64.b64encode(message).decode() for message in messages],
        costs=costs,
    )

    assert digests["sha1"] == [hashlib.sha1(message).hexdigest() for message in messages]
    assert digests["sha256"] == [hashlib.sha256(message).hexdigest() for message in messages]
    assert digests["scrypt"] == [
        hashlib.scrypt(messages[5 * i], salt=b"", n=n, r=r, p=p, dklen=32).hex() for i, (n, r, p) in enumerate(costs)
    ]


def test_digests_are_those_of_the_standards(page: Page) -> None:
    digests = page.run(
        DIGEST + "return cases.map(({ algorithm, message, cost }) => digestOf(algorithm, message, cost ?? undefined));",
        cases=STAMPS["digests"],
    )

    assert digests == [case["digest"] for case in STAMPS["digests"]]


def zero_bits(page: Page, cases: Sequence[Case]) -> list[list[int]]:
    """Return the leading zero bits of the digest of each stamp, by the page's count."""
    inputs = [{**case, "cost": puzzle_cost(case["challenge"])} for case in cases]
    digests: list[list[str]] = page.run(
        DIGEST
        + """
        return inputs.map(({ challenge: { algorithm }, stamps, cost }) =>
          stamps.map((stamp) => digestOf(algorithm, stamp, cost ?? undefined)));
        """,
        inputs=inputs,
    )
    return [[4 * len(digest) - int(digest, 16).bit_length() for digest in row] for row in digests]


def puzzle_cost(document: Mapping[str, Any]) -> dict[str, int] | None:
    return {name: document[name] for name in "nrp"} if document["algorithm"] == "scrypt" else None


def test_the_stamps_of_a_puzzle_have_its_work(page: Page) -> None:
    cases = SOLUTIONS["accepted"]
    for case, bits in zip(cases, zero_bits(page, cases), strict=True):
        assert min(bits) >= case["challenge"]["bits"], case["name"]


def test_stamps_of_too_little_work_have_less(page: Page) -> None:
    cases = [case for case in SOLUTIONS["wrong"] if case["fault"] == "work"]
    assert cases
    for case, bits in zip(cases, zero_bits(page, cases), strict=True):
        assert max(bits) < case["challenge"]["bits"], case["name"]


def test_the_published_stamps_have_their_bits(page: Page) -> None:
    cases = [{"challenge": {"algorithm": "hashcash-sha1"}, "stamps": [case["stamp"]]} for case in STAMPS["accepted"]]

    assert zero_bits(page, cases) == [[case["sha1_bits"]] for case in STAMPS["accepted"]]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("workers", [0, 2])
def test_stamps_minted_in_a_page_solve_the_puzzle(page: Page, kind: dict[str, Any], workers: int) -> None:
    for length in (1, 16, 19, 20, 128):
        document = challenge(**{**kind, "count": 8, "id": "x" * length})
        stamps = page.run(
            'const { solve } = await import("/calpow.js"); return solve(document, { workers });',
            document=document,
            workers=workers,
        )
        puzzle_of(document).verify(stamps)


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
