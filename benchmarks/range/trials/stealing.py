"""Payments of thieves who send strangers: alone, between fillers, on new accounts, and after an honest past."""

from collections.abc import Mapping
from functools import cached_property

import numpy as np

from benchmarks.range.domain import RangeDomain
from benchmarks.range.trials.oracle import read_prices
from benchmarks.range.trials.policies import Bools, Document, FittedPolicy, Pool, recently_near
from benchmarks.range.trials.scored_sets import ScoredDomain
from calpow.archiver.calibration.rehearsal import AccountState
from calpow.archiver.calibration.samples import Floats, Ints
from calpow.archiver.progress import track

# Fillers for each stolen answer.
RATIOS = (0, 1, 2, 4, 6, 8, 11, 14, 20, 30, 40, 60, 80, 120, 200)
# Near-copies are told from one another by their sketches, which takes longer.
COPY_RATIOS = (0, 2, 4, 8, 14, 20, 30, 50, 80)
THIEVES, QUERIES = 6, 4_000
COPY_THIEVES, COPY_QUERIES, COPY_STRANGERS = 3, 1_500, 600
# Queries of an account that hides strangers among fillers before it is given up, at least.
FEWEST_LIVED = 100
PURE, MIXED = 1_000, 3_000
NEW_ACCOUNTS, NEW = 400, (1, 5, 20, 50)
PAST_ACCOUNTS, PAST, AFTER = 50, 10_000, 600
FREE = 2.0
# Floors a stolen answer where none is released.
NOT_ANSWERED = 1e6
CHEAPEST = 1 / 3
# Kinds that the catalogue counts as made of legitimate inputs, and that hold no pixel of them.
OWN_PIXELS = frozenset({"edges"})
OWN_PIXELS_OF = {"fashion": frozenset({"inverted"})}


def is_derived(domain: RangeDomain, stranger: str) -> bool:
    """Return whether strangers of this kind share pixels, rows or words with legitimate inputs."""
    own = OWN_PIXELS | OWN_PIXELS_OF.get(domain.name, frozenset())
    return domain.strangers[stranger].is_derived and stranger not in own


def thefts(policy: FittedPolicy, domain: RangeDomain, scored: ScoredDomain, seed: int) -> dict[str, Document]:
    """Return by kind of stranger what a thief pays, in floors, and how many answers go free."""
    trial = _Trial(policy, scored, seed)
    return {
        name: {"derived": is_derived(domain, name), **trial.figures(policy.pool(queries))}
        for name, queries in track(scored.strangers.items(), "thieves", "stranger")
    }


class _Trial:
    def __init__(self, policy: FittedPolicy, scored: ScoredDomain, seed: int) -> None:
        self._policy = policy
        self._scored = scored
        self._rng = np.random.default_rng(seed)
        self._honest = policy.pool(scored.fresh)

    def figures(self, strangers: Pool) -> Document:
        """Return the figures of one kind of stranger."""
        policy = self._policy
        order = np.argsort(policy.oddness(strangers) + 1e-9 * self._rng.random(len(strangers)))
        cheapest = strangers.take(order[: round(CHEAPEST * len(order))])
        theft, fillers, short = self._cycle(strangers)
        oracle, _, _ = self._cycle(cheapest)
        new = policy.price(strangers, self._drawn(strangers, NEW_ACCOUNTS, max(NEW))).prices
        paid = paid_before_leaving(new, policy.first_price)
        return {
            "pure": float(policy.price(strangers, self._drawn(strangers, THIEVES, PURE)).prices.mean()),
            **{name: self._mixed(strangers, ratio) for name, ratio in (("half", 1), ("fifth", 4), ("twentieth", 19))},
            "cheapest": float(policy.price(cheapest, self._drawn(cheapest, THIEVES, PURE)).prices.mean()),
            "theft": theft,
            "fillers": fillers,
            "theft, account given up": short,
            "theft, cheapest": oracle,
            "repeated": self._repeated(strangers),
            "oracle": read_prices(policy, strangers, self._honest, lambda pool: self._cycle(pool)[0], theft, self._rng),
            **self._copied(strangers),
            **{f"new {count}": float(new[:, :count].mean()) for count in NEW},
            **{f"new {count}, paid": float(paid[:, count - 1].mean()) / count for count in NEW},
            "new, rest unpaid": _without_rests(new[:, 0], policy.first_price),
            "free": self._free(strangers, self._past),
            "free, repeated": self._free(strangers, self._repeated_past),
        }

    def _drawn(self, pool: Pool, users: int, queries: int) -> Ints:
        return self._rng.integers(len(pool), size=(users, queries))

    def _mixed(self, strangers: Pool, ratio: int) -> float:
        index = _streams(strangers, self._honest, (ratio,), MIXED, self._rng)
        return float(self._policy.price(strangers.joined(self._honest), index).prices.mean())

    def _cycle(self, strangers: Pool) -> tuple[float, int, float]:
        return best_cycle(self._policy, strangers, self._honest, self._rng)

    def _repeated(self, strangers: Pool) -> float:
        """Return the price of an answer with one payload repeated, which costs the floor and changes nothing."""
        rows = len(RATIOS) * THIEVES
        stolen = _thefts(RATIOS, THIEVES, QUERIES)
        payload = np.full((rows, QUERIES), len(strangers) + self._ordinary)
        index = np.where(stolen, self._rng.integers(len(strangers), size=(rows, QUERIES)), payload)
        repeated = ~stolen & (np.cumsum(~stolen, axis=1) > 1)
        prices = self._policy.price(strangers.joined(self._honest), index, repeated=repeated).prices
        return float(_per_theft(prices, RATIOS, THIEVES).min())

    def _copied(self, strangers: Pool) -> Document:
        """Return the price of an answer with near-copies as fillers: with those that pass, and if all passed."""
        fits = len(strangers) >= COPY_STRANGERS
        pool = strangers.take(self._rng.choice(len(strangers), COPY_STRANGERS, replace=not fits))
        for copies in self._copies.values():
            pool = pool.joined(copies)
        index, uncredited = self._copy_streams
        prices = self._policy.price(
            pool, np.concatenate([index, index]), uncredited=np.concatenate([uncredited, np.zeros_like(uncredited)])
        ).prices
        parts = np.split(prices, 2 * len(self._copies))
        paid = [float(_per_theft(part, COPY_RATIOS, COPY_THIEVES).min()) for part in parts]
        passing = dict(zip(self._copies, paid, strict=False))
        worst = min(passing, key=lambda name: passing[name])
        return {"copies": passing[worst], "copies of": worst, "copies, all pass": min(paid[len(passing) :])}

    @cached_property
    def _copy_streams(self) -> tuple[Ints, Bools]:
        """Streams of each kind of near-copies, one below the other, and which samples earn no credit.

        Positions from COPY_STRANGERS on are those of all near-copies, one kind after another.
        """
        size = (len(COPY_RATIOS) * COPY_THIEVES, COPY_QUERIES)
        stolen = _thefts(COPY_RATIOS, COPY_THIEVES, COPY_QUERIES)
        start, streams, uncredited = COPY_STRANGERS, [], []
        for copies in self._copies.values():
            fillers = np.stack([self._rng.permutation(len(copies))[:COPY_QUERIES] for _ in range(size[0])])
            strangers = self._rng.integers(COPY_STRANGERS, size=size)
            near = _padded(self._policy.near(copies), COPY_STRANGERS)
            uncredited.append(recently_near(near, np.where(stolen, strangers, COPY_STRANGERS + fillers)))
            streams.append(np.where(stolen, strangers, start + fillers))
            start += len(copies)
        return np.concatenate(streams), np.concatenate(uncredited)

    def _free(self, strangers: Pool, start: AccountState) -> float:
        """Return how many strangers are answered before the first price above FREE, in the mean over accounts."""
        prices = self._policy.price(strangers, self._drawn(strangers, PAST_ACCOUNTS, AFTER), start=start).prices
        dear = prices > FREE
        return float(np.where(dear.any(axis=1), dear.argmax(axis=1), AFTER).mean())

    @cached_property
    def _past(self) -> AccountState:
        return self._policy.price(self._honest, self._drawn(self._honest, PAST_ACCOUNTS, PAST)).end

    @cached_property
    def _repeated_past(self) -> AccountState:
        """The state after 10,000 repetitions of one payload: that after the first."""
        index = np.full((PAST_ACCOUNTS, 1), self._ordinary)
        return self._policy.price(self._honest, index).end

    @cached_property
    def _ordinary(self) -> int:
        """The most ordinary fresh sample."""
        return int(self._policy.oddness(self._honest).argmin())

    @cached_property
    def _copies(self) -> Mapping[str, Pool]:
        return {name: self._policy.pool(copies) for name, copies in self._scored.copies.items()}


def best_cycle(
    policy: FittedPolicy, strangers: Pool, honest: Pool, rng: np.random.Generator, near: Bools | None = None
) -> tuple[float, int, float]:
    """Return the price of an answer at the best number of honest fillers, that number, and the price at the best.

    The last is for accounts that are given up after the best number of queries. `near` is which strangers pass for
    near-copies of which others; none do by default.
    """
    index = _streams(strangers, honest, RATIOS, QUERIES, rng)
    uncredited = None
    if near is not None:
        # Fillers are all in the last row and column, which are near-copies of nothing.
        uncredited = recently_near(np.pad(near, (0, 1)), np.minimum(index, len(strangers)))
    prices = policy.price(strangers.joined(honest), index, uncredited=uncredited).prices
    stolen = _thefts(RATIOS, THIEVES, QUERIES).reshape(len(RATIOS), THIEVES, QUERIES)[:, 0]
    paid = np.cumsum(prices.reshape(len(RATIOS), THIEVES, QUERIES).mean(axis=1), axis=1)
    each = paid / np.maximum(np.cumsum(stolen, axis=1), 1e-9)
    best = int(each[:, -1].argmin())
    return float(each[best, -1]), RATIOS[best], float(each[:, FEWEST_LIVED:].min())


def price_alone(policy: FittedPolicy, queries: Pool, near: Bools) -> float:
    """Return the mean price of all queries, sent in their order from one account that sends nothing else."""
    index = np.arange(len(queries))[None]
    return float(policy.price(queries, index, uncredited=recently_near(near, index)).prices.mean())


def paid_before_leaving(prices: Floats, first: float) -> Floats:
    """Return what accounts have paid after each query, [users, queries], whose last debt is never paid.

    Before a query, an account pays the price of the one before, `first` at first, and what it owes. Its answer is
    withheld until the rest is paid where that is more than what was asked before.
    """
    paid = np.zeros_like(prices)
    owed, before = np.zeros(len(prices)), np.full(len(prices), first)
    for query, price in enumerate(prices.T):
        asked, due = before + owed, price + owed
        paid[:, query] = np.where(due > 2 * asked, due, asked)
        owed, before = np.maximum(due - paid[:, query], -price), price
    return np.cumsum(paid, axis=1)


def _without_rests(prices: Floats, first: float) -> float:
    """Return the price of an answer for a thief with an account for each query who never pays for one withheld.

    `prices` [users] are those of the queries; he pays the price of a new account, `first`, and leaves the rest as debt.
    """
    answered = float((prices <= 2 * first).mean())
    return first / answered if answered else NOT_ANSWERED


def _streams(strangers: Pool, honest: Pool, ratios: tuple[int, ...], queries: int, rng: np.random.Generator) -> Ints:
    """Return positions [ratios * THIEVES, queries] of strangers and, beyond their number, of honest fillers."""
    size = (len(ratios) * THIEVES, queries)
    fillers = len(strangers) + rng.integers(len(honest), size=size)
    return np.where(_thefts(ratios, THIEVES, queries), rng.integers(len(strangers), size=size), fillers)


def _thefts(ratios: tuple[int, ...], thieves: int, queries: int) -> Bools:
    """Return which queries are strangers, [ratios * thieves, queries]: `ratio` fillers before each."""
    rows = [np.arange(queries) % (ratio + 1) == ratio for ratio in ratios]
    return np.repeat(np.stack(rows), thieves, axis=0)


def _padded(near: Bools, others: int) -> Bools:
    """Return a relation of near-copies for a pool that begins with `others`, which are near-copies of nothing."""
    padded = np.zeros((others + len(near),) * 2, bool)
    padded[others:, others:] = near
    return padded


def _per_theft(prices: Floats, ratios: tuple[int, ...], thieves: int) -> Floats:
    """Return the mean price of a stolen answer by number of fillers, [ratios]."""
    stolen = _thefts(ratios, thieves, prices.shape[1])
    result: Floats = prices.reshape(len(ratios), -1).sum(axis=1) / stolen.reshape(len(ratios), -1).sum(axis=1)
    return result
