"""The accounts of a ledger as an operator sees them: what each has sent, what speaks against it, and what it pays."""

import heapq
import tempfile
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from calpow.archiver.errors import FolderError
from calpow.archiver.model_leakage import leakage_of
from calpow.handler.config import CALIBRATION_FILE
from calpow.handler.ledger.history import MICRO, History
from calpow.handler.ledger.ledger import Account, AccountSummary, Ledger, Rule
from calpow.handler.policy.calibrated_policy import CalibratedPolicy
from calpow.handler.policy.calibration_file import load_policy

HEADINGS = ("model", "account", "rule", "samples", "new", "cost", "evidence", "floors", "owed")
# Headings of texts; the others are of numbers, which end below one another.
_TEXTS = 3
# The number of samples by model and account.
Samples = Mapping[tuple[str, str], int]


@dataclass(frozen=True)
class AccountRow:
    """An account for one model.

    samples: those that were priced. new: those since an earlier time; None where there was none.
    cost: the sum of their costs by the first score. evidence: the log wealth of the bet that has won most.
    floors: the price of its next sample, in floors; None where the policy is not known. owed: in hashes.
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

    def cells(self) -> tuple[str, ...]:
        """Return the row as texts below HEADINGS."""
        floors = "" if self.floors is None else f"{self.floors:,.3g}" if self.floors < 1000 else f"{self.floors:,.0f}"
        rule = "" if self.rule is Rule.PRICED else self.rule.value
        new = "" if self.new is None else f"{self.new:,}"
        cost, evidence = f"{self.cost:,.4g}", f"{self.evidence:.1f}"
        return (self.model, self.account, rule, f"{self.samples:,}", new, cost, evidence, floors, f"{self.owed:,}")


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

    def highest(self, count: int, before: Samples | None = None) -> list[AccountRow]:
        """Return the accounts that pay most, or have most evidence against them where no policy is given, those first.

        `before` are the samples of an earlier snapshot, with which rows show how many are new.
        """
        chosen = heapq.nlargest(count, self.entries, key=lambda entry: (self._height(entry[1]), entry[1].queries))
        rows = [_row(self.ledger, model, summary, self.policy) for model, summary in chosen]
        if before is None:
            return rows
        return [replace(row, new=row.samples - before.get((row.model, row.account), 0)) for row in rows]

    def totals(self) -> str:
        """Return a line for each model: its accounts, their samples and costs, and how many stand above the floor."""
        lines = []
        for model in dict.fromkeys(model for model, _ in self.entries):
            own = [summary for name, summary in self.entries if name == model]
            samples, cost = sum(summary.queries for summary in own), sum(summary.cost_micro for summary in own) / MICRO
            above = sum(any(summary.wealth) for summary in own)
            accounts = f"{len(own):,} accounts" if len(own) > 1 else "1 account"
            leakage = leakage_of(self.policy, samples, cost)
            lines.append(f"{model}: {accounts}, {samples:,} samples, {leakage} in all, {above:,} with evidence")
        return "\n".join(lines)

    def _height(self, summary: AccountSummary) -> float:
        return max(summary.wealth, default=0) if self.policy is None else _floors(summary, self.policy)


def rows_of(ledger: Ledger, name: str, models: Iterable[str], policy: CalibratedPolicy | None) -> list[AccountRow]:
    """Return a row of one account for each of the models that it has queried. Raises LedgerUnavailable."""
    states = [(model, ledger.account(model, name)) for model in models]
    return [_row(ledger, model, _summary(name, state), policy) for model, state in states if state.version]


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


def _floors(summary: AccountSummary, policy: CalibratedPolicy) -> float:
    history = History(summary.cost_micro, summary.queries, summary.wealth)
    return policy.seconds(history) / policy.floor_seconds


def _row(ledger: Ledger, model: str, summary: AccountSummary, policy: CalibratedPolicy | None) -> AccountRow:
    return AccountRow(
        model=model,
        account=summary.name,
        rule=ledger.rule(summary.name),
        samples=summary.queries,
        cost=summary.cost_micro / MICRO,
        evidence=max(summary.wealth, default=0) / MICRO,
        floors=None if policy is None else _floors(summary, policy),
        owed=summary.owed,
    )
