"""The past of an account: wealth between its bounds, repeated samples, near-copies, and a size that does not grow."""

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calpow.handler.ledger import history as history_module
from calpow.handler.ledger.history import (
    DIGEST_BYTES,
    DIGESTS,
    MOST_COST_MICRO,
    NO_HISTORY,
    RECENT,
    SKETCH_BYTES,
    SKETCHES,
    Charge,
    History,
    SampleIdentity,
)

CEILING = 10
SKETCH_OF = {name: bytes([number]) * SKETCH_BYTES for number, name in enumerate("abcdefgh")}
STEPS = st.tuples(st.integers(-4, 6), st.integers(-4, 6))
SAMPLES = st.lists(st.tuples(STEPS, st.sampled_from("abcdefgh"), st.sampled_from("abcdefgh ")), max_size=40)


def sample(number: int, *steps: int, sketch: bytes = b"") -> Charge:
    """Return the charge of a sample of this number, at a cost of 3."""
    return Charge(3, steps or (0, 0), SampleIdentity(number.to_bytes(DIGEST_BYTES, "big"), sketch))


def after(past: History, charge: Charge, likeness: int = 0) -> History:
    return past.after(past.wealth or (0, 0), charge, CEILING, likeness)


@dataclass
class Model:
    """An account, with lists instead of bytes."""

    likeness: int
    cost: int = 0
    queries: int = 0
    wealth: list[int] = field(default_factory=lambda: [0, 0])
    digests: list[bytes] = field(default_factory=list)
    sketches: list[bytes] = field(default_factory=list)
    recent: int = 0

    def take(self, charge: Charge) -> None:
        if charge.identity.digest in self.digests:
            return
        sketch = charge.identity.sketch
        is_copy = any(distance(sketch, other) <= self.likeness for other in self.sketches) and sketch
        for bet, step in enumerate(charge.steps):
            self.wealth[bet] = sorted((0, self.wealth[bet] + (max(step, 0) if is_copy else step), CEILING))[1]
        self.digests.append(charge.identity.digest)
        self.sketches += [sketch] if sketch else []
        self.recent = (self.recent + 1) % history_module.RECENT
        if not self.recent:
            del self.digests[: -history_module.DIGESTS], self.sketches[: -history_module.SKETCHES]
        self.cost += charge.cost_micro
        self.queries += 1


def distance(one: bytes, other: bytes) -> int:
    return sum((a ^ b).bit_count() for a, b in zip(one, other, strict=False))


@settings(max_examples=200)
@given(SAMPLES, st.integers(-1, 20))
def test_a_history_agrees_with_a_slow_model_of_it(
    samples: list[tuple[tuple[int, int], str, str]], likeness: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(history_module, "DIGESTS", 4)
        patch.setattr(history_module, "SKETCHES", 3)
        patch.setattr(history_module, "RECENT", 2)
        model, past = Model(likeness), NO_HISTORY
        for steps, name, look in samples:
            charge = Charge(2, steps, SampleIdentity(name.encode() * DIGEST_BYTES, SKETCH_OF.get(look, b"")))
            before = past.wealth or (0, 0)
            past = after(past, charge, likeness)
            model.take(charge)
            assert all(0 <= log <= CEILING for log in past.wealth)
            assert all(
                log - earlier <= max(0, step) for log, earlier, step in zip(past.wealth, before, steps, strict=True)
            )
        assert (past.cost_micro, past.queries) == (model.cost, model.queries)
        assert past.wealth in ((), tuple(model.wealth))
        assert past.digests + past.new_digests == b"".join(model.digests)
        assert past.sketches + past.new_sketches == b"".join(model.sketches)
        assert len(past.digests + past.new_digests) <= 5 * DIGEST_BYTES
        assert all(past.holds(SampleIdentity(digest)) for digest in model.digests)


def test_a_sample_that_was_answered_before_is_neither_charged_nor_credited() -> None:
    past = after(after(NO_HISTORY, sample(1, 5, 5)), sample(2, 3, 0))
    for steps in ((-4, -4), (6, 6)):
        assert after(past, sample(1, *steps)) == past


@pytest.mark.parametrize("sign", [1, -1])
def test_a_summed_cost_never_outgrows_the_integers_of_a_ledger(sign: int) -> None:
    past = NO_HISTORY
    for number in range(12):
        past = after(past, replace(sample(number, 1, 0), cost_micro=sign * 10**18))
    assert (past.cost_micro, past.queries, past.wealth) == (sign * MOST_COST_MICRO, 12, (CEILING, 0))
    assert after(past, replace(sample(12), cost_micro=-sign)).cost_micro == sign * (MOST_COST_MICRO - 1)


@pytest.mark.parametrize("recent", [0, 1, RECENT - 1])
def test_the_last_1024_samples_are_known_and_few_earlier_ones(recent: int) -> None:
    past, last = NO_HISTORY, 3 * DIGESTS // 2 + recent
    for number in range(1, last + 1):
        past = after(past, sample(number))
    known = [number for number in range(1, last + 1) if past.holds(sample(number).identity)]
    assert known == list(range(last - DIGESTS - recent + 1, last + 1))


def test_bytes_across_two_digests_are_no_digest() -> None:
    past = after(after(NO_HISTORY, sample(0x0102030405060708)), sample(0x1112131415161718))
    assert not past.holds(SampleIdentity(bytes.fromhex("0506070811121314")))
    assert past.holds(SampleIdentity(bytes.fromhex("1112131415161718")))


def test_a_sample_without_a_digest_is_always_charged_and_none_is_forgotten_for_it() -> None:
    past = after(NO_HISTORY, sample(1))
    nameless = Charge(3, (1, 0), SampleIdentity(b""))
    twice = after(after(past, nameless), nameless)
    assert (twice.queries, twice.wealth, twice.new_digests) == (3, (2, 0), past.new_digests)


@pytest.mark.parametrize(("bits", "credited"), [(0, False), (16, False), (17, True)])
def test_a_near_copy_is_charged_and_earns_no_credit(bits: int, credited: bool) -> None:
    first = int.from_bytes(SKETCH_OF["a"], "big")
    copy = (first ^ ((1 << bits) - 1)).to_bytes(SKETCH_BYTES, "big")
    past = after(NO_HISTORY, sample(1, 6, 2, sketch=SKETCH_OF["a"]))
    assert after(past, sample(2, -1, -1, sketch=copy), 16).wealth == ((5, 1) if credited else (6, 2))
    assert after(past, sample(2, -1, 1, sketch=copy), 16).wealth == ((5, 3) if credited else (6, 3))
    assert after(past, sample(2, 2, 2, sketch=copy), 16).wealth == (8, 4)


def test_a_likeness_below_zero_credits_even_a_copy_that_looks_the_same() -> None:
    past = after(NO_HISTORY, sample(1, 6, 2, sketch=SKETCH_OF["a"]))
    assert after(past, sample(2, -1, -1, sketch=SKETCH_OF["a"]), -1).wealth == (5, 1)


def test_ten_thousand_samples_take_no_more_room_than_a_thousand() -> None:
    past = NO_HISTORY
    for number in range(10_000):
        past = after(past, sample(number, 1, -1, sketch=number.to_bytes(SKETCH_BYTES, "big")))
    assert (past.cost_micro, past.queries, len(past.wealth)) == (30_000, 10_000, 2)
    assert (len(past.digests), len(past.sketches)) == (DIGESTS * DIGEST_BYTES, SKETCHES * SKETCH_BYTES)
    assert len(past.new_digests) < RECENT * DIGEST_BYTES


def test_old_samples_change_once_in_32_samples() -> None:
    past = NO_HISTORY
    for number in range(1, 2 * DIGESTS):
        later = after(past, sample(number, sketch=number.to_bytes(SKETCH_BYTES, "big")))
        assert (later.digests is past.digests, later.sketches is past.sketches) == (number % RECENT != 0,) * 2
        past = later


def withheld(past: History, *charges: Charge) -> tuple[History, tuple[int, ...]]:
    final, peaks = past, past.wealth or (0, 0)
    for charge in charges:
        final = after(final, charge)
        peaks = tuple(map(max, peaks, final.wealth))
    return past.unanswered(peaks, final)


@given(SAMPLES, st.tuples(st.integers(0, CEILING), st.integers(0, CEILING)))
def test_an_answer_that_is_withheld_and_then_leaves_has_the_effect_of_one_that_leaves_at_once(
    samples: list[tuple[tuple[int, int], str, str]], wealth: tuple[int, int]
) -> None:
    charges = [
        Charge(2, steps, SampleIdentity(name.encode() * DIGEST_BYTES, SKETCH_OF[name])) for steps, name, _ in samples
    ]
    past, final = History(5, 7, wealth), History(5, 7, wealth)
    waiting, credit = withheld(past, *charges)
    for charge in charges:
        final = after(final, charge)
        assert all(kept >= log for kept, log in zip(waiting.wealth, final.wealth, strict=True))
    assert all(kept >= log for kept, log in zip(waiting.wealth, wealth, strict=True))
    assert (waiting.new_digests, waiting.new_sketches) == (b"", b"")
    assert waiting.answered([charge.identity for charge in charges], credit) == final


def test_credit_is_lost_where_a_sample_is_known_by_then() -> None:
    past = History(0, 3, (9, 9))
    waiting, credit = withheld(past, sample(1, -4, -4), sample(2, -4, -4))
    assert credit == (8, 8)
    meanwhile = after(waiting, sample(1, -4, -4))
    assert meanwhile.wealth == (5, 5)
    late = meanwhile.answered([sample(1).identity, sample(2).identity], credit)
    assert late.wealth == (5, 5)
    assert late.holds(sample(2).identity)


def test_credit_in_the_bets_of_an_earlier_calibration_is_lost() -> None:
    waiting, credit = withheld(History(0, 3, (9, 9)), sample(1, -4, -4))
    assert replace(waiting, wealth=(9, 9, 9)).answered([sample(1).identity], credit).wealth == (9, 9, 9)
