"""The work behind `calpow neighbours`: a file of reference points, the victim's features of its training data."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from calpow.archiver.calibration.samples import CountedInputs, batches
from calpow.archiver.payloads import PayloadFolder, model_inputs, read_folder
from calpow.archiver.victim_archive import OpenVictim, open_victim
from calpow.handler.errors import NeighboursError, VictimError
from calpow.handler.leakage.meter import find_features
from calpow.handler.leakage.neighbours import SCHEMA, NeighboursCard, save_neighbours


@dataclass(frozen=True)
class ReferenceOrder:
    """An order for a reference set: the data to represent, and the file to write; the `k` nearest points vote."""

    victim: Path
    data: Path
    output: Path
    k: int


def write_reference_set(order: ReferenceOrder) -> NeighboursCard:
    """Compute the features of all payloads, write them to `order.output` and return the file's card.

    Raises NeighboursError, FolderError, VictimError or GateMisconfigured.
    """
    output = order.output.resolve()
    if not output.parent.is_dir():
        raise NeighboursError(f"--output {order.output}: give a file in a folder that exists")
    folder = read_folder(order.data)
    with open_victim(order.victim) as victim:
        features, labels = _features(victim, folder)
        sha256 = victim.sha256
    if not 1 <= order.k <= len(features):
        raise NeighboursError(f"--k {order.k}: give a number from 1 to {len(features):,}, the points there are")
    card = NeighboursCard(SCHEMA, folder.class_names, len(features), features.shape[1], order.k, sha256)
    save_neighbours(output, card, features, labels)
    return card


def _features(victim: OpenVictim, folder: PayloadFolder) -> tuple[Tensor, Tensor]:
    """Return features float32 `[n, f]` and labels int64 `[n]` of all samples."""
    recorder = victim.victim.recorder
    features = []
    counted = CountedInputs(model_inputs(victim, folder.payloads, "payloads"))
    for batch in batches(counted):
        inputs = torch.cat(batch)
        recorder.tap = recorder.tap or find_features(recorder, tuple(inputs.shape[1:]), victim.device)
        features_of_batch = recorder.ask(inputs).features
        if features_of_batch is None:
            raise VictimError("the victim does not use its last layer for these payloads as it does for blank ones")
        features.append(features_of_batch.cpu())
    labels = torch.tensor([payload.label for payload in folder.payloads])
    return torch.cat(features), labels.repeat_interleave(torch.tensor(counted.sizes))
