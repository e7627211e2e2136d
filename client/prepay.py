"""Paying before being asked: what a server said its next answer takes, and stamps minted for it.

Saves the round trip of the challenge, as long as the server's word holds.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace

from requests import Response

from calpow.puzzle.challenge import NEXT_HEADER, Challenge, find_realm
from calpow.puzzle.difficulty import puzzle_size
from calpow.puzzle.errors import PuzzleError
from calpow.puzzle.prepaid import prepaid_resource
from calpow.puzzle.puzzle import Puzzle


@dataclass(frozen=True, slots=True)
class Price:
    """What is known of one URL: its realm and algorithm from its last challenge, the next answer's hashes.

    `refused` once prepaid stamps were not enough, or not understood: then only challenges are solved.
    """

    realm: str
    algorithm: str
    next_hashes: int = 0
    refused: bool = False


class Prices:
    """The prices of the URLs that one PowAuth has asked; shared by its threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, Price] = {}

    def puzzle_for(self, url: str, key: str, max_hashes: int) -> Puzzle | None:
        """The puzzle to solve before asking `url`; None where nothing is known, or it is more than `max_hashes`."""
        with self._lock:
            price = self._known.get(_path(url))
        if price is None or price.refused or not 0 < price.next_hashes <= max_hashes:
            return None
        try:
            return Puzzle(price.algorithm, prepaid_resource(price.realm, key), *puzzle_size(price.next_hashes))
        except PuzzleError:
            return None

    def saw_challenge(self, url: str, challenge: Challenge, response: Response, *, prepaid: bool) -> None:
        """Learn from a 402; `prepaid` says that it was the answer to prepaid stamps."""
        realm = find_realm(response.headers.get("WWW-Authenticate", ""))
        if realm is None:
            return
        with self._lock:
            refused = prepaid or getattr(self._known.get(_path(url)), "refused", False)
            self._known[_path(url)] = Price(realm, challenge.puzzle.algorithm, refused=refused)

    def saw_answer(self, url: str, response: Response) -> None:
        """Learn from an answer what the next one takes."""
        announced = response.headers.get(NEXT_HEADER, "")
        with self._lock:
            price = self._known.get(_path(url))
            if price is not None and announced.isdecimal() and len(announced) < 20:
                self._known[_path(url)] = replace(price, next_hashes=int(announced))


def _path(url: str) -> str:
    return url.partition("?")[0]
