"""Time that prepaid stamps save an honest user, on one real TorchServe: run after `make demo`, takes a minute.

python -m benchmarks.serving.prepay
"""

import itertools
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import requests

from benchmarks.command_line import command_parser
from benchmarks.serving.demo_model import PROTECTED, ROOT, UNPROTECTED, add_model_options, require, shuffled
from calpow.archiver.server import served
from calpow.client import PowAuth
from calpow.handler.ledger.uri import open_ledger
from calpow.puzzle.errors import CalpowError
from calpow.puzzle.solving.solver import Progress

THINK_SECONDS = (0.0, 0.1)
ROUNDS = 7
QUERIES = 12
TIMEOUT = 30.0


@dataclass
class User:
    """A user: the seconds of the queries, and how many of these took a second round trip or waited for stamps."""

    name: str
    url: str
    auth: Callable[[], PowAuth | None] = lambda: None
    session: requests.Session = field(default_factory=requests.Session)
    seconds: list[float] = field(default_factory=list)
    challenged: int = 0
    minting: int = 0
    _worked: bool = False

    def watch(self, _: Progress) -> None:
        """Note that the user waits for work; PowAuth calls it."""
        self._worked = True

    def ask(self, payload: bytes, *, count: bool) -> None:
        """Send one query. Raises requests.HTTPError when it is refused."""
        self._worked = False
        begun = time.perf_counter()
        answer = self.session.post(self.url, data=payload, auth=self.auth(), timeout=TIMEOUT)
        spent = time.perf_counter() - begun
        answer.raise_for_status()
        if count:
            self.seconds.append(spent)
            self.challenged += bool(answer.history)
            self.minting += self._worked


def main() -> int:
    """Measure and print."""
    parser = command_parser("benchmarks.serving.prepay", __doc__)
    add_model_options(parser)
    args = parser.parse_args()
    require(parser, args.victim, args.archive, args.payloads)
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        for think, users in measure(args.victim, args.archive, shuffled(args.payloads)):
            print("\n".join(table(think, users)))
    except (CalpowError, requests.RequestException) as problem:
        parser.error(str(problem))
    return 0


def measure(victim: Path, archive: Path, payloads: Sequence[bytes]) -> Iterator[tuple[float, list[User]]]:
    """Yield the pauses between queries, with the users after their queries."""
    scratch = Path(tempfile.mkdtemp(prefix="prepay-"))
    uri = f"sqlite:///{scratch / 'ledger.db'}"
    try:
        archives = {PROTECTED: archive, UNPROTECTED: victim}
        with served(archives, config=ROOT / "config.properties", environment={"CALPOW_LEDGER": uri}) as server:
            for think in THINK_SECONDS:
                yield think, _rounds(server.url(PROTECTED), server.url(UNPROTECTED), uri, think, payloads)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def table(think: float, users: Sequence[User]) -> list[str]:
    """Return the lines of the table for one pause between queries."""
    lines = [
        f"{1000 * think:.0f} ms between queries: median ms (quartiles), share that took a second trip / waited for work"
    ]
    for user in users:
        low, middle, high = (1000 * value for value in statistics.quantiles(user.seconds, n=4))
        trips, waits = user.challenged / len(user.seconds), user.minting / len(user.seconds)
        lines.append(f"  {user.name:28} {middle:6.2f} ({low:.2f} to {high:.2f})   {trips:4.0%} / {waits:4.0%}")
    return lines


def _rounds(protected: str, unprotected: str, uri: str, think: float, payloads: Sequence[bytes]) -> list[User]:
    """Send blocks of queries by the users in turn, so that other load affects all of them alike."""
    ledger = open_ledger(uri)
    keys = [ledger.add_key(f"user-{time.time_ns()}-{number}") for number in range(2)]
    plain = User("unprotected", unprotected)
    challenged = User("a challenge each time", protected)
    challenged.auth = lambda: PowAuth(keys[0], progress=challenged.watch)  # a new one knows no price
    prepaid = User("prepaid", protected)
    prepaying = PowAuth(keys[1], progress=prepaid.watch)
    prepaid.auth = lambda: prepaying
    users = [plain, challenged, prepaid]
    stock = itertools.cycle(payloads)
    for _, user in itertools.product(range(ROUNDS), users):
        for number in range(1 + QUERIES):
            time.sleep(think)
            user.ask(next(stock), count=number > 0)
    return users


if __name__ == "__main__":
    raise SystemExit(main())
