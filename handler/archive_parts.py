"""The parts of a protected archive, loaded and checked against each other before the first request."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from calpow.handler.config import CALIBRATION_FILE, ENSEMBLE_FILE, NEIGHBOURS_FILE, GateConfig
from calpow.handler.errors import GateMisconfigured
from calpow.handler.leakage.meter import Artefacts, Meter, make_meter
from calpow.handler.leakage.neighbours import Neighbours
from calpow.handler.leakage.teachers.ensemble import Ensemble
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
    check_files(policy, config)
    meter = make_meter(
        victim.recorder,
        policy.shape,
        policy.output,
        policy.scores,
        policy.input_range,
        Artefacts(ensemble, neighbours),
    )
    return ArchiveParts(policy, meter)


def check_files(policy: CalibratedPolicy, config: GateConfig) -> None:
    """Raise GateMisconfigured unless the victim and the files of an archive are those of its calibration."""
    if config.victim_fingerprint != policy.victim_sha256:
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
        raise GateMisconfigured(f"the calibration's scores do not use {name}: leave it out, or calibrate with it")


def _check_ensemble(policy: CalibratedPolicy, ensemble: Ensemble) -> None:
    card, shape = ensemble.card, policy.shape
    if card.classes != shape.classes:
        raise GateMisconfigured(
            f"the ensemble votes on {card.classes} classes, the calibration has {shape.classes}: calibrate again"
        )
    if ensemble.on_features and card.layer != shape.layer:
        raise GateMisconfigured(
            f"the ensemble votes on the input of the victim's layer {card.layer or 'of its output'}, the calibration"
            f" was made for {shape.layer or 'its output'}: calibrate again"
        )
    if not ensemble.on_features and card.input_shape != shape.input_shape:
        raise GateMisconfigured(
            f"the ensemble takes inputs of shape {card.input_shape}, the calibration was made for"
            f" {shape.input_shape}: calibrate again"
        )


def _check_victim(policy: CalibratedPolicy, victim: Victim) -> None:
    """Raise GateMisconfigured when the model does not answer one input of zeros as it was calibrated."""
    shape = policy.shape
    if shape.input_shape is None:
        return  # no input can be made up; the model's first answer shows whether it fits
    try:
        blank = torch.zeros(1, *shape.input_shape, dtype=getattr(torch, shape.input_dtype, torch.float32))
    except (RuntimeError, TypeError) as error:
        raise GateMisconfigured(
            f"no input has the shape {shape.input_shape} and the type {shape.input_dtype} of the calibration:"
            " run calpow calibrate again"
        ) from error
    output = _answer_to(blank, victim)
    if output is not None and output.dim() == 2 and not policy.output.is_binary and output.shape[1] != shape.classes:
        raise GateMisconfigured(
            f"the victim has {output.shape[1]} classes, the calibration {shape.classes}:"
            " train teachers and calibrate for this victim"
        )


def _answer_to(blank: Tensor, victim: Victim) -> Tensor | None:
    """Return the model's raw output for one input `[1, *input_shape]`, with or without the axis of the batch.

    None where the model does not answer with a tensor, or does not take one tensor alone.
    """
    given = blank.to(victim.device)
    try:
        return victim.recorder.ask(given).output
    except TypeError:
        return None  # it needs more arguments, or takes them by name
    except Exception as error:
        with contextlib.suppress(Exception):
            return victim.recorder.ask(given[0]).output
        raise GateMisconfigured(
            f"the victim does not take inputs of shape {tuple(blank.shape[1:])}, for which the calibration was made"
            f" ({type(error).__name__}): train teachers and calibrate for this victim"
        ) from error
