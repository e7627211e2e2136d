"""`calpow check`: run a victim's handler on some payloads, and say what stands against protecting it."""

import shlex
from pathlib import Path

import click

from calpow.archiver.cli.option_types import FOLDER, SEED, VICTIM, data_options

_EPILOG = """\b
Example:
  calpow check victim.mar --data train

`train` is a folder of payloads, a sub-folder a class, as for calpow teachers. Nothing is trained, no server is started.
The exit code is 0 if the victim can be protected; it is 2 if something stands against that, which is named with what to
do.
"""


@click.command(epilog=_EPILOG)
@click.argument("victim", type=VICTIM)
@click.option("--data", type=FOLDER, required=True, help="Folder of payloads, a sub-folder a class.")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Of the choice of payloads.")
@data_options
def check(victim: Path, data: Path, part: str, classes: Path | None, seed: int) -> None:
    """Run a victim's handler on some payloads, and say what it finds and what stands against protecting it.

    VICTIM is the .mar to protect.
    """
    from calpow.archiver.checkup import check_victim

    names = classes and classes.resolve()
    checkup = check_victim(victim.resolve(), data.resolve(), part=part, classes=names, seed=seed)
    width = max(len(name) for name, _ in checkup.facts)
    for name, text in checkup.facts:
        print(f"{name:<{width}}  {text}")
    for remark in checkup.remarks:
        print(f"note: {remark}")
    options = [*(["--part", part] if part != "body" else []), *(["--classes", str(classes)] if classes else [])]
    command = ["calpow", "teachers", "--victim", str(victim), "--data", str(data), *options, "--output", "teachers.pt"]
    print(f"Nothing stands against protecting {victim.name}. Next:\n  {shlex.join(command)}")
