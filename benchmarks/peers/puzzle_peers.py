"""Proofs of work of Calpow, of ALTCHA and of Debian's hashcash, with times.

Puzzles of about the same expected work, WORK digests. Each is issued, solved on one core and verified; ALTCHA's is its
version 1, whose proof is one number. hashcash is a program, so that its times include its start.
"""

import math
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from secrets import token_hex
from statistics import median
from typing import TypeVar

from altcha import v1 as altcha

from calpow.handler.gate.tokens import Claims, Signer
from calpow.handler.ledger.holders import Secret
from calpow.puzzle.puzzle import puzzle_size
from calpow.puzzle.solving.engines import Engine
from calpow.puzzle.solving.solver import run_solver

WORK = 1 << 16
ALGORITHM = "hashcash-sha1"
ROUNDS = 15
CHEAP_TIMES = 200

R = TypeVar("R")


@dataclass(frozen=True)
class PuzzleTimes:
    """Median seconds of the parts of a proof of work; None where there is no such part."""

    name: str
    issue: float | None
    solve: float
    verify: float


def ours(engine: Engine) -> PuzzleTimes:
    """Time our challenges: signing a token, solving its puzzle, verifying the token and every stamp."""
    signer = Signer(lambda: [Secret("1", b"s" * 32)])
    bits, count = puzzle_size(WORK)

    def issue() -> str:
        claims = Claims(token_hex(8), "account", "digits", int(time.time()) + 300, ALGORITHM, bits, count)
        return signer.sign(claims)

    puzzle = signer.verify(issue()).puzzle
    run_solver(puzzle, engine, workers=1)  # compiles the miner
    solving, verifying = [], []
    for _ in range(ROUNDS):
        token = issue()
        run = run_solver(signer.verify(token).puzzle, engine, workers=1)
        solving.append(run.seconds)
        verifying.append(_seconds(lambda t=token, s=run.stamps: signer.verify(t).puzzle.verify(s)))  # type: ignore[misc]
    return PuzzleTimes(
        f"Calpow, {engine.name} solver", _seconds(issue, CHEAP_TIMES), median(solving), median(verifying)
    )


def altchas() -> PuzzleTimes:
    """Time ALTCHA's challenges, whose number is below twice the work."""

    def issue() -> altcha.Challenge:
        return altcha.create_challenge(altcha.ChallengeOptions(hmac_key="key", max_number=2 * WORK))

    solving, verifying = [], []
    for _ in range(ROUNDS):
        challenge = issue()
        began = time.perf_counter()
        solution = altcha.solve_challenge(challenge)
        solving.append(time.perf_counter() - began)
        assert solution is not None
        payload = altcha.Payload(
            challenge.algorithm, challenge.challenge, solution.number, challenge.salt, challenge.signature
        ).to_base64()
        verifying.append(_seconds(lambda p=payload: _accepted(p)))  # type: ignore[misc]
    return PuzzleTimes("ALTCHA's Python library", _seconds(issue, CHEAP_TIMES), median(solving), median(verifying))


def hashcashs(program: str) -> PuzzleTimes:
    """Time Debian's hashcash, which has no challenges: one stamp of as many bits."""
    bits = str(round(math.log2(WORK)))
    solving, verifying = [], []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        minted = subprocess.run(
            [program, "-mqC", "-b", bits, "-r", token_hex(8)], capture_output=True, text=True, check=True
        )
        solving.append(time.perf_counter() - began)
        stamp = minted.stdout.strip()
        verify = [program, "-cqy", "-b", bits, "-r", stamp.split(":")[3], stamp]
        verifying.append(_seconds(lambda v=verify: subprocess.run(v, check=True)))  # type: ignore[misc]
    return PuzzleTimes("Debian's hashcash", None, median(solving), median(verifying))


def _accepted(payload: str) -> None:
    accepted, problem = altcha.verify_solution(payload, "key")
    assert accepted, problem


def _seconds(function: Callable[[], R], times: int = 1) -> float:
    """Return the mean seconds of a call."""
    began = time.perf_counter()
    for _ in range(times):
        function()
    return (time.perf_counter() - began) / times
