"""Rehearsal of a fitted policy with simulated legitimate users and attackers: the evidence of a calibration."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from calpow.archiver.calibration.calibration_document import Band, Role, SimulatedProfile, ThiefFigures
from calpow.archiver.calibration.policy_fit.fitted_evidence import FittedEvidence
from calpow.archiver.calibration.policy_fit.paper_fit import paper_multiples
from calpow.archiver.calibration.policy_fit.thieves import FILLERS, duty_places, is_theft
from calpow.archiver.calibration.policy_fit.user_profiles import Profile, draw_samples
from calpow.archiver.calibration.policy_fit.wealth import (
    Codes,
    Wealth,
    mean_over_tests,
    mean_payments,
    prices_at,
    walk,
)
from calpow.archiver.calibration.samples import Floats, Ints, Samples
from calpow.archiver.progress import progress, track
from calpow.handler.leakage.score import ScoredSamples
from calpow.handler.policy.paper import Paper

USERS = 100
# Profiles of legitimate users whose queries are priced at once: more take longer, for they fit into no cache.
TOGETHER = 4
ATTACKERS = 20
THIEVES = 4
NEW_ACCOUNTS = 200
# Beyond, users pay what they paid before: wealth that is not banked has no long memory.
LONGEST = 10_000
LENGTHS = (100, 1_000, 10_000)
# Queries of thieves, and of an honest past.
QUERIES = 2_000
PAST = 3_000
FREE = 2.0
# Honest fillers for each stolen answer.
RATIOS = tuple(sorted({*FILLERS, 1, 4, 19}))
# The share of a thief's queries, the cheapest, that he sends who knows what queries cost.
CHEAPEST = 0.3


@dataclass(frozen=True)
class QueryTimes:
    """Seconds per query: unprotected latency, time added by the gate, and solving time of the least puzzle."""

    latency: float
    added: float
    floor: float


@dataclass(frozen=True)
class Streams:
    """Queries: the codes of the bets `[..., tests]`, and the costs `[...]` that the paper's policy sums."""

    codes: Codes
    costs: Floats


# The wealth of the bets, or the distances from the paper's baseline `[users, 1]`.
AccountState = Wealth | Floats


@dataclass(frozen=True)
class PricedStreams:
    """Prices of streams in floors, and the number that the policy acts on, both `[users, queries]`.

    `end` is the state of the accounts afterwards, from which further streams can start.
    """

    prices: Floats
    score: Floats
    end: AccountState

    def of_users(self, number: int, users: int) -> "PricedStreams":
        """Return the streams of one group of so many users; groups are numbered from 0."""
        rows = slice(number * users, (number + 1) * users)
        return PricedStreams(self.prices[rows], self.score[rows], self.end[rows])


class EvidencePricing:
    """Prices of streams under the policy `evidence`."""

    score_name = "log of the mean wealth of the bets"

    def __init__(self, fit: FittedEvidence, cap: float) -> None:
        self._fit = fit
        self._cap = cap

    def price(self, codes: Codes, costs: Floats, start: AccountState | None = None) -> PricedStreams:
        """Price streams `[users, queries, tests]` of accounts with wealth `start`, of new ones by default."""
        fit = self._fit
        begun = fit.bets.beginning(fit.entry) if start is None else start.astype(np.float32)
        walked = walk(codes, fit.bets, fit.ceiling, begun)
        wealth = mean_over_tests(walked.means)
        return PricedStreams(prices_at(wealth, fit.exponent, self._cap), np.log(wealth), walked.end)


class PaperPricing:
    """Prices of streams under the paper's policy."""

    score_name = "summed cost above the baseline"

    def __init__(self, policy: Paper, cap: float) -> None:
        self._policy = policy
        self._cap = cap

    def price(self, codes: Codes, costs: Floats, start: AccountState | None = None) -> PricedStreams:
        """Price streams with costs `[users, queries]`; the account's distance so far is `start` `[users, 1]`."""
        distances: Floats = np.cumsum(costs - self._policy.slope, axis=1) + (0.0 if start is None else start)
        prices = paper_multiples(math.log(self._policy.base), distances, self._cap)
        return PricedStreams(prices, distances, distances[:, -1:])


Pricing = EvidencePricing | PaperPricing


@dataclass(frozen=True)
class RehearsalInputs:
    """Legitimate samples and their tolerated changes by kind ("" for none), attackers' queries, and the times.

    own_data: the names of the attackers who bring queries of their own. auroc: by name of an attacker.
    """

    samples: Samples
    profiles: Sequence[Profile]
    honest: Mapping[str, Streams]
    attacks: Mapping[str, Streams]
    own_data: frozenset[str]
    auroc: Mapping[str, Mapping[str, float]]
    times: QueryTimes
    horizon: int

    @property
    def checkpoints(self) -> Ints:
        """Numbers of queries at which what users pay is kept."""
        last = min(self.horizon, LONGEST)
        lengths = [length for length in LENGTHS if length <= last]
        spaced = np.geomspace(1, last, 49).round().astype(np.int64)
        return np.unique(np.concatenate([spaced, lengths]))


def rehearse(pricing: Pricing, inputs: RehearsalInputs, rng: np.random.Generator) -> tuple[SimulatedProfile, ...]:
    """Return what legitimate users of every profile, and every attacker, pay under a policy."""
    return _Rehearsal(pricing, inputs, rng).run()


def rehearse_prices(pricing: Pricing, inputs: RehearsalInputs, rng: np.random.Generator) -> dict[str, float]:
    """Return by name of a profile what it pays under a policy, in floors.

    That is what `dearest` says of legitimate users, and `theft` of attackers.
    """
    return _Rehearsal(pricing, inputs, rng).run_prices()


class _Rehearsal:
    def __init__(self, pricing: Pricing, inputs: RehearsalInputs, rng: np.random.Generator) -> None:
        self._pricing = pricing
        self._inputs = inputs
        self._rng = rng

    def run(self) -> tuple[SimulatedProfile, ...]:
        found = [self._legitimate(profile, priced) for profile, priced in self._honest()]
        return (*found, *self._attackers())

    def run_prices(self) -> dict[str, float]:
        honest = self._inputs.honest[""]
        found = {profile.name: self._dearest(priced.prices) for profile, priced in self._honest()}
        for name, strangers in track(self._inputs.attacks.items(), "thieves", "attacker"):
            found[name] = min(_thefts(self._mixed(strangers, honest)).values())
        return found

    def _honest(self) -> Iterator[tuple[Profile, PricedStreams]]:
        """Yield the profiles of legitimate users with what they pay."""
        profiles, queries = self._inputs.profiles, int(self._inputs.checkpoints[-1])
        with progress("honest users", "kind", len(profiles)) as advance:
            for start in range(0, len(profiles), TOGETHER):
                group = profiles[start : start + TOGETHER]
                codes, costs = [], []
                for profile in group:
                    streams = self._inputs.honest[profile.kind]
                    index = draw_samples(profile, USERS, queries, self._rng)
                    codes.append(streams.codes[index])
                    costs.append(streams.costs[index])
                priced = self._pricing.price(np.concatenate(codes), np.concatenate(costs))
                for number, profile in enumerate(group):
                    yield profile, priced.of_users(number, USERS)
                advance(len(group))

    def _drawn(self, streams: Streams, users: int, queries: int) -> Streams:
        """Return what users send of one kind of queries, `[users, queries, ...]`."""
        index = self._rng.integers(len(streams.codes), size=(users, queries))
        return Streams(streams.codes[index], streams.costs[index])

    def _draw(self, streams: Streams, users: int, queries: int, start: AccountState | None = None) -> PricedStreams:
        drawn = self._drawn(streams, users, queries)
        return self._pricing.price(drawn.codes, drawn.costs, start)

    def _legitimate(self, profile: Profile, priced: PricedStreams) -> SimulatedProfile:
        samples = sum(len(stratum) for stratum in profile.strata)
        return self._profile(profile.name, Role.legitimate, profile.kind, samples, priced)

    def _attackers(self) -> Iterator[SimulatedProfile]:
        inputs, honest = self._inputs, self._inputs.honest[""]
        if not inputs.attacks:
            return
        past = self._draw(honest, THIEVES, PAST).end
        streams, figures = [], []
        for strangers in track(inputs.attacks.values(), "thieves", "attacker"):
            streams.append(self._drawn(strangers, ATTACKERS, int(inputs.checkpoints[-1])))
            figures.append(self._figures(strangers, honest, past))
        priced = self._pricing.price(
            np.concatenate([drawn.codes for drawn in streams]), np.concatenate([drawn.costs for drawn in streams])
        )
        for number, (name, strangers) in enumerate(inputs.attacks.items()):
            profile = self._profile(name, Role.attacker, "", len(strangers.codes), priced.of_users(number, ATTACKERS))
            yield replace(
                profile,
                own_data=name in inputs.own_data,
                auroc=inputs.auroc.get(name, {}),
                figures=figures[number],
            )

    def _figures(self, strangers: Streams, honest: Streams, past: AccountState | None) -> ThiefFigures:
        mixed = self._mixed(strangers, honest)
        thefts = _thefts(mixed)
        fillers = min(thefts, key=lambda ratio: thefts[ratio])
        after = self._draw(strangers, THIEVES, QUERIES // 2, past).prices > FREE
        free = np.where(after.any(axis=1), after.argmax(axis=1), after.shape[1])
        order = np.argsort(strangers.codes.sum(axis=1) + strangers.costs * 1e-9)
        cheap = order[: max(1, round(CHEAPEST * len(order)))]
        return ThiefFigures(
            pure=float(mixed[0].mean()),
            half=float(mixed[1].mean()),
            fifth=float(mixed[4].mean()),
            twentieth=float(mixed[19].mean()),
            cheapest=float(
                self._draw(Streams(strangers.codes[cheap], strangers.costs[cheap]), THIEVES, QUERIES).prices.mean()
            ),
            theft=thefts[fillers],
            fillers=fillers,
            five=float(self._draw(strangers, NEW_ACCOUNTS, 5).prices.mean()),
            free=float(free.mean()),
        )

    def _mixed(self, strangers: Streams, honest: Streams) -> dict[int, Floats]:
        """Return the prices of thieves by the number of fillers for each theft; all are walked together."""
        sizes = len(strangers.codes), len(honest.codes)
        places = np.concatenate([duty_places(*sizes, ratio, THIEVES, QUERIES, self._rng) for ratio in RATIOS])
        codes = np.concatenate([honest.codes, strangers.codes])[places]
        costs = np.concatenate([honest.costs, strangers.costs])[places]
        prices = self._pricing.price(codes, costs).prices
        return dict(zip(RATIOS, np.split(prices, len(RATIOS)), strict=True))

    def _profile(self, name: str, role: Role, kind: str, samples: int, priced: PricedStreams) -> SimulatedProfile:
        points = self._inputs.checkpoints
        work = np.cumsum(priced.prices, axis=1)[:, points - 1]
        times, last = self._inputs.times, int(points[-1])
        overhead = (times.latency + times.added + times.floor * work[:, -1] / last) / times.latency
        return SimulatedProfile(
            name=name,
            role=role,
            kind=kind,
            own_data=False,
            samples=samples,
            score=_band(priced.score[:, points - 1]),
            work=_band(work),
            overhead=tuple(np.percentile(overhead, range(101)).tolist()),
            dearest=self._dearest(priced.prices),
            auroc={},
            figures=None,
        )

    def _dearest(self, prices: Floats) -> float:
        """Return what the 99th percentile of users pays in the mean, in floors, at the dearest length of a stream."""
        last = int(self._inputs.checkpoints[-1])
        lengths = [length for length in LENGTHS if length <= last] or [last]
        return float(np.percentile(mean_payments(prices, lengths), 99, axis=0).max())


def _thefts(mixed: Mapping[int, Floats]) -> dict[int, float]:
    """Return the price of a stolen answer by the number of fillers for each."""
    return {
        ratio: float(prices.sum() / (len(prices) * is_theft(ratio, QUERIES).sum())) for ratio, prices in mixed.items()
    }


def dearest_class_mix(profiles: Sequence[SimulatedProfile]) -> float:
    """Return the largest `dearest` of legitimate users without tolerated changes."""
    return max(profile.dearest for profile in profiles if profile.role is Role.legitimate and not profile.kind)


def separations(attack: ScoredSamples, legitimate: ScoredSamples, labels: Sequence[str]) -> dict[str, float]:
    """Return the AUROC of each score, standardised by class, of an attacker's queries against legitimate ones."""
    theirs, ours = attack.labels.numpy(), legitimate.labels.numpy()
    found = {}
    for place, label in enumerate(labels):
        reference = legitimate.costs[:, place].numpy()
        strange = _standardised(attack.costs[:, place].numpy(), theirs, reference, ours)
        found[label] = _auroc(strange, _standardised(reference, ours, reference, ours))
    return found


def _auroc(strange: Floats, ordinary: Floats) -> float:
    """Return the share of pairs in which the strange number is the larger one; of equal ones, half count.

    That is the area under the ROC curve; scikit-learn, which has it too, takes half a second to import.
    """
    ordered = np.sort(ordinary)
    smaller, not_larger = (np.searchsorted(ordered, strange, side) for side in ("left", "right"))
    return float((smaller + not_larger).mean() / (2 * len(ordered)))


def _standardised(values: Floats, answers: Ints, ours: Floats, our_answers: Ints) -> Floats:
    """Return for each value the share of legitimate ones with the same answer that are smaller."""
    shares = np.zeros(len(values))
    for answer in np.unique(answers):
        reference = ours[our_answers == answer]
        reference = np.sort(reference if len(reference) else ours)
        here = answers == answer
        shares[here] = np.searchsorted(reference, values[here]) / len(reference)
    return shares


def _band(values: Floats) -> Band:
    low, middle, high = np.percentile(values, (1, 50, 99), axis=0).tolist()
    return Band(tuple(low), tuple(middle), tuple(high))
