"""The parts of a protected archive, loaded and fitted together, before the first request."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from calpow.handler.config import CALIBRATION_FILE, ENSEMBLE_FILE, NEIGHBOURS_FILE, GateConfig
from calpow.handler.errors import GateMisconfigured
from calpow.handler.leakage.ensemble import Ensemble
from calpow.handler.leakage.meter import Artefacts, Meter, make_meter
from calpow.handler.leakage.neighbours import Neighbours
from calpow.handler.policy.calibration_file import Calibration
from calpow.handler.victim import Victim


@dataclass(frozen=True)
class Parts:
    """What prices the queries of one archive."""

    calibration: Calibration
    meter: Meter


def load_parts(directory: Path, victim: Victim, config: GateConfig) -> Parts:
    """Load what an archive's directory holds and check that it belongs together and to the victim.

    Raises CalibrationError, EnsembleError, NeighboursError, VictimError or GateMisconfigured.
    """
    calibration = Calibration.load(directory / CALIBRATION_FILE)
    ensemble, neighbours = None, None
    if ENSEMBLE_FILE in config.parts:
        ensemble = Ensemble.load(directory / ENSEMBLE_FILE, victim.device)
        check_ensemble(calibration, ensemble)
    if NEIGHBOURS_FILE in config.parts:
        neighbours = Neighbours.load(directory / NEIGHBOURS_FILE, victim.device)
    check_victim(calibration, victim)
    _check_files(calibration, config)
    meter = make_meter(
        victim.recorder,
        victim.device,
        calibration.shape,
        calibration.output,
        calibration.metrics,
        calibration.limits,
        Artefacts(ensemble, neighbours),
    )
    return Parts(calibration, meter)


def _check_files(calibration: Calibration, config: GateConfig) -> None:
    if config.victim_sha256 != calibration.victim_sha256:
        raise GateMisconfigured("the calibration was made for another victim: run calpow calibrate again")
    check_parts(calibration.parts, config.parts)


def check_parts(calibrated: Mapping[str, str], found: Mapping[str, str]) -> None:
    """Raises GateMisconfigured unless the calibration was measured with these files, SHA-256 by name."""
    for name, sha256 in calibrated.items():
        if name not in found:
            raise GateMisconfigured(f"the calibration was made with {name}, which is missing: archive it, too")
        if found[name] != sha256:
            raise GateMisconfigured(f"the calibration was made with another {name}: run calpow calibrate again")
    for name in found.keys() - calibrated.keys():
        raise GateMisconfigured(f"the calibration's metrics do not use {name}: leave it out, or calibrate with it")


def check_ensemble(calibration: Calibration, ensemble: Ensemble) -> None:
    """Raises GateMisconfigured unless the ensemble votes on what the calibration is for."""
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


def check_victim(calibration: Calibration, victim: Victim) -> None:
    """Raises GateMisconfigured unless the calibration fits this victim, which is asked about one blank input."""
    output = _answer_to_blank(calibration, victim)
    if output.dim() == 2 and output.shape[1] != calibration.shape.classes:
        raise GateMisconfigured(
            f"the victim has {output.shape[1]} classes, the calibration {calibration.shape.classes}:"
            " train teachers and calibrate for this victim"
        )


def _answer_to_blank(calibration: Calibration, victim: Victim) -> Tensor:
    shape = tuple(calibration.shape.input_shape)
    try:
        return victim.infer(torch.zeros(1, *shape))
    except Exception as problem:
        cause = problem.__cause__ or problem
        raise GateMisconfigured(
            f"the victim does not take inputs of shape {shape}, for which the calibration was made"
            f" ({type(cause).__name__}): train teachers and calibrate for this victim"
        ) from problem
