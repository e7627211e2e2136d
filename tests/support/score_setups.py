"""Scores set up on victims of the tests' own models."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from calpow.archiver.calibration.order import CalibrationOrder
from calpow.archiver.calibration.score_setup import ScoreSetup, set_up_scores
from calpow.archiver.data.payloads import PayloadFolder
from calpow.handler.leakage.meter import Artefacts
from calpow.handler.leakage.model_inputs import ModelInputs
from calpow.handler.leakage.recording import Call
from tests.support.open_victims import numbers, open_with

# Vectors of four classes, ten of each in turn.
ROWS = torch.rand(40, 4, generator=torch.Generator().manual_seed(0)) + torch.eye(4).repeat(10, 1)
FOLDER = PayloadFolder(("0", "1", "2", "3"), ())


def order_of(*scores: str, tolerate: tuple[str, ...] | None = None) -> CalibrationOrder:
    """Return an order for a calibration with these scores."""
    return CalibrationOrder(Path("victim.mar"), Path("data"), Path("c.json"), scores=scores, tolerate=tolerate)


def set_up(
    model: nn.Module, inputs: Sequence[ModelInputs], *scores: str, folder: PayloadFolder = FOLDER
) -> tuple[ScoreSetup, list[Call]]:
    """Return the scores of a victim with this model, and its calls on the inputs."""
    victim = open_with(model, lambda text: ModelInputs.of(numbers(text)))
    calls = [victim.recorder.replay(arguments) for arguments in inputs]
    return set_up_scores(order_of(*scores), victim, folder, calls, Artefacts()), calls


def alone(rows: Tensor) -> list[ModelInputs]:
    """Return the arguments of calls with one of these rows each."""
    return [ModelInputs.of(row.unsqueeze(0)) for row in rows]
