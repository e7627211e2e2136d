"""Prepaid answers of a gate on a ledger of some size."""

import itertools
import random
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from benchmarks.growth.large_ledgers import SEED, add_expired, add_keys, fill
from benchmarks.growth.redis_ledgers import fill_redis, spend_ids
from benchmarks.serving.light_client import BadAnswer
from calpow.handler.gate.gate import Gate
from calpow.handler.gate.interface import Allowance, PassResult, PricedSamples, Released
from calpow.handler.leakage.specs import ScoreName, ScoreSpec, VictimShape
from calpow.handler.ledger.history import DIGEST_BYTES, SKETCH_BYTES, SampleIdentity
from calpow.handler.ledger.ledger import Ledger
from calpow.handler.ledger.sqlite.sqlite_ledger import SqliteLedger
from calpow.handler.ledger.uri import open_ledger
from calpow.handler.metrics.tally import Tally
from calpow.handler.policy.calibrated_policy import CalibratedPolicy
from calpow.handler.policy.evidence import Evidence, ScoreTest
from calpow.handler.policy.joint_oddness import SHARES, OddnessScale
from calpow.handler.torchserve_request import TorchServeRequest
from calpow.puzzle.prepaid import prepaid_resource
from calpow.puzzle.solving.solver import solve
from calpow.puzzle.wire import KEY_HEADER, SOLUTION_HEADER, format_prepaid
from tests.support.calibrations import HASHES_PER_SECOND, calibrated_policy

MODEL = "digits"
KEYS = 1_000
# Requests whose stamps are minted before the clock of the first one starts.
AHEAD = 100
BYTES_OF_A_NUMBER = 20  # of JSON
# A worker computes so many scores of images, and bets on some of them and on the joint oddness of all.
SCORES, TESTED = 11, (0, 3, 6, None)
LEVELS, STAKES = (0.3, 0.1, 0.03, 0.01), (0.5, 0.2, 0.05)
# Two stamps of the fewest bits.
FLOOR_HASHES = 4

# A row of TorchServe's batch and its properties.
Incoming = tuple[Mapping[str, object], Mapping[str, object]]


@dataclass(frozen=True)
class Size:
    """Size of a ledger, of a model and of its requests.

    queries: of each account, None for various numbers. classes: of the model. requests: in a batch. payload: bytes of
    each. parsed: whether it is JSON, which TorchServe has parsed.
    """

    accounts: int = 1_000
    queries: int | None = None
    classes: int = 10
    expired: int = 0
    requests: int = 1
    payload: int = 3_000
    parsed: bool = False


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


def file_gate(path: Path, size: Size) -> "PaidGate":
    """Return a gate on a new ledger file of a size, timed by the time of its thread."""
    names = fill(path, MODEL, size.accounts, policy(size.classes).evidence.bets, size.queries)
    if size.expired:
        add_expired(path, size.expired)
    return PaidGate(SqliteLedger(path), add_keys(path, names, KEYS), size)


def redis_gate(uri: str, size: Size, expires: float) -> "PaidGate":
    """Return a gate on a new ledger in Redis, whose spent ids expire at a time.

    It is timed by the clock on the wall, which has the server's share, too.
    """
    ledger, rng = open_ledger(uri), random.Random(SEED)
    names = fill_redis(ledger, MODEL, size.accounts, policy(size.classes).evidence.bets)
    spend_ids(ledger, MODEL, size.expired, expires)
    keys = [ledger.add_key(name) for name in rng.choices(names, k=KEYS)]
    return PaidGate(ledger, keys, size, time.perf_counter)


class PaidGate:
    """A gate on a filled ledger, and users with keys of it who pay beforehand; `clock` is what answers are timed by."""

    def __init__(
        self, ledger: Ledger, keys: Sequence[str], size: Size, clock: Callable[[], float] = time.thread_time
    ) -> None:
        self._policy = policy(size.classes)
        self._size = size
        self._clock = clock
        self._keys = itertools.cycle(keys)
        self._gate = Gate(MODEL, ledger, self._policy, Allowance(256, 10.0), Tally())
        self._rng = random.Random(SEED)
        self._payload = self._made_payload()
        self._ahead: deque[Incoming] = deque()

    def seconds(self) -> float:
        """Return the seconds of the clock for the answer to a batch: reading its requests and deciding over them.

        The victim's pass and its pricing take no time: every request has one new sample of random scores.
        """
        while len(self._ahead) < self._size.requests:
            self._ahead.extend(self._incoming() for _ in range(AHEAD))
        batch = [self._ahead.popleft() for _ in range(self._size.requests)]
        results = [PassResult("an answer", self._priced()) for _ in batch]
        begun = self._clock()
        requests = [
            TorchServeRequest.read(f"request-{place}", *incoming, version="1.0", counted=True)
            for place, incoming in enumerate(batch)
        ]
        decisions = self._gate.answer(requests, lambda _: results)
        seconds = self._clock() - begun
        for decision in decisions:
            if not isinstance(decision, Released):
                raise BadAnswer(f"a prepaid query was refused: {decision.reason}")
        return seconds

    def _incoming(self) -> Incoming:
        key = next(self._keys)
        puzzle = self._policy.puzzle.puzzle(FLOOR_HASHES, prepaid_resource(self._gate.realm, key))
        stamps = solve(puzzle, date=datetime.now(timezone.utc))
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(self._size.payload)}
        payment = {KEY_HEADER: key, SOLUTION_HEADER: format_prepaid(stamps)}
        return {"body": self._payload}, {**headers, **payment, "explain": "False"}

    def _priced(self) -> PricedSamples:
        return PricedSamples(
            [[self._rng.random() for _ in range(SCORES)]],
            [self._rng.randrange(self._size.classes)],
            [SampleIdentity(self._rng.randbytes(DIGEST_BYTES), self._rng.randbytes(SKETCH_BYTES))],
        )

    def _made_payload(self) -> object:
        if self._size.parsed:
            return {"instances": [[self._rng.random() for _ in range(self._size.payload // BYTES_OF_A_NUMBER)]]}
        return self._rng.randbytes(self._size.payload)
