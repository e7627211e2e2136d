"""`calpow teachers`: train the ensemble whose votes price the queries."""

from collections.abc import Sequence
from pathlib import Path

import click

from calpow.archiver.cli.option_types import FILE, FOLDER, SEED, VICTIM, data_options
from calpow.archiver.cli.results import file_size, next_commands
from calpow.archiver.data.media_types import BODY

_EPILOG = """\b
Example:
  calpow teachers --victim victim.mar --data train --output teachers.pt

`train` is the data the victim was trained on: a folder a class, as torchvision.datasets.ImageFolder reads it, with any
payload files in it. Files in a sub-folder of a class (one person's pictures, say) stay with one teacher, and so do
copies of one file.

By default, teachers are linear heads on frozen features: the victim's own, where it shows some. The votes' guarantee
then covers these heads, which learn from disjoint parts of the data, and not the features, which the victim learnt
from all of it. With --trunk scattering or random, it covers everything. The paper's teachers are networks of their own,
which take a hundred times as long:

\b
  calpow teachers --victim victim.mar --data train --output teachers.pt --trunk none --network mnistnet
  calpow teachers --victim victim.mar --data train --output teachers.pt --trunk none --network nets.py:small

`small(classes, input_shape)` returns a torch.nn.Module that makes scores [n, classes] of inputs [n, *input_shape].

Heads on a public backbone, whose weights you have in a file:

\b
  calpow teachers --victim victim.mar --data train --output teachers.pt --trunk torchvision:resnet18 --weights r18.pth

What is done is kept in OUTPUT.partial until the end: the same command continues where it was interrupted.
"""

_PRIVACY = (
    "privacy: the votes' guarantee covers the heads, which disjoint teachers learnt; not the features, which the victim"
    " learnt from all of the data (--trunk scattering or random: all of it)"
)


@click.command(epilog=_EPILOG)
@click.option(
    "--victim",
    type=VICTIM,
    required=True,
    help="The .mar whose handler reads the payloads.",
)
@click.option(
    "--data",
    type=FOLDER,
    required=True,
    help="Its training data, a folder a class.",
)
@click.option(
    "--output", type=click.Path(path_type=Path), required=True, help="Where to write the ensemble, a .pt file."
)
@click.option(
    "--teachers",
    "count",
    type=click.IntRange(min=2),
    metavar="N",
    help="How many (default: as many as get two payloads of each class, up to 250; fewer of more than 100 classes).",
)
@click.option(
    "--trunk",
    metavar="NAME",
    help="Frozen features under the teachers: victim (the victim's own), scattering, random, torchvision:NAME, or none"
    " for independent networks (default: victim; where it shows no features, scattering for images, else random).",
)
@click.option(
    "--weights",
    type=FILE,
    help="A state_dict of the network that torchvision:NAME names.",
)
@click.option(
    "--network",
    metavar="NAME",
    help="With --trunk none: mnistnet (the default; grey images of 28x28), FILE.py:FACTORY or module:factory.",
)
@click.option(
    "--epochs",
    type=click.IntRange(min=1),
    metavar="N",
    help="With --trunk none: passes over each partition (default: 20).",
)
@click.option(
    "--seed", type=SEED, default=0, show_default=True, help="Of the partitions, of random trunks and of networks."
)
@data_options
def teachers(
    victim: Path,
    data: Path,
    output: Path,
    count: int | None,
    trunk: str | None,
    weights: Path | None,
    network: str | None,
    epochs: int | None,
    seed: int,
    part: str,
    classes: Path | None,
) -> None:
    """Train an ensemble of teachers on disjoint parts of the victim's training data."""
    from calpow.archiver.teachers.teacher_order import TeacherOrder
    from calpow.archiver.teachers.training import train
    from calpow.handler.leakage.teachers.trunks import VICTIM

    card = train(
        TeacherOrder(
            victim=victim,
            data=data,
            output=output,
            teachers=count,
            trunk=trunk,
            seed=seed,
            network=network,
            epochs=epochs,
            weights=weights,
            part=part,
            classes=classes,
        )
    )
    print(
        f"{output} ({file_size(output)}): {card.teachers} teachers on"
        f" {sample_range(card.partition_sizes)} samples each, no payload with two of them;"
        f" on {card.measured_on} samples held back a teacher is right in"
        f" {card.teacher_accuracy:.1%}, the worst in {card.worst_teacher_accuracy:.1%}, the vote in"
        f" {card.vote_accuracy:.1%}; {card.share_at_ceiling:.1%} of the votes cost the most that a vote can"
    )
    if card.trunk == VICTIM:
        print(_PRIVACY)
    options = [*(["--part", part] if part != BODY else []), *(["--classes", str(classes)] if classes else [])]
    calibrate = ["calpow", "calibrate", "--victim", str(victim), "--ensemble", str(output)]
    calibrate += ["--data", "HELDOUT", *options]
    print(next_commands("Next, with payloads in HELDOUT that neither model nor teachers were trained on:", calibrate))


def sample_range(sizes: Sequence[int]) -> str:
    """Return the range of the teachers' numbers of samples in words; equal ones are one number."""
    smallest, largest = min(sizes), max(sizes)
    return f"{smallest}" if smallest == largest else f"{smallest} to {largest}"
