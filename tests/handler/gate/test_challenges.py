"""The challenges that the gate states: their work in steps, how long they stay open, and what their tokens tell."""

import base64
import json
import random
import sqlite3
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calpow.handler.gate.challenges import LONGEST_EXPIRY_SECONDS, SHORTEST_EXPIRY_SECONDS, solution_name, time_to_solve
from calpow.handler.gate.interface import Released
from calpow.handler.policy.solver_fit import SolverFit
from calpow.handler.policy.tariff import LONGEST_SECONDS
from calpow.puzzle.prepaid import prepaid_resource
from calpow.puzzle.profiles import PROFILES
from calpow.puzzle.puzzle import Puzzle
from calpow.puzzle.wire import MAX_SOLUTION_LENGTH, MAX_TOKEN_LENGTH, Challenge, format_prepaid
from tests.support.customers import DATE, Attempt, Customer
from tests.support.gate_harness import (
    FLOOR_HASHES,
    START,
    GateHarness,
    challenge_of,
    claim_work,
    decision_type,
    next_hashes_of,
    payload_of,
    prepay,
    released,
    rest_challenge,
    skip_fsync,
    solution,
    stamps_without_work,
    trust_stamps,
)


def steps(harness: GateHarness) -> set[int]:
    """The works that may be stated: of the puzzles that are nearest to the floor times powers of a quarter of a bit."""
    floor = harness.policy.solver.work(harness.policy.floor_seconds)
    return {harness.kind.puzzle(floor * 2 ** (index / 4), "step").expected_hashes for index in range(-80, 100)}


def claims_of(challenge: Challenge) -> dict[str, object]:
    payload = challenge.token.split(".")[1]
    claims: dict[str, object] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return claims


# ---- Work in steps --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", list(PROFILES))
def test_all_that_is_stated_in_an_accounts_life_is_a_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, profile: str
) -> None:
    trust_stamps(monkeypatch)
    skip_fsync(monkeypatch)
    harness = GateHarness(tmp_path / "ledger.db", PROFILES[profile].kind)
    customer = Customer(harness, "carla", random.Random(7))
    stated: set[int] = set()
    owing = 0
    for index in range(150):
        rng = customer.rng
        hashes = customer.next_hashes * rng.uniform(0.2, 2.5)
        header = customer.prepaid(hashes) if rng.random() < 0.7 else None
        attempt = Attempt(customer, customer.text(rng.choice((1, 2, 5))), index % 2 == 0, header)
        while attempt.answer is None:
            (decision,) = harness.gate.answer([attempt.request()], harness.runner.run)
            attempt.take(decision)
            if isinstance(decision, Released):
                stated.add(next_hashes_of(decision))
            else:
                stated.add(challenge_of(decision).puzzle.expected_hashes)
        owing += harness.account("carla").owed not in (0, -customer.next_hashes)
    assert stated <= steps(harness)
    assert len(stated) > 20
    assert owing > 50


def test_the_floor_asks_what_the_floor_has_always_asked(harness: GateHarness) -> None:
    challenge = harness.challenge("1.0")
    assert challenge.puzzle == Puzzle("hashcash-sha1", challenge.puzzle.resource, 5, 31)
    assert next_hashes_of(harness.ask("1.0", harness.pay("1.0"))) == FLOOR_HASHES


def test_what_an_answer_announces_is_enough_for_the_next_whatever_the_account_has_done(
    harness: GateHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    trust_stamps(monkeypatch)
    skip_fsync(monkeypatch)
    customer = Customer(harness, "carla", random.Random(3))
    for _ in range(100):
        samples = customer.rng.choice((1, 1, 3))
        Attempt(customer, customer.text(samples), samples == 1, customer.prepaid(customer.next_hashes)).run(
            harness.gate
        )
        paid = customer.prepaid(customer.next_hashes)
        request = harness.request(customer.text(1), paid, customer.key)
        passes = harness.pass_count
        harness.gate.answer([request], harness.runner.run)
        assert harness.pass_count == passes + 1, "the work was enough for the pass"


def test_a_debt_is_asked_for_with_the_next_sample_and_a_credit_is_taken_off(harness: GateHarness) -> None:
    released(harness.ask(payload_of(2), harness.pay("1.0"), counted=False))
    assert harness.account().owed == FLOOR_HASHES
    assert 2 * FLOOR_HASHES <= harness.challenge("1.0").puzzle.expected_hashes <= 2.5 * FLOOR_HASHES
    released(harness.ask("1.0", prepay(harness, 20 * FLOOR_HASHES)))
    assert harness.account().owed == -FLOOR_HASHES
    assert harness.challenge("1.0").puzzle.expected_hashes == FLOOR_HASHES
    assert harness.challenge(payload_of(5)).puzzle.expected_hashes <= 1.25 * 4 * FLOOR_HASHES


# ---- How long -------------------------------------------------------------------------------------------------------


@given(st.floats(0.0, 1e5), st.integers(1, 63))
def test_a_challenge_stays_open_for_a_minute_to_an_hour_and_longer_for_more_work(seconds: float, count: int) -> None:
    opened = time_to_solve(seconds, count)
    assert SHORTEST_EXPIRY_SECONDS <= opened <= LONGEST_EXPIRY_SECONDS
    assert opened <= time_to_solve(2 * seconds, count)
    assert opened >= time_to_solve(seconds, count + 1)


def test_thirty_times_slower_clients_solve_in_time_in_999_of_1000_cases() -> None:
    """The 99.9th percentile of the gamma distribution, for 16 exponential times with means of a sixteenth, is 1.950."""
    assert time_to_solve(10, 16) == pytest.approx(40 * 1.95 * 10, rel=0.01)


@pytest.mark.parametrize("pace", [1.0, 50.0, 1e3, 1e6])
@pytest.mark.parametrize("samples", [1, 2, 7, 20, 36])
def test_every_challenge_expires_within_the_hour_and_takes_15_minutes_at_most(
    tmp_path: Path, pace: float, samples: int
) -> None:
    harness = GateHarness(tmp_path / "ledger.db", floor=20.0, solver=SolverFit(0.0, pace))
    for now in (START, START + 0.001, START + 0.999):
        harness.now = now
        challenge = harness.challenge(payload_of(samples))
        opened = challenge.expires.timestamp() - now
        assert SHORTEST_EXPIRY_SECONDS <= opened < LONGEST_EXPIRY_SECONDS + 1
        assert harness.policy.solving_seconds(challenge.puzzle.expected_hashes) <= LONGEST_SECONDS


def test_more_samples_than_15_minutes_buy_are_refused_with_how_many_they_do(tmp_path: Path) -> None:
    harness = GateHarness(tmp_path / "ledger.db", floor=20.0, solver=SolverFit(0.0, 50.0))
    decision = harness.ask(payload_of(256))
    assert decision_type(decision) == "too-large"
    assert not isinstance(decision, Released)
    most = int(decision.problem.detail.split("at most ")[1].split()[0])
    assert most > 30
    challenge_of(harness.ask(payload_of(most)))
    assert decision_type(harness.ask(payload_of(most + 1))) == "too-large"


# ---- Tokens ---------------------------------------------------------------------------------------------------------


def test_a_token_names_the_account_by_an_opaque_subject(harness: GateHarness) -> None:
    ada, again, bob = (claims_of(harness.challenge("1.0", key)) for key in (None, None, harness.ledger.add_key("bob")))
    assert list(ada) == ["jti", "sub", "aud", "exp", "algorithm", "bits", "count"]
    assert ada["sub"] == again["sub"] != bob["sub"]
    assert len(str(ada["sub"])) == 22
    for name, claims in (("ada", ada), ("bob", bob)):
        text = json.dumps(claims)
        assert name not in text
        assert base64.urlsafe_b64encode(name.encode()).decode().rstrip("=") not in text


def test_another_deployment_names_the_same_account_otherwise(harness: GateHarness, tmp_path: Path) -> None:
    other = GateHarness(tmp_path / "other.db")
    assert claims_of(harness.challenge("1.0"))["sub"] != claims_of(other.challenge("1.0"))["sub"]


def test_a_token_of_another_deployment_is_none_of_ours(harness: GateHarness, tmp_path: Path) -> None:
    other = GateHarness(tmp_path / "other.db")
    assert decision_type(harness.ask("1.0", other.pay("1.0"))) == "malformed-solution"


def test_a_rests_token_tells_what_it_builds_on_and_a_withheld_answers_also_its_request(harness: GateHarness) -> None:
    little = prepay(harness, 500)
    rest = claims_of(rest_challenge(harness.ask("1.0", little)))
    assert isinstance(rest["ids"], list)
    assert len(rest["ids"]) == len(little.split()) - 1
    assert rest["work"] == 496
    assert "dig" not in rest
    assert "withheld" not in rest
    paid = harness.challenge("1.0")
    withheld = claims_of(rest_challenge(harness.ask(payload_of(4), solution(paid), counted=False)))
    assert (withheld["ids"], withheld["work"]) == ([], 0)
    assert withheld["withheld"] == solution_name([paid.puzzle.resource])
    assert len(str(withheld["dig"])) == 64


def test_a_rotated_secret_signs_and_what_the_old_one_signed_is_still_good(harness: GateHarness) -> None:
    old = harness.pay("1.0")
    with sqlite3.connect(harness.path) as connection:
        connection.execute("INSERT INTO secrets VALUES ('new', ?)", (b"n" * 32,))
    harness.gate = harness.worker()
    new = harness.challenge("1.0")
    assert decision_type(harness.ask("1.0", old)) == "answered"
    with sqlite3.connect(harness.path) as connection:
        connection.execute("DELETE FROM secrets WHERE id != 'new'")
    harness.gate = harness.worker()
    released(harness.ask("1.0", solution(new)))
    assert decision_type(harness.ask("1.0", old)) == "malformed-solution"


@pytest.mark.parametrize("model", ["m", "m" * 60])
def test_the_longest_chain_of_rests_has_a_token_that_can_be_sent(
    harness: GateHarness, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    """64 prepaid stamps, which is the most, and as many rests on them as a token may name."""
    trust_stamps(monkeypatch)
    gate = harness.worker(model)
    puzzle = Puzzle(harness.kind.algorithm, prepaid_resource(gate.realm, harness.key), 1, 64)
    sent = format_prepaid(stamps_without_work(puzzle, DATE))
    lengths: list[int] = []
    for samples in (2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64):
        challenge = rest_challenge(harness.ask(payload_of(samples), sent, gate=gate))
        lengths.append(len(challenge.token))
        sent = claim_work(challenge)
        assert len(sent) <= MAX_SOLUTION_LENGTH
    assert 4000 < max(lengths) <= MAX_TOKEN_LENGTH
    assert lengths[-1] < 2000, "the whole was asked for in the end"
