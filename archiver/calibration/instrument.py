"""What measures queries while calibrating: the metrics as a worker will have them, and the settings they get."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from calpow.archiver.calibration.attackers import ATTACKS
from calpow.archiver.calibration.samples import BATCH, price_inputs
from calpow.archiver.cli.calibrate import Order
from calpow.archiver.payloads import Folder
from calpow.archiver.victim_archive import OpenVictim
from calpow.handler.leakage.ensemble import Ensemble, EnsembleCard
from calpow.handler.leakage.input_range import Limits
from calpow.handler.leakage.meter import Artefacts, Meter, find_features, make_meter
from calpow.handler.leakage.neighbours import Neighbours, NeighboursCard
from calpow.handler.leakage.odin import choose_magnitude
from calpow.handler.leakage.output import BareClass, OutputKind, recognise
from calpow.handler.leakage.registry import ON_PROBABILITIES, MetricName, Settings
from calpow.handler.leakage.score import Priced
from calpow.handler.policy.calibration_file import CalibrationError, Chosen, Shape

# The paper's settings (section 4.2): sigma 10 for 250 teachers, 2 for 50; delta 1e-5.
SIGMA_PER_TEACHER = 1 / 25
DELTA = 1e-5
# Legitimate inputs on which the size of ODIN's perturbation is chosen.
ODIN_INPUTS = 256


@dataclass(frozen=True)
class Instrument:
    """The metrics as they are stored and as they measure, and what they measure with."""

    shape: Shape
    output: OutputKind
    chosen: tuple[Chosen, ...]
    artefacts: Artefacts
    limits: Limits
    meter: Meter

    @property
    def highest(self) -> NDArray[np.float64]:
        """The most that a query can cost, `[metrics]`."""
        return np.array([metric.highest for metric in self.meter.metrics])


def vote_settings(teachers: int, order: float | None) -> Settings:
    """Settings of a vote of so many teachers, with the paper's noise; accounted as RDP at an order if there is one."""
    noise = {"teachers": float(teachers), "sigma": teachers * SIGMA_PER_TEACHER}
    return noise | ({"delta": DELTA} if order is None else {"order": order})


def make_instrument(order: Order, opened: OpenVictim, folder: Folder, inputs: Tensor) -> Instrument:
    """The metrics that were ordered; `inputs` are some of the victim's, to recognise its output by.

    Raises the CalpowError of whichever part does not fit.
    """
    artefacts = Artefacts(
        ensemble=None if order.ensemble is None else Ensemble.load(order.ensemble, opened.device),
        neighbours=None if order.neighbours is None else Neighbours.load(order.neighbours, opened.device),
    )
    _check_fit(artefacts, folder, opened)
    shape = Shape(len(folder.class_names), tuple(inputs.shape[1:]))
    names = [MetricName(name) for name in order.metrics]
    output = output_kind(opened, inputs, shape.classes, graded=not ON_PROBABILITIES.isdisjoint(names))
    chosen = tuple(Chosen(name, _settings(name, order, artefacts, opened, inputs)) for name in names)
    limits = Limits.of(inputs)
    meter = make_meter(opened.victim.recorder, opened.device, shape, output, chosen, limits, artefacts)
    return Instrument(shape, output, chosen, artefacts, limits, meter)


def output_kind(opened: OpenVictim, inputs: Tensor, classes: int, *, graded: bool) -> OutputKind:
    """What the raw output of the victim's model is.

    Raises NoDistribution when it is no distribution over the classes; a bare class is one unless `graded`.
    """
    outputs = [opened.infer(batch) for batch in torch.split(inputs, BATCH)]
    try:
        return recognise(torch.cat(outputs), classes)
    except BareClass:
        if graded:
            raise
        return OutputKind.probabilities


def reference_attacks(inputs: Tensor, meter: Meter, seed: int) -> dict[str, Priced]:
    """What every reference attacker's queries cost, by his name; they are made of the victim's `inputs`."""
    generator = torch.Generator().manual_seed(seed)
    return {name: price_inputs(attack(inputs, generator), meter.price) for name, attack in ATTACKS.items()}


def _settings(name: MetricName, order: Order, artefacts: Artefacts, opened: OpenVictim, inputs: Tensor) -> Settings:
    if name is MetricName.pate and artefacts.ensemble is not None:
        return vote_settings(artefacts.ensemble.card.teachers, order.rdp_order)
    if name is MetricName.pknn and artefacts.neighbours is not None:
        return vote_settings(artefacts.neighbours.card.k, order.rdp_order)
    if name is MetricName.odin_moved:
        return _perturbation(opened, torch.split(inputs[:ODIN_INPUTS], BATCH))
    return {}


def _perturbation(opened: OpenVictim, batches: Sequence[Tensor]) -> Settings:
    """The magnitude of ODIN's perturbation; none for a victim that is no eager model, which the metric refuses."""
    recorder = opened.victim.recorder
    tap = recorder.tap = find_features(recorder, tuple(batches[0].shape[1:]), opened.device)
    return {} if tap.layer is None else {"magnitude": choose_magnitude(recorder.model, tap, batches)}


def _check_fit(artefacts: Artefacts, folder: Folder, victim: OpenVictim) -> None:
    cards: list[tuple[EnsembleCard | NeighboursCard, str, str]] = []
    if artefacts.ensemble:
        cards.append((artefacts.ensemble.card, "the teachers were trained", "train teachers"))
    if artefacts.neighbours:
        cards.append((artefacts.neighbours.card, "the reference points were taken", "take them"))
    for card, what, again in cards:
        if card.victim_sha256 != victim.sha256:
            raise CalibrationError(f"{what} for another victim: {again} for this one")
        if card.class_names != folder.class_names:
            raise CalibrationError(
                f"the data has classes {_names(folder.class_names)}, {what} on {_names(card.class_names)}:"
                " give held-out data of the same classes"
            )


def _names(names: tuple[str, ...]) -> str:
    return ", ".join(names[:5]) + (f" ... ({len(names)})" if len(names) > 5 else "")
