"""`calpow teachers`: train the ensemble whose votes price the queries."""

import argparse
from pathlib import Path

EXAMPLE = """example:
  calpow teachers --victim victim.mar --data train --output teachers.pt2

`train` is the data the victim was trained on: a folder a class, as torchvision.datasets.ImageFolder reads it, with
any payload files in it. Files in a sub-folder of a class (one person's pictures, say) stay with one teacher, and so
do copies of one file.

By default, teachers are linear heads on frozen features, and the fastest to ask. The paper's are networks of their
own, which take a hundred times as long:
  calpow teachers --victim victim.mar --data train --output teachers.pt2 --trunk none --network mnistnet
  calpow teachers --victim victim.mar --data train --output teachers.pt2 --trunk none --network nets.py:small
`small(classes, input_shape)` returns a torch.nn.Module that makes scores [n, classes] of inputs [n, *input_shape].
Heads on a public backbone, whose weights you have in a file:
  calpow teachers --victim victim.mar --data train --output teachers.pt2 --trunk torchvision:resnet18 --weights r18.pth

What is done is kept in OUTPUT.partial until the end: the same command goes on where it was interrupted.
"""


def add_command(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `calpow teachers`."""
    parser = subparsers.add_parser(
        "teachers",
        help="train the ensemble whose votes price the queries",
        description="Train an ensemble of teachers on disjoint parts of the victim's training data.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--victim", type=Path, required=True, help="the .mar whose handler reads the payloads")
    parser.add_argument("--data", type=Path, required=True, help="its training data, a folder a class")
    parser.add_argument("--output", type=Path, required=True, help="where to write the ensemble, a .pt2 file")
    parser.add_argument(
        "--teachers", type=int, help="how many (default: as many as get two payloads of each class, up to 250)"
    )
    parser.add_argument(
        "--trunk",
        help="frozen features under the teachers: scattering, random, torchvision:NAME, or none for independent"
        " networks (default: scattering for images, random for anything else)",
    )
    parser.add_argument("--weights", type=Path, help="a state_dict of the network that torchvision:NAME names")
    parser.add_argument(
        "--network",
        metavar="NAME",
        help="with --trunk none: mnistnet (the default; grey images of 28x28), FILE.py:FACTORY or module:factory",
    )
    parser.add_argument("--epochs", type=int, help="with --trunk none: passes over each partition (default: 20)")
    parser.add_argument(
        "--seed", type=int, default=0, help="of the partitions, of random trunks and of networks (default: 0)"
    )
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    from calpow.archiver.teachers.training import Order, train

    card = train(
        Order(
            victim=args.victim,
            data=args.data,
            output=args.output,
            teachers=args.teachers,
            trunk=args.trunk,
            seed=args.seed,
            network=args.network,
            epochs=args.epochs,
            weights=args.weights,
        )
    )
    smallest, largest = min(card.partition_sizes), max(card.partition_sizes)
    print(
        f"{args.output} ({args.output.stat().st_size / 1e6:.1f} MB): {card.teachers} teachers on {smallest} to"
        f" {largest} samples each, no payload with two of them; on {card.measured_on} samples held back a teacher is"
        f" right in {card.teacher_accuracy:.1%}, the worst in {card.worst_teacher_accuracy:.1%}, the vote in"
        f" {card.vote_accuracy:.1%}"
    )
    return 0
