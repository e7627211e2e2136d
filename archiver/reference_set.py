"""The work behind `calpow neighbours`: every training payload, as the victim represents it."""

import torch
from torch import Tensor

from calpow.archiver.calibration.samples import Counted, batches
from calpow.archiver.cli.neighbours import Order
from calpow.archiver.payloads import Folder, read_folder, samples
from calpow.archiver.victim_archive import OpenVictim, open_victim
from calpow.handler.errors import VictimError
from calpow.handler.leakage.meter import find_features
from calpow.handler.leakage.neighbours import SCHEMA, NeighboursCard, NeighboursError, save_neighbours


def take(order: Order) -> NeighboursCard:
    """Represent the data and write the file; its card.

    Raises NeighboursError, FolderError, VictimError or GateMisconfigured.
    """
    output = order.output.resolve()
    if not output.parent.is_dir():
        raise NeighboursError(f"--output {order.output}: give a file in a folder that exists")
    folder = read_folder(order.data)
    with open_victim(order.victim) as victim:
        features, labels = _represent(victim, folder)
        sha256 = victim.sha256
    if not 1 <= order.k <= len(features):
        raise NeighboursError(f"--k {order.k}: give a number from 1 to {len(features):,}, the points there are")
    card = NeighboursCard(SCHEMA, folder.class_names, len(features), features.shape[1], order.k, sha256)
    save_neighbours(output, card, features, labels)
    return card


def _represent(victim: OpenVictim, folder: Folder) -> tuple[Tensor, Tensor]:
    """Features float32 `[n, f]` and labels int64 `[n]` of all samples."""
    recorder = victim.victim.recorder
    features = []
    counted = Counted(samples(victim, folder.payloads, "payloads"))
    for batch in batches(counted):
        inputs = torch.cat(batch)
        recorder.tap = recorder.tap or find_features(recorder, tuple(inputs.shape[1:]), victim.device)
        seen = recorder.ask(inputs).features
        if seen is None:
            raise VictimError("the victim does not use its last layer for these payloads as it does for blank ones")
        features.append(seen.cpu())
    labels = torch.tensor([payload.label for payload in folder.payloads])
    return torch.cat(features), labels.repeat_interleave(torch.tensor(counted.sizes))
