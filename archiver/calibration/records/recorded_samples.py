"""Samples recorded in mode `observe`: read back, vetted, and used as legitimate samples that real accounts sent."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from calpow.archiver.calibration.records.outliers import vet
from calpow.archiver.calibration.samples import Floats, Ints, Samples
from calpow.archiver.calibration.sufficiency import FEWEST_PER_CLASS
from calpow.archiver.errors import RecordsError
from calpow.archiver.progress import track
from calpow.handler.errors import RecordError
from calpow.handler.observe.records import ANONYMOUS, Record

# An account counts for at most as many samples as the median account has, or as LEAST_CAP if that is more; all accounts
# together count for at most MOST.
LEAST_CAP = 200
# Shorter accounts are left out: they could belong to a thief with many accounts.
SHORTEST = 30
MOST = 300_000
# Names of dropped accounts that are listed.
SHOWN = 10


@dataclass(frozen=True)
class RecordedSamples:
    """Samples recorded with one meter: `costs` `[n, scores]`, `labels` `[n]` and `owners` `[n]`, indices of `accounts`.

    `queries` `[n]` holds the number of each sample's query. torn: lines that were cut off while being written. foreign:
    queries measured with another meter.
    """

    costs: Floats
    labels: Ints
    owners: Ints
    queries: Ints
    accounts: tuple[str, ...]
    torn: int
    foreign: int

    def take(self, index: Ints) -> "RecordedSamples":
        """Return the samples at these positions."""
        return replace(
            self,
            costs=self.costs[index],
            labels=self.labels[index],
            owners=self.owners[index],
            queries=self.queries[index],
        )


@dataclass(frozen=True)
class VettedSamples:
    """Samples of the accounts that pass for legitimate, and the other accounts' names with their numbers of queries.

    accounts, queries: the numbers of all that were recorded. unnamed: queries without an account, left out. short:
    accounts of fewer samples than SHORTEST, left out. torn, foreign: as in RecordedSamples.
    """

    samples: Samples
    accounts: int
    queries: int
    dropped: tuple[tuple[str, int], ...]
    unnamed: int
    short: int
    torn: int
    foreign: int

    @property
    def facts(self) -> dict[str, str | int | float]:
        """Members for a calibration's provenance."""
        return {
            "recorded_accounts": self.accounts,
            "recorded_queries": self.queries,
            "recorded_accounts_dropped": len(self.dropped),
            "recorded_queries_dropped": sum(count for _, count in self.dropped),
            "recorded_queries_of_no_account_left_out": self.unnamed,
            "recorded_accounts_too_short_left_out": self.short,
            "recorded_queries_of_other_meters_left_out": self.foreign,
            "recorded_lines_cut_off": self.torn,
        }

    def describe(self) -> list[str]:
        """Return what the owner should know, one sentence a line."""
        lines = [f"records: {self.queries:,} queries of {self.accounts:,} accounts"]
        if self.dropped:
            names = ", ".join(f"{name} ({count:,})" for name, count in self.dropped[:SHOWN])
            more = f" and {len(self.dropped) - SHOWN} more" if len(self.dropped) > SHOWN else ""
            lines.append(
                f"{len(self.dropped)} accounts do not look like legitimate users and are left out (queries):"
                f" {names}{more}"
            )
        for count, reason in (
            (self.unnamed, "queries without a known key, whose sender is unknown"),
            (self.short, f"accounts of fewer than {SHORTEST} samples, which could be anybody's"),
            (self.foreign, "queries that were measured with something else"),
            (self.torn, "lines that were cut off"),
        ):
            if count:
                lines.append(f"left out: {count:,} {reason}")
        return lines


def recorded_scores(path: Path) -> tuple[str, ...]:
    """Return the labels of the scores of a file's first record. Raises RecordsError unless it begins with one."""
    return next((record.scores for _, record in _lines(path) if record is not None), ())


def read_records(path: Path, meter: str, classes: int, scores: int) -> RecordedSamples:
    """Read the samples recorded with this meter for `classes` classes and `scores` scores.

    Raises RecordsError, with the line's number, for a line that is not a record or does not fit, and when no samples
    are left.
    """
    collected = _CollectedRecords()
    torn, others = 0, Counter[str]()
    for number, record in _lines(path):
        if record is None:
            torn += 1
        elif record.meter != meter:
            others[record.meter] += 1
        else:
            _check_fit(path, number, record, classes, scores)
            collected.add(number, record)
    if not collected.costs and others:
        raise RecordsError(
            f"{path} was measured with {', '.join(list(others)[:3])}, not with {meter}: give the victim, teachers and"
            " scores of the archive that observed, or observe with these"
        )
    if not collected.costs:
        raise RecordsError(f"{path} holds no records: serve an archive made with --mode observe for a while")
    return collected.samples(torn, sum(others.values()))


class _CollectedRecords:
    """Columns of samples to which records are added, with a number for each account in the order of appearance."""

    def __init__(self) -> None:
        self.costs: list[tuple[float, ...]] = []
        self._labels: list[int] = []
        self._owners: list[int] = []
        self._queries: list[int] = []
        self._numbers: dict[str, int] = {}

    def add(self, query: int, record: Record) -> None:
        samples = len(record.classes)
        self.costs += record.costs
        self._labels += record.classes
        self._owners += [self._numbers.setdefault(record.account, len(self._numbers))] * samples
        self._queries += [query] * samples

    def samples(self, torn: int, foreign: int) -> RecordedSamples:
        return RecordedSamples(
            np.array(self.costs, dtype=np.float64),
            np.array(self._labels, dtype=np.int64),
            np.array(self._owners, dtype=np.int64),
            np.array(self._queries, dtype=np.int64),
            tuple(self._numbers),
            torn,
            foreign,
        )


def _check_fit(path: Path, number: int, record: Record, classes: int, scores: int) -> None:
    if max(record.classes) >= classes or len(record.costs[0]) != scores:
        raise RecordsError(
            f"{path}, line {number}: class {max(record.classes)} and {len(record.costs[0])} costs a sample do not fit"
            f" {classes} classes and {scores} scores: it was altered, take the line out"
        )


def _lines(path: Path) -> Iterator[tuple[int, Record | None]]:
    """Yield each line's number and record; None for a line that was cut off."""
    number = 0
    try:
        with path.open(encoding="utf-8") as file:
            for line in track(file, "records", "line"):
                number += 1
                if text := line.strip():
                    yield number, Record.read(text)
    except OSError as problem:
        raise RecordsError(f"{path} cannot be read ({problem.strerror}): give the file of mode observe") from problem
    except UnicodeDecodeError as problem:
        raise RecordsError(f"{path} is not a file of records: {problem}") from problem
    except RecordError as problem:
        if number == 1:
            raise RecordsError(
                f"{path} is not a file of records ({problem}): give the file that mode observe wrote"
            ) from problem
        raise RecordsError(f"{path}, line {number}: {problem}: take the line out") from problem


def vet_records(recorded: RecordedSamples, class_names: tuple[str, ...], rng: np.random.Generator) -> VettedSamples:
    """Leave out accounts that do not look like legitimate users.

    When no query came with a key, every query counts as a user, and none is left out. Raises RecordsError when too few
    accounts or samples are left to calibrate with.
    """
    unnamed = recorded.accounts.index(ANONYMOUS) if ANONYMOUS in recorded.accounts else None
    of_accounts = np.flatnonzero(recorded.owners != unnamed) if unnamed is not None else np.arange(len(recorded.owners))
    if not len(of_accounts):
        samples = _samples(recorded, recorded.queries, class_names, by_account=False)
        _check_classes(samples, "queries")
        return _vetted(samples, recorded, (), 0)
    named = recorded.take(of_accounts)
    lengths = np.bincount(named.owners)
    short = int(((lengths > 0) & (lengths < SHORTEST)).sum())
    capped = _capped(named.take(np.flatnonzero(lengths[named.owners] >= SHORTEST)), rng)
    samples = _samples(capped, capped.owners, class_names, by_account=True)
    owners = np.unique(samples.groups.numpy())
    _check_accounts(len(owners), "there are")
    kept = owners[vet(samples)]
    _check_accounts(len(kept), "without those that do not look like legitimate users, there are")
    left = samples.take(np.flatnonzero(np.isin(samples.groups.numpy(), kept)))
    _check_classes(left, "accounts")
    return _vetted(left, recorded, _dropped(named, np.setdiff1d(owners, kept)), short)


def _dropped(named: RecordedSamples, owners: Ints) -> tuple[tuple[str, int], ...]:
    """Return the names of accounts and their numbers of queries, the largest number first."""
    counts = {owner: _count(named.queries[named.owners == owner]) for owner in owners.tolist()}
    return tuple(sorted(((named.accounts[owner], count) for owner, count in counts.items()), key=lambda pair: -pair[1]))


def _vetted(
    samples: Samples, recorded: RecordedSamples, dropped: tuple[tuple[str, int], ...], short: int
) -> VettedSamples:
    queries = _count(recorded.queries)
    named = [name for name in recorded.accounts if name != ANONYMOUS]
    unnamed = 0
    if named and ANONYMOUS in recorded.accounts:
        unnamed = _count(recorded.queries[recorded.owners == recorded.accounts.index(ANONYMOUS)])
    return VettedSamples(samples, len(named), queries, dropped, unnamed, short, recorded.torn, recorded.foreign)


def _count(queries: Ints) -> int:
    """Count the distinct numbers among numbers in ascending order."""
    return int((np.diff(queries, prepend=-1) != 0).sum())


def _samples(recorded: RecordedSamples, groups: Ints, class_names: tuple[str, ...], *, by_account: bool) -> Samples:
    """Take the victim's answers for the true classes, which are unknown."""
    labels = recorded.labels
    return Samples.of_arrays(recorded.costs, labels, labels, groups, class_names, by_account=by_account)


def _capped(recorded: RecordedSamples, rng: np.random.Generator) -> RecordedSamples:
    """Draw a bounded number of samples of each account: a thief may have sent more than all others together."""
    counts = np.unique(recorded.owners, return_counts=True)[1]
    if not len(counts):
        return recorded
    cap = max(1, min(max(LEAST_CAP, int(np.median(counts))), MOST // len(counts)))
    order = rng.permutation(len(recorded.owners))
    order = order[np.argsort(recorded.owners[order], kind="stable")]
    starts = np.repeat(np.cumsum(counts) - counts, counts)
    return recorded.take(np.sort(order[np.arange(len(order)) - starts < cap]))


def _check_accounts(count: int, intro: str) -> None:
    if count < FEWEST_PER_CLASS:
        raise RecordsError(
            f"{intro} {count} accounts of {SHORTEST} samples or more in the records, at least {FEWEST_PER_CLASS} are"
            " needed: observe for longer, or leave --from-records out"
        )


def _check_classes(samples: Samples, of: str) -> None:
    counts = samples.groups_per_class()
    fewest = counts.index(min(counts))
    if counts[fewest] < FEWEST_PER_CLASS:
        raise RecordsError(
            f"only {counts[fewest]} {of} were answered with class {samples.class_names[fewest]}, at least"
            f" {FEWEST_PER_CLASS} are needed: observe for longer, or leave --from-records out"
        )
