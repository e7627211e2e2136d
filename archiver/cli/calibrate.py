"""`calpow calibrate`: measure what legitimate use of a model costs and takes, into one file."""

from collections.abc import Iterable
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from calpow.archiver.calibration.order import MOST_TESTS, POLICIES, SCORES, TOLERABLE, CalibrationOrder
from calpow.archiver.cli.option_types import FILE, FOLDER, SEED, VICTIM, NumberRange, data_options
from calpow.archiver.errors import OrderError
from calpow.handler.policy.tariff import LONGEST_SECONDS
from calpow.puzzle.profiles import DEFAULT_PROFILE, PROFILES

_EPILOG = """\b
Example:
  calpow calibrate --victim victim.mar --ensemble teachers.pt --data heldout/ --output calibration.json

heldout/ is what legitimate users would send and neither the victim nor its teachers were trained on: a folder a class,
at least 10 payload files in each; hundreds let attackers hide less. Files in a sub-folder of a class (the copies of one
image, say) count as one. Latency and solving times are those of this machine: leave it idle meanwhile.

Without --scores, the scores are chosen that make the reference attackers pay most. Users whose images are noisy, moved
or mirrored look odd unless that is tolerated; what tolerance lets attackers save is in the report:

\b
  calpow calibrate --victim victim.mar --ensemble teachers.pt --data heldout/ --tolerate noise,shift,flip

After a soft launch (calpow archive --mode observe), the costs of real users are learnt from its records; accounts that
do not look like legitimate users are left out:

\b
  calpow calibrate --victim victim.mar --ensemble teachers.pt --data heldout/ --from-records ~/.calpow/records.jsonl

A few payloads a class are enough in heldout/ then, to derive reference attackers from and to time the victim with.
"""


class CalibrateCommand(click.Command):
    """A command whose --scores takes several names: `--scores energy norm`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments with --scores repeated before each of its names."""
        repeated: list[str] = []
        for argument in args:
            if repeated[-2:-1] == ["--scores"] and not argument.startswith("-"):
                repeated.append("--scores")
            repeated.append(argument)
        return super().parse_args(ctx, repeated)


class ScoreLabel(click.types.StringParamType):
    """Name of a score, or name@layer, which the order checks; shells complete the names."""

    name = "score"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Return the names that begin with what was typed."""
        return [CompletionItem(name) for name in SCORES if name.startswith(incomplete)]


def _changes(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    """Return the names of changes that commas separate, which the order checks; for none, no name."""
    if value is None:
        return None
    names = [name.strip() for name in value.split(",")]
    return () if names == ["none"] else tuple(dict.fromkeys(names))


@click.command(cls=CalibrateCommand, epilog=_EPILOG)
@click.option(
    "--victim",
    type=VICTIM,
    required=True,
    help="The .mar to protect.",
)
@click.option(
    "--ensemble",
    type=FILE,
    help="From calpow teachers; for scores of its votes and of its references.",
)
@click.option(
    "--neighbours",
    type=FILE,
    help="From calpow neighbours; for score pknn.",
)
@click.option(
    "--data",
    type=FOLDER,
    required=True,
    help="Folder of held-out payloads, a sub-folder a class.",
)
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("calibration.json"),
    show_default=True,
    help="Where to write the calibration.",
)
@click.option(
    "--scores",
    type=ScoreLabel(),
    multiple=True,
    metavar="NAME...",
    help=f"What is looked at in a query, up to {MOST_TESTS}: {', '.join(SCORES)}; NAME@LAYER reads a layer inside the"
    " model (default: those that make attackers pay most). All that are named, or all there are, make up the score"
    " `joint`, which is bet on too.",
)
@click.option(
    "--rdp-order",
    type=NumberRange(min=1, min_open=True, max=1000),
    metavar="ORDER",
    help="Sum the RDP of votes at this order, from above 1 to 1000, instead of each query's epsilon.",
)
@click.option(
    "--policy",
    type=click.Choice(POLICIES),
    default=CalibrationOrder.policy,
    show_default=True,
    help="evidence: how much odder an account's queries are than legitimate ones with the same answers; paper: the"
    " distance of its summed privacy cost from the mean.",
)
@click.option(
    "--overhead-budget",
    "budget",
    type=NumberRange(min=1, min_open=True, max=1000, max_open=True),
    default=2.0,
    show_default=True,
    metavar="TIMES",
    help="What an answer may take a legitimate user, in multiples of the unprotected time; more than 1.",
)
@click.option(
    "--horizon",
    type=click.IntRange(100, 10_000_000),
    default=10_000,
    show_default=True,
    metavar="QUERIES",
    help="Up to how many queries that holds, from 100 to 10,000,000.",
)
@click.option(
    "--tolerate",
    callback=_changes,
    metavar="CHANGE,...",
    help=f"Changes of legitimate samples that users may send without looking odd: {', '.join(TOLERABLE)}; or none"
    " (default: those that suit the kind of input).",
)
@click.option(
    "--cap-seconds",
    type=NumberRange(1, LONGEST_SECONDS),
    default=CalibrationOrder.cap_seconds,
    show_default=True,
    metavar="SECONDS",
    help=f"The most that one sample costs, in seconds of the reference client, from 1 to {LONGEST_SECONDS:g}.",
)
@click.option(
    "--attack",
    "attacks",
    multiple=True,
    metavar="NAME=FOLDER",
    help="Payload files that are not legitimate use, to see what they would pay; may be repeated.",
)
@click.option(
    "--from-records",
    "records",
    type=FILE,
    metavar="FILE.jsonl",
    help="Learn the costs of legitimate queries from what mode observe recorded.",
)
@click.option(
    "--puzzle",
    type=click.Choice(list(PROFILES)),
    default=DEFAULT_PROFILE,
    show_default=True,
    help="What clients solve: " + "; ".join(f"{name}, {profile.reason}" for name, profile in PROFILES.items()) + ".",
)
@click.option(
    "--reference-client",
    type=click.Choice(("fast", "python")),
    default="fast",
    show_default=True,
    help="Whose seconds work is calibrated in: those of calpow[fast]'s solver, which thieves will have, or of the one"
    " that every Python has, for users without another: thieves then pay a fraction.",
)
@click.option("--seed", type=SEED, default=0, show_default=True, help="Of the simulated users.")
@data_options
def calibrate(
    victim: Path,
    ensemble: Path | None,
    neighbours: Path | None,
    data: Path,
    output: Path,
    scores: tuple[str, ...],
    rdp_order: float | None,
    policy: str,
    budget: float,
    horizon: int,
    tolerate: tuple[str, ...] | None,
    cap_seconds: float,
    attacks: tuple[str, ...],
    records: Path | None,
    puzzle: str,
    reference_client: str,
    seed: int,
    part: str,
    classes: Path | None,
) -> None:
    """Measure how odd legitimate queries are, and fit the policy that keeps their overhead within the budget.

    Measured are the scores of legitimate queries and of reference attackers' ones, how long the unprotected victim
    takes and how long the reference client takes for its puzzles.
    """
    order = CalibrationOrder(
        victim=victim,
        data=data,
        output=output,
        ensemble=ensemble,
        neighbours=neighbours,
        rdp_order=rdp_order,
        scores=scores,
        policy=policy,
        budget=budget,
        horizon=horizon,
        tolerate=tolerate,
        cap_seconds=cap_seconds,
        attacks=_attack_folders(attacks),
        seed=seed,
        records=records,
        puzzle=puzzle,
        fast=reference_client == "fast",
        part=part,
        classes=classes,
    )
    _calibrate(order)


def _calibrate(order: CalibrationOrder) -> None:
    from calpow.archiver.calibration import calibrator
    from calpow.archiver.report.summary import summarise

    calibration = calibrator.calibrate(order, log=print)
    calibration.save(order.output)
    print(f"{order.output}: {summarise(calibration, order.output)}")


def _attack_folders(attacks: Iterable[str]) -> dict[str, Path]:
    """Return the folder of each NAME=FOLDER by its name. Raises OrderError."""
    folders: dict[str, Path] = {}
    for attack in attacks:
        name, separator, folder = attack.partition("=")
        if not (name and separator and folder):
            raise OrderError(f"--attack {attack}: give NAME=FOLDER")
        if name in folders:
            raise OrderError(f"--attack {attack}: there is another attack of that name")
        folders[name] = Path(folder)
    return folders
