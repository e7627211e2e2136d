"""The arithmetic of settling, over accounts and prices of every size."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import accumulate
from math import ceil

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from calpow.handler.gate.settling import Settled, settle, settle_rest
from calpow.handler.ledger.account import NEW_ACCOUNT, Account
from calpow.handler.ledger.history import MICRO, Charge, History
from calpow.handler.ledger.solutions import Outcome
from calpow.handler.policy.solver_fit import SolverFit
from calpow.handler.policy.tariff import Tariff, TooLarge
from tests.support.calibrations import EVIDENCE, calibrated_policy, identity

TARIFFS = (
    Tariff(calibrated_policy()),
    # A dear one, of which a few samples take the longest challenge there is.
    Tariff(calibrated_policy(floor_seconds=20.0, solver=SolverFit(0.0, 50.0))),
)

FACTORS = st.sampled_from([1.0, 10.0])


@st.composite
def charges(draw: st.DrawFn) -> list[Charge]:
    names = st.integers(0, 100).map(str)
    one = st.builds(Charge, st.integers(0, 3 * MICRO), st.sampled_from(EVIDENCE.steps), st.builds(identity, names))
    return draw(st.lists(one, max_size=12))


@dataclass(frozen=True)
class Situation:
    """An account somewhere in its life, the work it is asked for, and at least as much that it presents."""

    tariff: Tariff
    account: Account
    asked: int
    hashes: int

    def settle(self, charged: Sequence[Charge], factor: float, more: int = 0) -> Settled:
        """Settle an answer, with `more` hashes beyond those presented."""
        return settle(self.tariff, self.account, charged, self.hashes + more, self.asked, factor)


@st.composite
def situations(draw: st.DrawFn) -> Situation:
    tariff = draw(st.sampled_from(TARIFFS))
    queries = draw(st.integers(0, 500))
    bets = draw(st.lists(st.integers(0, 25 * MICRO), min_size=EVIDENCE.bets, max_size=EVIDENCE.bets))
    history = History(queries * MICRO, queries, tuple(bets))
    account = Account(history, draw(st.integers(-tariff.next(Account(history, 0, 1)), tariff.longest)), 1)
    asked = tariff.asked(account, draw(st.integers(1, 12)), 1.0)
    if isinstance(asked, TooLarge):
        asked = tariff.longest
    return Situation(tariff, account, asked, draw(st.integers(asked, 4 * asked)))


def most_owed(situation: Situation, charged: Sequence[Charge], factor: float) -> int:
    """Return the most that the account may owe once these samples are answered."""
    tariff = situation.tariff
    after, _ = tariff.price(situation.account, charged, factor)
    return min(situation.asked, ceil(factor * max(tariff.next(after), len(charged) * tariff.floor)))


@settings(max_examples=40)
@given(situations(), charges(), FACTORS)
def test_an_answer_leaves_exactly_where_the_account_owes_no_more_than_it_may(
    situation: Situation, charged: list[Charge], factor: float
) -> None:
    tariff, account, hashes = situation.tariff, situation.account, situation.hashes
    after, price = tariff.price(account, charged, factor)
    due = account.owed + price
    settled = situation.settle(charged, factor)
    if due - hashes <= most_owed(situation, charged, factor):
        assert settled.rest == 0
        assert settled.account.owed == max(due - hashes, -tariff.next(after))
    else:
        assert settled.rest == due - hashes > 0
        assert settled.account.owed == account.owed
        after, credit = tariff.unanswered(account, charged)
        assert settled.credit == credit
    assert (settled.account.history, settled.price, settled.work) == (after.history, price, hashes)


def test_ordinary_samples_of_a_request_that_is_never_paid_for_do_not_hide_the_odd_ones_before_them() -> None:
    tariff = TARIFFS[0]
    odd = [Charge(3 * MICRO, EVIDENCE.steps[-1], identity(f"odd {number}")) for number in range(3)]
    plain = [Charge(MICRO, EVIDENCE.steps[0], identity(f"plain {number}")) for number in range(60)]
    unpaid = settle(tariff, NEW_ACCOUNT, [*odd, *plain], 0, 0, 1.0)
    assert unpaid.rest > 0
    assert tariff.next(unpaid.account) == tariff.next(tariff.price(NEW_ACCOUNT, odd, 1.0)[0]) > 5 * tariff.floor
    outcome = Outcome("name", "digest", 0.0, unpaid.price, unpaid.work, unpaid.rest, unpaid.credit)
    paid = settle_rest(tariff, unpaid.account._replace(owed=0), [*odd, *plain], outcome, unpaid.rest)
    assert tariff.next(paid.account) == tariff.floor


@settings(max_examples=40)
@given(situations(), charges(), FACTORS)
def test_whoever_abandons_an_account_owes_one_sample_or_as_many_floors_as_the_last_answer_had_samples(
    situation: Situation, charged: list[Charge], factor: float
) -> None:
    settled = situation.settle(charged, factor)
    assume(not settled.rest)
    tariff = situation.tariff
    assert settled.account.owed <= factor * max(tariff.next(settled.account), len(charged) * tariff.floor) + 1


@settings(max_examples=40)
@given(situations(), charges(), FACTORS)
def test_nobody_owes_more_than_was_asked_for_nor_than_one_challenge_may_ask_for(
    situation: Situation, charged: list[Charge], factor: float
) -> None:
    settled = situation.settle(charged, factor)
    # A credit that was earned at a higher price stays as it is while an answer is withheld.
    credit = -situation.tariff.next(settled.account) if settled.rest == 0 else situation.account.owed
    assert credit <= settled.account.owed
    assert settled.account.owed <= max(situation.account.owed, situation.asked) <= situation.tariff.longest


@settings(max_examples=40)
@given(situations(), charges(), FACTORS)
def test_more_work_never_leaves_a_larger_debt_or_rest(
    situation: Situation, charged: list[Charge], factor: float
) -> None:
    less, more = (situation.settle(charged, factor, extra) for extra in (0, 1))
    assert more.rest <= less.rest
    if (more.rest == 0) == (less.rest == 0):
        assert more.account.owed <= less.account.owed


@settings(max_examples=40)
@given(situations(), charges(), FACTORS, st.integers(0, 10_000), st.floats(-1.0, 5.0))
def test_the_rest_pays_the_answer_to_the_last_hash_whatever_is_owed_by_then(
    situation: Situation, charged: list[Charge], factor: float, above: int, owing: float
) -> None:
    tariff, account = situation.tariff, situation.account
    due = account.owed + tariff.price(account, charged, factor)[1]
    assume(due > 0)
    third = replace(situation, asked=due // 3, hashes=due // 3)
    withheld = third.settle(charged, factor)
    assert withheld.rest > 0
    outcome = Outcome("name", "digest", 0.0, withheld.price, withheld.work, withheld.rest, withheld.credit)
    later = withheld.account._replace(owed=int(owing * tariff.next(withheld.account)))
    collected = settle_rest(tariff, later, charged, outcome, withheld.rest + above)
    assert (collected.price, collected.rest) == (withheld.price, 0)
    known, earlier = collected.account.history, later.history
    assert all(known.holds(charge.identity) for charge in charged)
    assert (known.queries, known.cost_micro) == (earlier.queries, earlier.cost_micro)
    assert all(after <= before for after, before in zip(known.wealth, earlier.wealth, strict=True))
    assert collected.work == third.hashes + withheld.rest + above
    assert collected.account.owed == max(later.owed - account.owed - above, -tariff.next(collected.account))


@settings(max_examples=40)
@given(situations(), st.lists(charges(), min_size=1, max_size=6), FACTORS)
def test_paying_for_requests_one_by_one_adds_up(
    situation: Situation, requests: list[list[Charge]], factor: float
) -> None:
    """Work paid = prices of the answers - work owed now + work owed before + work that was not credited."""
    tariff, account = situation.tariff, situation.account
    paid, prices, clipped = 0, 0, 0
    for charged in requests:
        asked = tariff.asked(account, max(1, len(charged)), factor)
        work = situation.asked if isinstance(asked, TooLarge) else asked
        settled = settle(tariff, account, charged, work, work, factor)
        if not settled.rest:
            paid, prices = paid + settled.work, prices + settled.price
            exact = account.owed + settled.price - settled.work
            clipped += settled.account.owed - exact
            assert settled.account.owed in (exact, -tariff.next(settled.account))
        account = settled.account
    assert clipped >= 0
    assert paid == prices - account.owed + situation.account.owed + clipped


@settings(max_examples=40)
@given(situations(), charges())
def test_samples_are_counted_whether_the_answer_leaves_or_not_and_credited_only_if_it_does(
    situation: Situation, charged: list[Charge]
) -> None:
    little, much = (replace(situation, hashes=work, asked=0).settle(charged, 1.0) for work in (0, 1 << 50))
    assume(little.rest > 0)
    assert much.account.history == reduce(EVIDENCE.after, charged, situation.account.history)
    unpaid, paid = little.account.history, much.account.history
    assert (unpaid.queries, unpaid.cost_micro) == (paid.queries, paid.cost_micro)
    before = situation.account.history
    assert little.account.history.new_digests == before.new_digests
    passed = accumulate(charged, EVIDENCE.after, initial=before)
    wealth = [EVIDENCE.adopt(history) for history in passed]
    assert little.account.history.wealth == tuple(max(logs) for logs in zip(*wealth, strict=True))
    identities = [charge.identity for charge in charged]
    assert little.account.history.answered(identities, little.credit) == much.account.history
    assert (little.price, much.rest) == (much.price, 0)


def test_an_answer_without_a_sample_costs_nothing_and_its_work_counts_for_the_next() -> None:
    tariff, floor = TARIFFS[0], TARIFFS[0].floor
    settled = settle(tariff, NEW_ACCOUNT, [], floor, floor, 1.0)
    assert settled == Settled(NEW_ACCOUNT._replace(owed=-floor), 0, floor, 0)


@settings(max_examples=40)
@given(situations(), st.sampled_from(EVIDENCE.steps))
def test_whoever_pays_what_is_asked_for_one_sample_gets_its_answer_or_a_rest_that_can_be_paid(
    situation: Situation, steps: tuple[int, ...]
) -> None:
    settled = situation.settle([Charge(MICRO, steps, identity("new"))], 1.0)
    assert settled.rest <= situation.tariff.longest
