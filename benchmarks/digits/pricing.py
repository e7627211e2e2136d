"""Prices of inputs and payloads that no request holds."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from calpow.archiver.calibration.samples import BATCH
from calpow.archiver.data.media_types import BODY
from calpow.archiver.victim.victim_archive import OpenVictim
from calpow.handler.leakage.recording import Call
from calpow.handler.leakage.score import ScoredSamples


def inputs_of(victim: OpenVictim, payloads: Sequence[bytes]) -> Tensor:
    """Return the inputs `[n, ...]` that the victim's handler makes of payloads."""
    calls = [call for payload in payloads for call in victim.calls({BODY: payload})]
    return torch.cat([call.arguments.tensors[0] for call in calls])


def calls_on(victim: OpenVictim, inputs: Tensor) -> list[Call]:
    """Return calls of the victim's model on inputs `[n, ...]`, a batch each."""
    return [victim.recorder.ask(part) for part in torch.split(inputs, BATCH)]


def price_inputs(inputs: Tensor, price: Callable[[Tensor], ScoredSamples]) -> ScoredSamples:
    """Return the costs and classes of inputs `[n, ...]`, priced a batch at a time."""
    parts = [price(part) for part in torch.split(inputs, BATCH)]
    return ScoredSamples(torch.cat([part.costs for part in parts]), torch.cat([part.labels for part in parts]))
