"""Prepaid answers of a gate on a ledger of some size, as `benchmarks.growth` times them."""

import itertools
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from hashlib import sha256
from pathlib import Path

from benchmarks.growth_ledgers import SEED, add_expired, add_keys, fill
from benchmarks.wire import BadAnswer
from calpow.archiver.progress import track
from calpow.handler.gate.gate import Gate
from calpow.handler.gate.interface import Allowance, PassResult, PricedSamples, Purpose, Released
from calpow.handler.leakage.specs import ScoreName, ScoreSpec, VictimShape
from calpow.handler.ledger.history import DIGEST_BYTES, SKETCH_BYTES, SampleIdentity
from calpow.handler.ledger.sqlite.sqlite_ledger import SqliteLedger
from calpow.handler.metrics.tally import Tally
from calpow.handler.policy.calibrated_policy import CalibratedPolicy
from calpow.handler.policy.evidence import Evidence, ScoreTest
from calpow.handler.policy.joint_oddness import SHARES, OddnessScale
from calpow.puzzle.prepaid import prepaid_resource
from calpow.puzzle.solving.solver import solve
from calpow.puzzle.wire import format_prepaid
from tests.support.calibrations import HASHES_PER_SECOND, calibrated_policy
from tests.support.text_runner import TextRequest

MODEL = "digits"
KEYS = 1_000
# Answers whose stamps are minted before the clock of the first one starts.
AHEAD = 100
PAYLOAD_BYTES = 3_000
# A worker computes so many scores of images, and bets on some of them and on the joint oddness of all.
SCORES, TESTED = 11, (0, 3, 6, None)
LEVELS, STAKES = (0.3, 0.1, 0.03, 0.01), (0.5, 0.2, 0.05)
# Two stamps of the fewest bits.
FLOOR_HASHES = 4


@dataclass(frozen=True)
class Size:
    """Contents of a ledger, and the classes of the model: `queries` of each account, None for various numbers."""

    accounts: int = 1_000
    queries: int | None = None
    classes: int = 10
    expired: int = 0


def policy(classes: int) -> CalibratedPolicy:
    """Return a policy of so many classes with as many tests as a calibration chooses."""
    rng = random.Random(SEED)
    high = tuple(tuple(1 + rng.random() + level for level in range(len(LEVELS))) for _ in range(classes))
    quantiles = tuple(tuple(rng.random() + place for place in range(len(SHARES))) for _ in range(classes))
    evidence = Evidence(
        # The sum of all is larger than a single score.
        tests=tuple(ScoreTest(score, high if score is not None else ((1e3,),) * classes) for score in TESTED),
        scales=tuple(OddnessScale(score, quantiles) for score in range(SCORES)),
        levels=LEVELS,
        stakes=STAKES,
        exponent=0.4,
        ceiling=25.0,
        entry=0.0,
        likeness=16,
    )
    return calibrated_policy(
        shape=VictimShape(classes, (1, 28, 28)),
        scores=(ScoreSpec(ScoreName.energy, {}),) * SCORES,
        evidence=evidence,
        floor_seconds=FLOOR_HASHES / HASHES_PER_SECOND,
    )


class Site:
    """A gate on a filled ledger file, and users who pay it beforehand."""

    def __init__(self, path: Path, size: Size) -> None:
        self._policy = policy(size.classes)
        self._classes = size.classes
        names = fill(path, MODEL, size.accounts, self._policy.evidence.bets, size.queries)
        if size.expired:
            add_expired(path, size.expired)
        self._keys = itertools.cycle(add_keys(path, names, KEYS))
        self._gate = Gate(MODEL, SqliteLedger(path), self._policy, Allowance(256, 10.0), Tally())
        self._rng = random.Random(SEED)

    def requests(self, count: int) -> list[TextRequest]:
        """Return requests of one new sample each, paid beforehand."""
        return [self._request() for _ in range(count)]

    def seconds(self, request: TextRequest) -> float:
        """Return the seconds of the gate for an answer, without the victim's and the scores'."""
        priced = PricedSamples(
            [[self._rng.random() for _ in range(SCORES)]],
            [self._rng.randrange(self._classes)],
            [SampleIdentity(self._rng.randbytes(DIGEST_BYTES), self._rng.randbytes(SKETCH_BYTES))],
        )
        result = PassResult("an answer", priced)
        begun = time.perf_counter()
        (decision,) = self._gate.answer([request], lambda _: [result])
        seconds = time.perf_counter() - begun
        if not isinstance(decision, Released):
            raise BadAnswer(f"a prepaid query was refused: {decision.reason}")
        return seconds

    def _request(self) -> TextRequest:
        key = next(self._keys)
        puzzle = self._policy.puzzle.puzzle(FLOOR_HASHES, prepaid_resource(self._gate.realm, key))
        stamps = solve(puzzle, date=datetime.now(timezone.utc))
        payload = self._rng.randbytes(PAYLOAD_BYTES)
        return TextRequest(
            key, format_prepaid(stamps), 1, Purpose.predict, "a payload", lambda: sha256(payload).hexdigest()
        )


def times_in_turns(sites: Sequence[Site], answers: int, name: str) -> list[list[float]]:
    """Return the seconds of answers of each site; they take turns, so that other load affects all alike."""
    seconds: list[list[float]] = [[] for _ in sites]
    for number, requests in enumerate(track(_requests(sites, answers), name, "answer", answers)):
        # Whose turn is first alternates, too: the second finds the caches warm.
        for place in sorted(range(len(sites)), reverse=bool(number % 2)):
            seconds[place].append(sites[place].seconds(requests[place]))
    return seconds


def _requests(sites: Sequence[Site], answers: int) -> Iterator[tuple[TextRequest, ...]]:
    for begun in range(0, answers, AHEAD):
        yield from zip(*[site.requests(min(AHEAD, answers - begun)) for site in sites], strict=True)
