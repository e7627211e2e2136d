"""The arithmetic of settling, over accounts and prices of every size."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from calpow.handler.gate.settling import Settled, settle, settle_rest
from calpow.handler.ledger.ledger import Account, Charge, Outcome, Totals
from calpow.handler.policy.policies import SolverFit
from calpow.handler.policy.tariff import Tariff, TooLarge
from tests.support.calibrations import calibrated_policy

MICRO = 1_000_000
TARIFFS = (
    Tariff(calibrated_policy()),
    # A dear one, of which a few samples take the longest challenge there is.
    Tariff(calibrated_policy(floor_seconds=20.0, solver=SolverFit(0.0, 50.0))),
)

FACTORS = st.sampled_from([1.0, 10.0])


@st.composite
def charges(draw: st.DrawFn) -> list[Charge]:
    one = st.builds(Charge, st.integers(0, 3 * MICRO), st.integers(-MICRO // 4, 2 * MICRO), st.just(1))
    return draw(st.lists(one, max_size=12))


@dataclass(frozen=True)
class Situation:
    """An account somewhere in its life, the work it is asked for, and at least as much that it presents."""

    tariff: Tariff
    account: Account
    asked: int
    hashes: int

    def settle(self, evidence: Sequence[Charge], factor: float, more: int = 0) -> Settled:
        """Settle an answer, with `more` hashes beyond those presented."""
        return settle(self.tariff, self.account, evidence, self.hashes + more, self.asked, factor)


@st.composite
def situations(draw: st.DrawFn) -> Situation:
    tariff = draw(st.sampled_from(TARIFFS))
    queries = draw(st.integers(0, 500))
    totals = Totals(queries * MICRO, draw(st.integers(-MICRO // 4, MICRO)) * queries, queries)
    account = Account(totals, draw(st.integers(-tariff.next(totals), tariff.longest)), 1)
    asked = tariff.asked(account, draw(st.integers(1, 12)), 1.0)
    if isinstance(asked, TooLarge):
        asked = tariff.longest
    return Situation(tariff, account, asked, draw(st.integers(asked, 4 * asked)))


@settings(max_examples=40)
@given(situations(), charges(), FACTORS)
def test_an_answer_leaves_exactly_where_it_leaves_no_larger_debt_than_the_work_that_was_asked_for(
    situation: Situation, evidence: list[Charge], factor: float
) -> None:
    tariff, account, hashes = situation.tariff, situation.account, situation.hashes
    totals, price = tariff.price(account.totals, evidence, factor)
    due = account.owed + price
    settled = situation.settle(evidence, factor)
    assert (settled.totals, settled.price, settled.work) == (totals, price, hashes)
    if due - hashes <= situation.asked:
        assert settled.rest == 0
        assert settled.owed == max(due - hashes, -tariff.next(totals))
    else:
        assert settled.rest == due - hashes > 0
        assert settled.owed == account.owed


@settings(max_examples=40)
@given(situations(), charges(), FACTORS)
def test_up_to_twice_what_was_asked_for_an_answer_leaves_for_whoever_paid_just_that(
    situation: Situation, evidence: list[Charge], factor: float
) -> None:
    paid = replace(situation, hashes=situation.asked)
    settled = paid.settle(evidence, factor)
    assert (settled.rest == 0) == (paid.account.owed + settled.price <= 2 * paid.asked)


@settings(max_examples=40)
@given(situations(), charges(), FACTORS)
def test_nobody_owes_more_than_was_asked_for_nor_than_one_challenge_may_ask_for(
    situation: Situation, evidence: list[Charge], factor: float
) -> None:
    settled = situation.settle(evidence, factor)
    # A credit that was earned at a higher price stays as it is while an answer is withheld.
    credit = -situation.tariff.next(settled.totals) if settled.rest == 0 else situation.account.owed
    assert credit <= settled.owed
    assert settled.owed <= max(situation.account.owed, situation.asked) <= situation.tariff.longest


@settings(max_examples=40)
@given(situations(), charges(), FACTORS)
def test_more_work_never_leaves_a_larger_debt_or_rest(
    situation: Situation, evidence: list[Charge], factor: float
) -> None:
    less, more = (situation.settle(evidence, factor, extra) for extra in (0, 1))
    assert more.rest <= less.rest
    if (more.rest == 0) == (less.rest == 0):
        assert more.owed <= less.owed


@settings(max_examples=40)
@given(situations(), charges(), FACTORS, st.integers(0, 10_000), st.floats(-1.0, 5.0))
def test_the_rest_pays_the_answer_to_the_last_hash_whatever_is_owed_by_then(
    situation: Situation, evidence: list[Charge], factor: float, above: int, owing: float
) -> None:
    tariff, account = situation.tariff, situation.account
    due = account.owed + tariff.price(account.totals, evidence, factor)[1]
    assume(due > 0)
    third = replace(situation, asked=due // 3, hashes=due // 3)
    withheld = third.settle(evidence, factor)
    assert withheld.rest > 0
    outcome = Outcome("name", "digest", 0.0, withheld.price, withheld.work, withheld.rest)
    later = Account(withheld.totals, int(owing * tariff.next(withheld.totals)), 7)
    collected = settle_rest(tariff, later, outcome, withheld.rest + above)
    assert (collected.totals, collected.price, collected.rest) == (later.totals, withheld.price, 0)
    assert collected.work == third.hashes + withheld.rest + above
    assert collected.owed == max(later.owed - account.owed - above, -tariff.next(later.totals))


@settings(max_examples=40)
@given(situations(), st.lists(charges(), min_size=1, max_size=6), FACTORS)
def test_paying_for_requests_one_by_one_adds_up(
    situation: Situation, requests: list[list[Charge]], factor: float
) -> None:
    """Work paid = prices of the answers - work owed now + work owed before + work that was not credited."""
    tariff, account = situation.tariff, situation.account
    paid, prices, clipped = 0, 0, 0
    for evidence in requests:
        asked = tariff.asked(account, max(1, len(evidence)), factor)
        work = situation.asked if isinstance(asked, TooLarge) else asked
        settled = settle(tariff, account, evidence, work, work, factor)
        if not settled.rest:
            paid, prices = paid + settled.work, prices + settled.price
            exact = account.owed + settled.price - settled.work
            clipped += settled.owed - exact
            assert settled.owed in (exact, -tariff.next(settled.totals))
        account = Account(settled.totals, settled.owed, account.version + 1)
    assert clipped >= 0
    assert paid == prices - account.owed + situation.account.owed + clipped


@settings(max_examples=40)
@given(situations(), charges())
def test_evidence_is_charged_alike_whether_the_answer_leaves_or_not(
    situation: Situation, evidence: list[Charge]
) -> None:
    little, much = (replace(situation, hashes=work).settle(evidence, 1.0) for work in (0, 1 << 50))
    assert little.totals == much.totals == sum(evidence, situation.account.totals)
    assert (little.price, much.rest) == (much.price, 0)


def test_an_answer_without_a_sample_costs_nothing_and_its_work_counts_for_the_next() -> None:
    tariff, account, floor = TARIFFS[0], Account(Totals(0, 0, 0), 0, 0), TARIFFS[0].floor
    assert settle(tariff, account, [], floor, floor, 1.0) == Settled(account.totals, -floor, 0, floor, 0)


@settings(max_examples=40)
@given(situations(), st.integers(-MICRO // 4, 2 * MICRO))
def test_whoever_pays_what_is_asked_for_one_sample_gets_its_answer_or_a_rest_that_can_be_paid(
    situation: Situation, excess: int
) -> None:
    settled = situation.settle([Charge(MICRO, excess, 1)], 1.0)
    assert settled.rest <= situation.tariff.longest
