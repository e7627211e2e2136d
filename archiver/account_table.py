"""The accounts of a ledger as an operator sees them: what each has sent, what speaks against it, and what it pays."""

import heapq
import re
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from calpow.archiver.errors import FolderError
from calpow.archiver.model_leakage import leakage_of
from calpow.handler.config import CALIBRATION_FILE
from calpow.handler.ledger.account import Account, AccountSummary, Rule
from calpow.handler.ledger.api_key import group_of
from calpow.handler.ledger.history import MICRO, History
from calpow.handler.ledger.ledger import Ledger
from calpow.handler.ledger.limits import NO_LIMITS, AccountLimits, Usage, day_of
from calpow.handler.policy.calibrated_policy import CalibratedPolicy
from calpow.handler.policy.calibration_file import load_policy
from calpow.puzzle.counting import counted

HEADINGS = ("model", "account", "rule", "limits", "members", "samples", "new", "cost", "evidence", "floors", "owed")
# Headings of texts; the others are of numbers, which end below one another.
_TEXTS = 4
# Names of probes' accounts hold a SHA-256, of which the first digits are shown.
_PROBE = re.compile(r"(probe:[0-9a-f]{12})[0-9a-f]{52}", re.ASCII)
# The number of samples by model and account.
Samples = Mapping[tuple[str, str], int]


@dataclass(frozen=True)
class AccountRow:
    """An account for one model.

    limits: the operator's, in words. members: the number of accounts of a group; None for an account that is no group.
    samples: those that were priced. new: those since an earlier time; None where there was none.
    cost: the sum of their costs by the first score. evidence: the log wealth of the bet that has won most.
    floors: the price of its next sample, in floors, by its own past or its group's; None where the policy is not known.
    owed: in hashes.
    """

    model: str
    account: str
    rule: Rule
    samples: int
    cost: float
    evidence: float
    floors: float | None
    owed: int
    new: int | None = None
    members: int | None = None
    limits: str = ""

    def cells(self) -> tuple[str, ...]:
        """Return the row as texts below HEADINGS."""
        floors = "" if self.floors is None else f"{self.floors:,.3g}" if self.floors < 1000 else f"{self.floors:,.0f}"
        rule = "" if self.rule is Rule.PRICED else self.rule.value
        new = "" if self.new is None else f"{self.new:,}"
        cost, evidence = f"{self.cost:,.4g}", f"{self.evidence:.1f}"
        members = "" if self.members is None else f"{self.members:,}"
        return (
            self.model,
            short_name(self.account),
            rule,
            self.limits,
            members,
            f"{self.samples:,}",
            new,
            cost,
            evidence,
            floors,
            f"{self.owed:,}",
        )


def read_policy(path: Path) -> CalibratedPolicy:
    """Return the policy of a protected archive, or of the calibration that it was packaged with.

    Raises CalibrationError, or FolderError for an archive that is not protected.
    """
    if not zipfile.is_zipfile(path):
        return load_policy(path)
    with zipfile.ZipFile(path) as archive, tempfile.TemporaryDirectory(prefix="calpow-policy-") as scratch:
        if CALIBRATION_FILE not in archive.namelist():
            raise FolderError(f"{path} is not protected: give an archive that calpow archive has made")
        return load_policy(Path(archive.extract(CALIBRATION_FILE, scratch)))


@dataclass(frozen=True)
class Snapshot:
    """All accounts of some models at one time."""

    ledger: Ledger
    entries: Sequence[tuple[str, AccountSummary]]
    policy: CalibratedPolicy | None

    @classmethod
    def take(cls, ledger: Ledger, models: Iterable[str], policy: CalibratedPolicy | None) -> "Snapshot":
        """Read all accounts of these models. Raises LedgerUnavailable."""
        return cls(ledger, [(model, summary) for model in models for summary in ledger.summaries(model)], policy)

    @property
    def samples(self) -> Samples:
        """The number of each account's samples."""
        return {(model, summary.name): summary.queries for model, summary in self.entries}

    @property
    def evidence(self) -> Mapping[str, int]:
        """The evidence against each account, of all models: the log wealths of its bets, in millionths, together."""
        heights: dict[str, int] = {}
        for _, summary in self.entries:
            heights[summary.name] = heights.get(summary.name, 0) + sum(summary.wealth)
        return heights

    @cached_property
    def _summaries(self) -> Mapping[tuple[str, str], AccountSummary]:
        return {(model, summary.name): summary for model, summary in self.entries}

    @cached_property
    def _members(self) -> Mapping[tuple[str, str], int]:
        """The number of members of each group."""
        return Counter((model, group) for model, summary in self.entries if (group := group_of(summary.name)))

    def highest(self, count: int, before: Samples | None = None) -> list[AccountRow]:
        """Return the accounts that pay most, or have most evidence against them where no policy is given, those first.

        `before` are the samples of an earlier snapshot, with which rows show how many are new.
        """
        chosen = heapq.nlargest(count, self.entries, key=lambda entry: (self._height(*entry), entry[1].queries))
        rows = [
            replace(
                _row(self.ledger, model, summary, self._group(model, summary), self.policy),
                members=self._members.get((model, summary.name)),
            )
            for model, summary in chosen
        ]
        if before is None:
            return rows
        return [replace(row, new=row.samples - before.get((row.model, row.account), 0)) for row in rows]

    def totals(self) -> str:
        """Return a line for each model: its accounts, their samples and costs, and how many stand above the floor."""
        return "\n".join(self._total(model) for model in dict.fromkeys(model for model, _ in self.entries))

    def _total(self, model: str) -> str:
        rows = [summary for name, summary in self.entries if name == model]
        members: dict[str, tuple[int, int]] = {}
        for summary in rows:
            if group := group_of(summary.name):
                samples, cost_micro = members.get(group, (0, 0))
                members[group] = (samples + summary.queries, cost_micro + summary.cost_micro)
        own = {summary.name: (summary.queries, summary.cost_micro) for summary in rows if not group_of(summary.name)}
        # A group's row has what its members drew, but for what they drew before there were groups.
        drawn = [max(own.get(name, (0, 0)), members.get(name, (0, 0))) for name in {**own, **members}]
        samples, cost = sum(samples for samples, _ in drawn), sum(cost_micro for _, cost_micro in drawn) / MICRO
        above = sum(any(summary.wealth) for summary in rows)
        accounts = counted(len(rows) - len(own.keys() & members.keys()), "account")
        groups = f", {counted(len(members), 'group')}" if members else ""
        leakage = leakage_of(self.policy, samples, cost)
        return f"{model}: {accounts}{groups}, {counted(samples, 'sample')}, {leakage} in all, {above:,} with evidence"

    def _group(self, model: str, summary: AccountSummary) -> AccountSummary | None:
        return self._summaries.get((model, group_of(summary.name) or ""))

    def _height(self, model: str, summary: AccountSummary) -> float:
        if self.policy is None:
            return max(summary.wealth, default=0)
        return _floors(summary, self._group(model, summary), self.policy)


def rows_of(ledger: Ledger, name: str, models: Iterable[str], policy: CalibratedPolicy | None) -> list[AccountRow]:
    """Return rows of one account, and of its group, for the models that it has queried. Raises LedgerUnavailable."""
    rows = []
    for model in models:
        state = ledger.account(model, name)
        group = None if state.group is None else _summary(group_of(name) or "", state.group)
        if state.version:
            rows.append(_row(ledger, model, _summary(name, state), group, policy))
            if group is not None and group.version:
                rows.append(_row(ledger, model, group, None, policy))
    return rows


def limits_in_words(limits: AccountLimits, usage: Usage | None = None) -> str:
    """Return limits as `calpow account limit` takes them, and what was used of them where that is given."""
    today = 0 if usage is None else usage.on(day_of(time.time())).today

    def used(samples: int) -> str:
        return "" if usage is None else f" ({samples} used)"

    words = []
    if limits.free is not None:
        words.append(f"free {limits.free}/day{used(min(today, limits.free))}")
    if limits.budget is not None:
        words.append(f"budget {limits.budget}{used(0 if usage is None else usage.total)}")
    if limits.day_budget is not None:
        words.append(f"budget {limits.day_budget}/day{used(today)}")
    if limits.ceiling_seconds is not None:
        words.append(f"ceiling {limits.ceiling_seconds:g}s")
    if limits.ceiling_floors is not None:
        words.append(f"ceiling {limits.ceiling_floors:g}floors")
    return ", ".join(words)


def _limits(ledger: Ledger, model: str, name: str) -> str:
    limits = ledger.limits_of(name)
    return "" if limits == NO_LIMITS else limits_in_words(limits, ledger.account(model, name).usage)


def short_name(account: str) -> str:
    """Return an account's name as tables show it: shortened, where it is a probe's."""
    match = _PROBE.fullmatch(account)
    return f"{match[1]}…" if match else account


def table(rows: Sequence[AccountRow]) -> str:
    """Return rows as text below their headings; columns without any text are left out."""
    cells = [HEADINGS, *(row.cells() for row in rows)]
    shown = [column for column in range(len(HEADINGS)) if any(line[column] for line in cells[1:])]
    widths = {column: max(len(line[column]) for line in cells) for column in shown}
    lines = []
    for line in cells:
        words = [
            line[column].ljust(widths[column]) if column < _TEXTS else line[column].rjust(widths[column])
            for column in shown
        ]
        lines.append("  ".join(words).rstrip())
    return "\n".join(lines)


def _summary(name: str, state: Account) -> AccountSummary:
    history = state.history
    return AccountSummary(name, history.cost_micro, history.queries, history.wealth, state.owed, state.version)


def _floors(summary: AccountSummary, group: AccountSummary | None, policy: CalibratedPolicy) -> float:
    histories = [History(past.cost_micro, past.queries, past.wealth) for past in (summary, group) if past is not None]
    return max(policy.seconds(history) for history in histories) / policy.floor_seconds


def _row(
    ledger: Ledger,
    model: str,
    summary: AccountSummary,
    group: AccountSummary | None,
    policy: CalibratedPolicy | None,
) -> AccountRow:
    return AccountRow(
        model=model,
        account=summary.name,
        rule=ledger.rule(summary.name),
        samples=summary.queries,
        cost=summary.cost_micro / MICRO,
        evidence=max(summary.wealth, default=0) / MICRO,
        floors=None if policy is None else _floors(summary, group, policy),
        owed=summary.owed,
        limits=_limits(ledger, model, summary.name),
    )
