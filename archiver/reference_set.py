"""The work behind `calpow neighbours`: a file of reference points, the victim's features of its training data."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from calpow.archiver.data.class_order import compare_with_victim
from calpow.archiver.data.data_source import DataSource
from calpow.archiver.data.media_types import BODY
from calpow.archiver.data.payloads import PayloadFolder
from calpow.archiver.progress import log_notes
from calpow.archiver.victim.recorded_calls import output_kind, recorded_calls, some_calls
from calpow.archiver.victim.victim_archive import OpenVictim, open_victim
from calpow.handler.errors import NeighboursError
from calpow.handler.leakage.batches import features_of
from calpow.handler.leakage.neighbours import SCHEMA, NeighboursCard, save_neighbours
from calpow.handler.leakage.output import as_rows
from calpow.handler.leakage.tapping import find_features

# Payloads on which the form of the victim's output is recognised.
EXAMPLES = 64


@dataclass(frozen=True)
class ReferenceOrder:
    """An order for a reference set: the data to represent, and the file to write; the `k` nearest points vote.

    `part` carries the payload in a request; `classes` is a file that names the classes in the order of the victim's.
    """

    victim: Path
    data: Path
    output: Path
    k: int
    part: str = BODY
    classes: Path | None = None


def write_reference_set(order: ReferenceOrder) -> NeighboursCard:
    """Compute the features of all payloads, write them to `order.output` and return the file's card.

    Raises NeighboursError, FolderError, VictimError or GateMisconfigured.
    """
    output = order.output.resolve()
    if not output.parent.is_dir():
        raise NeighboursError(f"--output {order.output}: give a file in a folder that exists")
    classes = order.classes and order.classes.resolve()
    folder = DataSource(order.data, order.part, classes).read(order.victim)
    log_notes(folder.notes)
    with open_victim(order.victim) as victim:
        if warning := compare_with_victim(victim, folder, output, classes):
            log_notes([warning])
        features, labels = _features(victim, folder)
        sha256 = victim.fingerprint
    if not 1 <= order.k <= len(features):
        raise NeighboursError(f"--k {order.k}: give a number from 1 to {len(features):,}, the points there are")
    card = NeighboursCard(SCHEMA, folder.class_names, len(features), features.shape[1], order.k, sha256)
    save_neighbours(output, card, features, labels)
    return card


def _features(victim: OpenVictim, folder: PayloadFolder) -> tuple[Tensor, Tensor]:
    """Return features float32 `[n, f]` and labels int64 `[n]` of all samples."""
    recorder, classes = victim.recorder, len(folder.class_names)
    examples = some_calls(victim, folder.payloads, EXAMPLES, seed=0)
    kind = output_kind(examples, classes, graded=False)
    find_features(recorder, examples[0].arguments)
    features, labels = [], []
    for payload, calls in recorded_calls(victim, folder.payloads, "payloads"):
        for call in calls:
            samples = len(as_rows(call.output, kind, classes))
            features.append(features_of(call, samples).cpu())
            labels += [payload.label] * samples
    return torch.cat(features), torch.tensor(labels)
