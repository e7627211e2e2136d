"""The parts of a protected archive, loaded and checked against each other before the first request."""

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
from calpow.handler.policy.calibrated_policy import CalibratedPolicy
from calpow.handler.policy.calibration_file import load_policy
from calpow.handler.victim import Victim


@dataclass(frozen=True)
class ArchiveParts:
    """The policy of one archive, and the meter that prices its queries."""

    policy: CalibratedPolicy
    meter: Meter


def load_parts(directory: Path, victim: Victim, config: GateConfig) -> ArchiveParts:
    """Load the files in an archive's directory and check that they fit each other and the victim.

    Raises CalibrationError, EnsembleError, NeighboursError, VictimError or GateMisconfigured.
    """
    policy = load_policy(directory / CALIBRATION_FILE)
    ensemble, neighbours = None, None
    if ENSEMBLE_FILE in config.parts:
        ensemble = Ensemble.load(directory / ENSEMBLE_FILE, victim.device)
        _check_ensemble(policy, ensemble)
    if NEIGHBOURS_FILE in config.parts:
        neighbours = Neighbours.load(directory / NEIGHBOURS_FILE, victim.device)
    _check_victim(policy, victim)
    _check_files(policy, config)
    meter = make_meter(
        victim.recorder,
        victim.device,
        policy.shape,
        policy.output,
        policy.scores,
        policy.input_range,
        Artefacts(ensemble, neighbours),
    )
    return ArchiveParts(policy, meter)


def _check_files(policy: CalibratedPolicy, config: GateConfig) -> None:
    if config.victim_sha256 != policy.victim_sha256:
        raise GateMisconfigured("the calibration was made for another victim: run calpow calibrate again")
    _check_parts(policy.parts, config.parts)


def _check_parts(calibrated: Mapping[str, str], archived: Mapping[str, str]) -> None:
    """Raise GateMisconfigured unless the archived files are those of the calibration: SHA-256 by name."""
    for name, sha256 in calibrated.items():
        if name not in archived:
            raise GateMisconfigured(f"the calibration was made with {name}, which is missing: archive it, too")
        if archived[name] != sha256:
            raise GateMisconfigured(f"the calibration was made with another {name}: run calpow calibrate again")
    for name in archived.keys() - calibrated.keys():
        raise GateMisconfigured(f"the calibration's metrics do not use {name}: leave it out, or calibrate with it")


def _check_ensemble(policy: CalibratedPolicy, ensemble: Ensemble) -> None:
    card, shape = ensemble.card, policy.shape
    if card.classes != shape.classes:
        raise GateMisconfigured(
            f"the ensemble votes on {card.classes} classes, the calibration has {shape.classes}: calibrate again"
        )
    if tuple(card.input_shape) != tuple(shape.input_shape):
        raise GateMisconfigured(
            f"the ensemble takes inputs of shape {tuple(card.input_shape)}, the calibration was made for"
            f" {tuple(shape.input_shape)}: calibrate again"
        )


def _check_victim(policy: CalibratedPolicy, victim: Victim) -> None:
    output = _answer_to_blank(policy, victim)
    if output.dim() == 2 and output.shape[1] != policy.shape.classes:
        raise GateMisconfigured(
            f"the victim has {output.shape[1]} classes, the calibration {policy.shape.classes}:"
            " train teachers and calibrate for this victim"
        )


def _answer_to_blank(policy: CalibratedPolicy, victim: Victim) -> Tensor:
    """Return the model's raw output for one input of zeros. Raises GateMisconfigured when it does not take it."""
    shape = tuple(policy.shape.input_shape)
    try:
        return victim.infer(torch.zeros(1, *shape))
    except Exception as error:
        cause = error.__cause__ or error
        raise GateMisconfigured(
            f"the victim does not take inputs of shape {shape}, for which the calibration was made"
            f" ({type(cause).__name__}): train teachers and calibrate for this victim"
        ) from error
