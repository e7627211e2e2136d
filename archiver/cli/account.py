"""`calpow account`: show what accounts pay, forgive them, block, trust and limit them."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import click

from calpow.archiver.account_table import AccountRow, Snapshot, limits_in_words, read_policy, rows_of, table
from calpow.archiver.cli.keys import ledger_option
from calpow.archiver.errors import AccountError
from calpow.archiver.limit_values import Ceiling, SampleCount, samples, samples_a_day
from calpow.archiver.limit_values import ceiling as read_ceiling
from calpow.handler.ledger.account import Account, Rule
from calpow.handler.ledger.api_key import check_new_account, group_of, normal_name
from calpow.handler.ledger.ledger import Ledger
from calpow.handler.ledger.limits import AccountLimits
from calpow.handler.ledger.settlement import Settlement
from calpow.handler.ledger.uri import open_ledger, without_password

_Command = TypeVar("_Command", bound=Callable[..., Any])

# Attempts to forgive an account that workers keep changing.
MOST_CONFLICTS = 8

_EPILOG = """\b
Example:
  export CALPOW_LEDGER=sqlite:///ledger.db
  calpow account list --policy model_store/digits.mar
  calpow account forgive ada
"""


_LIMIT_EPILOG = """\b
Example:
  export CALPOW_LEDGER=sqlite:///ledger.db
  calpow keys add acme/ada
  calpow account limit acme --free 100/day --budget 10000 --budget 500/day --ceiling 30s
  calpow account limit acme --free none
"""


def policy_option(command: _Command) -> _Command:
    """Add the option --policy, with which prices are shown."""
    option = click.option(
        "--policy",
        metavar="FILE",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="The protected .mar, or its calibration.json: shows what the next sample costs, in floors.",
    )
    return option(command)


def model_option(command: _Command) -> _Command:
    """Add the option --model."""
    return click.option("--model", metavar="NAME", help="One model; by default all that the ledger knows.")(command)


def _top_option(command: _Command) -> _Command:
    option = click.option(
        "--top",
        type=click.IntRange(min=1),
        default=20,
        show_default=True,
        help="List so many accounts, those who pay most or have most evidence against them first.",
    )
    return option(command)


def _new_option(command: _Command) -> _Command:
    option = click.option(
        "--new", is_flag=True, help="The account has no key and has not queried yet: that of a token, for instance."
    )
    return option(command)


@click.group(epilog=_EPILOG, no_args_is_help=False)
def account() -> None:
    """Show what accounts pay, forgive them, block, trust and limit them.

    An honest user who is locked out, because his queries looked like a thief's, can be forgiven; one whose inputs will
    always differ can be trusted. Workers see every change with the next request. Accounts named TENANT/USER belong to
    the group TENANT, which is an account as well: what is done to it holds for all of them.
    """


@account.command("list", epilog=_EPILOG)
@model_option
@policy_option
@_top_option
@ledger_option
def list_accounts(model: str | None, policy: Path | None, top: int, ledger: str) -> None:
    """List the accounts that stand highest.

    evidence is the log wealth of the bet that has won most against the account: 0 for an ordinary one, and more for a
    new one, until it has sent some ordinary samples. cost is the sum of its samples by the first score, in epsilon
    where that is pate. owed, in hashes, is below 0 where more was paid than answers cost.
    """
    opened = open_ledger(ledger)
    known = None if policy is None else read_policy(policy)
    highest = Snapshot.take(opened, models_of(opened, model), known).highest(top)
    if not highest:
        print(f"No account in {without_password(ledger)} has sent {a_query(model)} yet.", file=sys.stderr)
        return
    print(table(highest))


@account.command(epilog=_EPILOG)
@click.argument("name", metavar="ACCOUNT")
@model_option
@policy_option
@ledger_option
def show(name: str, model: str | None, policy: Path | None, ledger: str) -> None:
    """Show one account and its group, for each model that it has queried."""
    opened = open_ledger(ledger)
    print(table(_rows_of(opened, stored_name(opened, name), model, policy)))


@account.command(epilog=_EPILOG)
@click.argument("name", metavar="ACCOUNT")
@model_option
@ledger_option
def forgive(name: str, model: str | None, ledger: str) -> None:
    """Forget what speaks against an account, and what it owes.

    Its next answer costs the floor, unless its group's past is dearer. What it was answered before is still known.
    """
    opened = open_ledger(ledger)
    name = stored_name(opened, name)
    group = group_of(name)
    for row in _rows_of(opened, name, model, None):
        if row.account != name:
            continue
        left = _forgive(opened, row.model, name)
        if left.group is not None and any(left.group.history.wealth):
            print(
                f"{name} is forgiven for {row.model} and pays what its group pays: `calpow account forgive {group}`"
                " takes that to the floor.",
                file=sys.stderr,
            )
        else:
            print(f"{name} pays the floor for its next answer by {row.model}.", file=sys.stderr)


@account.command(epilog=_EPILOG)
@click.argument("name", metavar="ACCOUNT")
@_new_option
@ledger_option
def block(name: str, new: bool, ledger: str) -> None:
    """Answer nothing to an account, whatever key or token it has."""
    name, _ = _set_rule(ledger, name, Rule.BLOCKED, new)
    print(f"{name} gets no answers from now on: `calpow account allow` ends that.", file=sys.stderr)


@account.command(epilog=_EPILOG)
@click.argument("name", metavar="ACCOUNT")
@_new_option
@ledger_option
def trust(name: str, new: bool, ledger: str) -> None:
    """Hold nothing against an account: every sample counts as an ordinary one.

    Whoever has its key can steal the model at the floor.
    """
    name, _ = _set_rule(ledger, name, Rule.TRUSTED, new)
    print(f"{name} is trusted{_after_trust(open_ledger(ledger), name)}.", file=sys.stderr)


def _after_trust(ledger: Ledger, name: str) -> str:
    """Return what an operator has to know of the price of an account that is trusted now."""
    if has_queried(ledger, name):
        return ": `calpow account forgive` takes its price to the floor at once"
    return ", and begins at the price of a new account"


@account.command(epilog=_EPILOG)
@click.argument("name", metavar="ACCOUNT")
@ledger_option
def allow(name: str, ledger: str) -> None:
    """Price an account's answers like anybody's again, after `block` or `trust`."""
    name, rule = _set_rule(ledger, name, Rule.PRICED)
    if rule is Rule.PRICED:
        print(f"{name} pays what its queries cost.", file=sys.stderr)
    else:
        print(f"{name} has no rule of its own, but its group {group_of(name)} is {rule.value}.", file=sys.stderr)


@account.command(epilog=_LIMIT_EPILOG)
@click.argument("name", metavar="ACCOUNT")
@click.option(
    "--free",
    type=samples_a_day,
    metavar="N/day",
    help="The first N samples of a day (UTC) cost no work, as long as they are ordinary.",
)
@click.option(
    "--budget",
    type=samples,
    metavar="N|N/day",
    multiple=True,
    help="No more than N samples are answered, in all or a day; may be given for both.",
)
@click.option(
    "--ceiling",
    type=read_ceiling,
    metavar="Ns|Nfloors",
    help="No sample is asked for more work than this, in seconds of the reference client or in floors.",
)
@_new_option
@ledger_option
def limit(
    name: str, free: SampleCount | None, budget: Sequence[SampleCount], ceiling: Ceiling | None, new: bool, ledger: str
) -> None:
    """Limit an account or a group, or show its limits; `none` takes one away.

    Each limit is for every model by itself. A group's hold for its members together, beside their own.
    """
    opened = open_ledger(ledger)
    name = stored_name(opened, name)
    limits = _limited(opened.limits_of(name), free, budget, ceiling)
    _check_known(opened, name, new)
    if free is not None or budget or ceiling is not None:
        opened.set_limits(name, limits)
    print(f"{name}: {limits_in_words(limits) or 'no limits'}", file=sys.stderr)


def _limited(
    limits: AccountLimits, free: SampleCount | None, budgets: Sequence[SampleCount], ceiling: Ceiling | None
) -> AccountLimits:
    """Return limits with those that options change."""
    if free is not None:
        limits = limits._replace(free=free.samples)
    for budget in budgets:
        change = {"day_budget" if budget.a_day else "budget": budget.samples}
        limits = limits._replace(**change)
    if ceiling is not None:
        limits = limits._replace(ceiling_seconds=ceiling.seconds, ceiling_floors=ceiling.floors)
    return limits


def _set_rule(uri: str, given: str, rule: Rule, new: bool = False) -> tuple[str, Rule]:
    """Set the rule for an account or a group; return its name and the rule that holds for it. Raises AccountError."""
    ledger = open_ledger(uri)
    name = stored_name(ledger, given)
    _check_known(ledger, name, new)
    ledger.set_rule(name, rule)
    return name, ledger.rule(name)


def _check_known(ledger: Ledger, name: str, new: bool) -> None:
    """Raise AccountError for an account that is not known, unless it is `new`: the name may be mistyped.

    Raises LedgerError for a new one whose name no account can be given.
    """
    if new:
        check_new_account(name)
    elif not _is_known(ledger, name):
        raise AccountError(
            f"there is no account {name!r}, neither of a key nor among those that have queried: the name may be"
            " mistyped; --new is for one that has not queried yet"
        )


def stored_name(ledger: Ledger, given: str) -> str:
    """Return the name under which a ledger has an account, as it was given or in Unicode's form NFC.

    Ledgers of earlier versions have names in other forms, in which `é` may be two characters. One of these is meant
    where it was given letter by letter, or where it alone has this form NFC.
    """
    name = normal_name(given)
    if given != name and (has_queried(ledger, given) or given in _names(ledger)):
        return given
    if has_queried(ledger, name) or name in (known := _names(ledger)):
        return name
    alike = [other for other in known if normal_name(other) == name]
    return alike[0] if len(alike) == 1 else name


def _is_known(ledger: Ledger, name: str) -> bool:
    """Return whether an account has a key or a rule, or has queried a model, or a member of a group has."""
    accounts = _names(ledger)
    return name in accounts or name in map(group_of, accounts) or has_queried(ledger, name)


def _names(ledger: Ledger) -> set[str]:
    """Return the names of the accounts that have a key, a rule or limits."""
    return {key.account for key in ledger.keys()} | set(ledger.rules()) | set(ledger.limits())  # noqa: SIM118  # no mapping


def has_queried(ledger: Ledger, name: str) -> bool:
    """Return whether an account has queried a model."""
    return any(ledger.account(model, name).version for model in ledger.models())


def models_of(ledger: Ledger, model: str | None) -> Sequence[str]:
    """Return the model that an operator names, or all that have accounts."""
    return ledger.models() if model is None else [model]


def a_query(model: str | None) -> str:
    """Return "a query", with the model that an operator names."""
    return "a query" if model is None else f"a query to {model}"


def _rows_of(ledger: Ledger, name: str, model: str | None, policy: Path | None) -> list[AccountRow]:
    """Return the rows of one account. Raises AccountError when there are none."""
    known = None if policy is None else read_policy(policy)
    rows = rows_of(ledger, name, models_of(ledger, model), known)
    if not rows:
        where = "any model" if model is None else model
        raise AccountError(f"no account {name!r} has queried {where}: `calpow account list` shows those that have")
    return rows


def _forgive(ledger: Ledger, model: str, name: str) -> Account:
    """Set an account's wealth and debt to nothing and return it. Raises AccountError when workers keep changing it."""
    for _ in range(MOST_CONFLICTS):
        state = ledger.account(model, name)
        history = replace(state.history, wealth=(0,) * len(state.history.wealth))
        settlement = Settlement(name, state.version, history, min(state.owed, 0), (), keeps_old=True)
        if ledger.settle(model, [settlement], now=0.0) == [True]:
            return state._replace(history=history)
    raise AccountError(f"{name} keeps querying {model}, and was not forgiven: try again")
