"""When something is broken: nothing is answered, nothing is lost, and everything works again when it is mended."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from calpow.handler.gate.decision import Decision, Ran, Request
from calpow.handler.leakage.score import Priced
from calpow.handler.ledger.ledger import MOST_USES, LedgerUnavailable
from tests.support.house import House, kind_of, many, prepay, refused, released, rest_of, solution

STEPS = ("account_of", "standing", "admit", "settle")


@contextmanager
def ledger_away(folder: Path) -> Iterator[None]:
    """The ledger's files are elsewhere until the block ends, and a folder stands in their place."""
    away = folder / "away"
    away.mkdir()
    for file in folder.glob("ledger.db*"):
        os.rename(file, away / file.name)
    (folder / "ledger.db").mkdir()
    yield
    (folder / "ledger.db").rmdir()
    for file in away.iterdir():
        os.rename(file, folder / file.name)


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path / "ledger.db")


def broken(step: str) -> Callable[[str], None]:
    """What makes one method of a ledger fail."""

    def break_down(name: str) -> None:
        if name == step:
            raise LedgerUnavailable("the ledger is down")

    return break_down


def assert_unavailable(decision: Decision, said: str = "ledger-unavailable") -> None:
    problem = refused(decision)
    assert (problem.status, problem.type, problem.challenge) == (503, said, None)
    assert problem.headers["Retry-After"] == "5"


def test_without_a_ledger_nothing_is_answered_and_with_it_everything_works_again(house: House, tmp_path: Path) -> None:
    paid, prepaid = house.pay("1.0"), prepay(house, 1000)
    with ledger_away(tmp_path):
        for sent in (paid, prepaid, None):
            assert_unavailable(house.ask("1.0", sent))
    assert house.passes == 0
    released(house.ask("1.0", paid))
    released(house.ask("1.1", prepaid))


def test_a_gate_that_starts_without_a_ledger_works_when_there_is_one(house: House, tmp_path: Path) -> None:
    paid = house.pay("1.0")
    with ledger_away(tmp_path):
        gate = house.worker()
        assert_unavailable(house.ask("1.0", paid, gate=gate))
    released(house.ask("1.0", paid, gate=gate))


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("prepaid", [False, True])
def test_a_ledger_that_breaks_down_at_any_step_sells_nothing_and_loses_nothing(
    house: House, step: str, prepaid: bool
) -> None:
    paid = prepay(house, 1000) if prepaid else house.pay("1.0")
    for _ in range(MOST_USES - 1):
        assert_unavailable(house.ask("1.0", paid, gate=house.meddled(broken(step))))
    assert house.account().version == 0
    assert house.passes == (MOST_USES - 1 if step == "settle" else 0)
    assert [row for row in house.rows() if row[0] in ("accounts", "outcomes")] == []
    released(house.ask("1.0", paid))
    assert house.account().totals.queries == 1


@pytest.mark.parametrize("text", ["?", "!"])
def test_a_failure_that_cannot_be_counted_is_not_told(house: House, text: str) -> None:
    paid = house.pay("1.0")
    assert_unavailable(house.ask(text, paid, gate=house.meddled(broken("fail"))))
    released(house.ask("1.0", paid))


@pytest.mark.parametrize("step", ["standing", "admit", "account"])
def test_a_retry_while_the_ledger_is_down_can_be_made_again(house: House, step: str) -> None:
    paid = house.pay("1.0")
    released(house.ask("1.0", paid))
    assert_unavailable(house.ask("1.0", paid, gate=house.meddled(broken(step))))
    released(house.ask("1.0", paid))


@pytest.mark.parametrize("step", ["standing", "admit", "settle"])
def test_a_withheld_answer_that_cannot_be_collected_now_can_be_later(house: House, step: str) -> None:
    paid = solution(rest_of(house.ask(many(4), house.pay("1.0"), counted=False)))
    assert_unavailable(house.ask(many(4), paid, counted=False, gate=house.meddled(broken(step))))
    released(house.ask(many(4), paid, counted=False))


def test_a_ledger_that_breaks_down_between_two_attempts_keeps_what_was_settled(house: House) -> None:
    """Bob's account changes meanwhile, ada's does not: her answer is settled and leaves, his is not."""
    bob = house.ledger.add_key("bob")
    paid = [house.pay("1.0"), house.pay("1.0", bob)]
    seen: list[str] = []

    def break_down(name: str) -> None:
        seen.append(name)
        if name == "settle":
            house.ask("1.5", house.pay("1.0", bob), bob)
        if name == "standing" and "settle" in seen:
            raise LedgerUnavailable("the ledger is down")

    requests = [house.request("1.0", paid[0]), house.request("1.0", paid[1], bob)]
    said = house.meddled(break_down).answer(requests, house.runner.run)
    assert [kind_of(each) for each in said] == ["answered", "ledger-unavailable"]
    released(house.ask("1.0", paid[1], bob))
    assert house.account("bob").totals.queries == 2


class Bug(Exception):
    """Something that nobody thought of."""


def raises(requests: Sequence[Request]) -> list[Ran]:
    raise Bug


def returns_too_few(requests: Sequence[Request]) -> list[Ran]:
    return []


def returns_nonsense(requests: Sequence[Request]) -> list[Ran]:
    nan = torch.full((1, 1), torch.nan, dtype=torch.float64)
    return [Ran("answer", Priced(nan, torch.zeros(1, dtype=torch.int64))) for _ in requests]


def runs_out_of_memory(requests: Sequence[Request]) -> list[Ran]:
    raise MemoryError


@pytest.mark.parametrize("run", [raises, returns_too_few, returns_nonsense, runs_out_of_memory])
def test_a_bug_in_what_runs_the_victim_answers_nothing_and_loses_nothing(
    house: House, run: Callable[[Sequence[Request]], list[Ran]]
) -> None:
    paid = [house.pay("1.0"), house.pay("1.0")]
    for _ in range(MOST_USES - 1):
        said = house.gate.answer([house.request("1.0", paid[0]), house.request("1.1", paid[1])], run)
        for each in said:
            assert_unavailable(each, "pricing-unavailable")
    assert house.account().version == 0
    for index, good in enumerate(paid):
        released(house.ask(f"1.{index}", good))


def test_a_digest_that_fails_in_a_way_nobody_thought_of_is_no_answer_and_no_loss(house: House) -> None:
    def strange() -> str:
        raise Bug

    paid = house.pay("1.0")
    request = Request(house.key, paid, 1, False, "1.0", strange)
    assert_unavailable(house.batch(request)[0], "pricing-unavailable")
    released(house.ask("1.0", paid))
