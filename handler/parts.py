"""The parts of a protected archive, loaded and fitted together, before the first request."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from calpow.handler.calibration import Calibration
from calpow.handler.config import CALIBRATION_FILE, ENSEMBLE_FILE, GateConfig, file_sha256
from calpow.handler.ensemble import Ensemble
from calpow.handler.errors import GateMisconfigured
from calpow.handler.leakage.pate import Pate
from calpow.handler.victim import Victim


@dataclass(frozen=True)
class Parts:
    """What prices the queries of one archive."""

    calibration: Calibration
    ensemble: Ensemble

    def metric(self) -> Pate:
        """The leakage metric that the calibration was made with."""
        settings = self.calibration.metric
        return Pate(self.ensemble.votes, settings.sigma, settings.delta)


def load_parts(directory: Path, device: torch.device) -> Parts:
    """Load ensemble and calibration from a directory and check that they belong together.

    Raises CalibrationError, EnsembleError or GateMisconfigured.
    """
    calibration = Calibration.load(directory / CALIBRATION_FILE)
    ensemble = Ensemble.load(directory / ENSEMBLE_FILE, device)
    check_fit(calibration, ensemble, file_sha256(directory / ENSEMBLE_FILE))
    return Parts(calibration, ensemble)


def check_fit(calibration: Calibration, ensemble: Ensemble, ensemble_sha256: str) -> None:
    """Raises GateMisconfigured unless the calibration was measured with this ensemble."""
    card, shape = ensemble.card, calibration.shape
    if card.classes != shape.classes:
        raise GateMisconfigured(
            f"the ensemble votes on {card.classes} classes, the calibration has {shape.classes}: calibrate again"
        )
    if tuple(card.input_shape) != tuple(shape.input_shape):
        raise GateMisconfigured(
            f"the ensemble takes inputs of shape {tuple(card.input_shape)}, the calibration was made for"
            f" {tuple(shape.input_shape)}: calibrate again"
        )
    if ensemble_sha256 != calibration.ensemble_sha256:
        raise GateMisconfigured("the calibration was made with another ensemble: run calpow calibrate again")


def check_victim(calibration: Calibration, victim: Victim, config: GateConfig) -> None:
    """Raises GateMisconfigured unless the calibration fits this victim.

    The victim is asked about one blank input; a handler without `inference` cannot be asked, its hash decides.
    """
    if not victim.can_preprocess:
        raise GateMisconfigured("the victim's handler has no preprocess: archive it with --preprocess FILE.py:FUNCTION")
    output = _answer_to_blank(calibration, victim)
    if output is not None and output.dim() == 2 and output.shape[1] != calibration.shape.classes:
        raise GateMisconfigured(
            f"the victim has {output.shape[1]} classes, the calibration {calibration.shape.classes}:"
            " train teachers and calibrate for this victim"
        )
    if config.victim_sha256 != calibration.victim_sha256:
        raise GateMisconfigured("the calibration was made for another victim: run calpow calibrate again")


def _answer_to_blank(calibration: Calibration, victim: Victim) -> Tensor | None:
    shape = tuple(calibration.shape.input_shape)
    try:
        return victim.infer(torch.zeros(1, *shape, device=victim.device))
    except Exception as problem:
        raise GateMisconfigured(
            f"the victim does not take inputs of shape {shape}, for which the calibration was made"
            f" ({type(problem).__name__}): train teachers and calibrate for this victim"
        ) from problem
