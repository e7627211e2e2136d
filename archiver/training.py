"""Training of the teacher ensemble: payloads -> frozen features -> one head a teacher -> an exported program."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor, nn

from calpow.archiver.heads import VotingTeachers, fit_heads
from calpow.archiver.partitions import HELD_BACK, divide
from calpow.archiver.payloads import Folder, read_folder, samples
from calpow.archiver.trunk import is_image, make_trunk
from calpow.archiver.victims import OpenVictim, open_victim
from calpow.archiver.voting import count_votes
from calpow.handler.ensemble import CARD_FILE, LARGEST_BATCH, SCHEMA, Ensemble, EnsembleCard
from calpow.puzzle.errors import CalpowError


class TrainingError(CalpowError):
    """The ensemble cannot be trained or stored as asked."""


@dataclass(frozen=True)
class Order:
    """What to train, from what, and where to put it; None leaves the choice to the data."""

    victim: Path
    data: Path
    output: Path
    teachers: int | None = None
    trunk: str | None = None
    preprocess: str | None = None
    seed: int = 0


@dataclass(frozen=True)
class Features:
    """The training set as the heads see it: `values` float32 `[n, f]`, `payloads` int64 `[n]` into the folder's."""

    values: Tensor
    payloads: Tensor
    input_shape: tuple[int, ...]
    trunk: nn.Module
    trunk_name: str


def train(order: Order) -> EnsembleCard:
    """Train an ensemble and write it to `order.output`; its card.

    Raises TrainingError, FolderError, PartitionError, TrunkError or VictimError.
    """
    output = order.output.resolve()
    if output.suffix != ".pt2" or not output.parent.is_dir():
        raise TrainingError(f"--output {order.output}: give a .pt2 file in a folder that exists")
    folder = read_folder(order.data)
    partition = divide(folder, order.teachers, order.seed)
    with open_victim(order.victim, order.preprocess) as victim:
        features = _features(victim, folder, order)
        victim_sha256 = victim.sha256
    device = features.values.device
    labels = torch.tensor([payload.label for payload in folder.payloads], device=device)[features.payloads]
    owners = torch.tensor(partition.owners, device=device)[features.payloads]
    classes = len(folder.class_names)
    heads = fit_heads(features.values, labels, owners, partition.teachers, classes)
    ensemble = VotingTeachers(features.trunk, heads, classes).eval()
    unseen = owners == HELD_BACK
    teacher_accuracy, vote_accuracy = _accuracies(ensemble, features.values[unseen], labels[unseen])
    card = EnsembleCard(
        schema=SCHEMA,
        classes=classes,
        class_names=folder.class_names,
        input_shape=features.input_shape,
        teachers=partition.teachers,
        trunk=features.trunk_name,
        seed=order.seed,
        partition_sizes=tuple(torch.bincount(owners[~unseen], minlength=partition.teachers).tolist()),
        teacher_accuracy=teacher_accuracy,
        vote_accuracy=vote_accuracy,
        victim_sha256=victim_sha256,
    )
    write_ensemble(ensemble.cpu(), card, output)
    return card


def _features(victim: OpenVictim, folder: Folder, order: Order) -> Features:
    """Run every payload through the victim's preprocess and the trunk, holding no more inputs than a batch."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    inputs = samples(victim, folder.payloads, progress="payloads")
    first = next(inputs)
    shape = tuple(first.shape[1:])
    name = order.trunk or ("scattering" if is_image(shape) else "random")
    trunk = make_trunk(name, shape, order.seed).to(device)
    counts: list[int] = []
    values = []
    with torch.inference_mode():
        for batch in _batches(first, inputs, counts):
            values.append(trunk(batch.to(device, torch.float32)))
    payloads = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    return Features(torch.cat(values), payloads.to(device), shape, trunk, name)


def _batches(first: Tensor, rest: Iterable[Tensor], counts: list[int]) -> Iterator[Tensor]:
    """Join payloads' samples to batches; notes in `counts` how many samples each payload had."""
    waiting: list[Tensor] = []
    held = 0
    for made in chain((first,), rest):
        counts.append(len(made))
        waiting.append(made)
        held += len(made)
        if held >= LARGEST_BATCH:
            yield torch.cat(waiting)
            waiting, held = [], 0
    if waiting:
        yield torch.cat(waiting)


def _accuracies(ensemble: VotingTeachers, features: Tensor, labels: Tensor) -> tuple[float, float]:
    """The mean accuracy of the teachers and the accuracy of their vote."""
    right, voted = 0, 0
    with torch.inference_mode():
        batches = zip(torch.split(features, LARGEST_BATCH), torch.split(labels, LARGEST_BATCH), strict=True)
        for batch, truth in batches:
            ballots = ensemble.ballots(batch)
            right += int((ballots == truth).sum())
            voted += int((count_votes(ballots, ensemble.classes).argmax(dim=1) == truth).sum())
        teachers = len(ballots)
    return right / (len(labels) * teachers), voted / len(labels)


def write_ensemble(ensemble: VotingTeachers, card: EnsembleCard, output: Path) -> None:
    """Export with a free batch axis to a `.pt2` file, and load it back: what is written can be served.

    Raises TrainingError when the file cannot be written.
    """
    example = torch.zeros(2, *card.input_shape)
    batch = torch.export.Dim("batch")
    program = torch.export.export(ensemble, (example,), dynamic_shapes=({0: batch},))
    try:
        torch.export.save(program, output, extra_files={CARD_FILE: card.to_json()})
    except OSError as problem:
        raise TrainingError(f"{output} cannot be written: {problem.strerror}") from problem
    Ensemble.load(output)
