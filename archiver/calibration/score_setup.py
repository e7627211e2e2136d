"""The scores of a calibration: their settings, chosen on the victim, and the meter that a worker will have."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from calpow.archiver.calibration.attackers import ATTACKS
from calpow.archiver.calibration.order import CalibrationOrder
from calpow.archiver.calibration.samples import BATCH, price_inputs
from calpow.archiver.payloads import PayloadFolder
from calpow.archiver.victim_archive import OpenVictim
from calpow.handler.errors import BareClass, CalibrationError
from calpow.handler.leakage.ensemble import Ensemble, EnsembleCard
from calpow.handler.leakage.input_range import InputRange
from calpow.handler.leakage.meter import Artefacts, Meter, find_features, make_meter
from calpow.handler.leakage.neighbours import Neighbours, NeighboursCard
from calpow.handler.leakage.odin import choose_magnitude
from calpow.handler.leakage.output import OutputKind, recognise
from calpow.handler.leakage.registry import ON_PROBABILITIES, ScoreName, ScoreSpec, Settings
from calpow.handler.leakage.score import ScoredSamples, VictimShape

# Settings of the paper (section 4.2): sigma 10 for 250 teachers, 2 for 50; delta 1e-5.
SIGMA_PER_TEACHER = 1 / 25
DELTA = 1e-5
# Legitimate inputs on which the magnitude of ODIN's perturbation is chosen.
ODIN_INPUTS = 256


@dataclass(frozen=True)
class ScoreSetup:
    """The scores as a calibration stores them, the meter that computes them, and everything that the meter needs."""

    shape: VictimShape
    output: OutputKind
    scores: tuple[ScoreSpec, ...]
    artefacts: Artefacts
    input_range: InputRange
    meter: Meter

    @property
    def highest(self) -> NDArray[np.float64]:
        """The largest possible cost of a sample by each score, `[scores]`."""
        return np.array([score.highest for score in self.meter.scores])


def vote_settings(teachers: int, order: float | None) -> Settings:
    """Return the settings of a vote with the paper's noise; votes are accounted as RDP if there is an order."""
    noise = {"teachers": float(teachers), "sigma": teachers * SIGMA_PER_TEACHER}
    return noise | ({"delta": DELTA} if order is None else {"order": order})


def set_up_scores(order: CalibrationOrder, opened: OpenVictim, folder: PayloadFolder, inputs: Tensor) -> ScoreSetup:
    """Set up the scores of an order. The kind of the victim's output is recognised on `inputs`.

    Raises the CalpowError of whichever part does not fit.
    """
    artefacts = Artefacts(
        ensemble=None if order.ensemble is None else Ensemble.load(order.ensemble, opened.device),
        neighbours=None if order.neighbours is None else Neighbours.load(order.neighbours, opened.device),
    )
    _check_fit(artefacts, folder, opened)
    shape = VictimShape(len(folder.class_names), tuple(inputs.shape[1:]))
    names = [ScoreName(name) for name in order.metrics]
    output = output_kind(opened, inputs, shape.classes, graded=not ON_PROBABILITIES.isdisjoint(names))
    scores = tuple(ScoreSpec(name, _settings(name, order, artefacts, opened, inputs)) for name in names)
    input_range = InputRange.of(inputs)
    meter = make_meter(opened.victim.recorder, opened.device, shape, output, scores, input_range, artefacts)
    return ScoreSetup(shape, output, scores, artefacts, input_range, meter)


def output_kind(opened: OpenVictim, inputs: Tensor, classes: int, *, graded: bool) -> OutputKind:
    """Recognise the raw output of the victim's model; a bare class counts as probabilities unless `graded`.

    Raises NoDistribution when it is not a distribution over the classes.
    """
    outputs = [opened.infer(batch) for batch in torch.split(inputs, BATCH)]
    try:
        return recognise(torch.cat(outputs), classes)
    except BareClass:
        if graded:
            raise
        return OutputKind.probabilities


def reference_attacks(inputs: Tensor, meter: Meter, seed: int) -> dict[str, ScoredSamples]:
    """Price the queries of every reference attacker, made from the victim's `inputs`, by attacker's name."""
    generator = torch.Generator().manual_seed(seed)
    return {name: price_inputs(attack(inputs, generator), meter.price) for name, attack in ATTACKS.items()}


def _settings(
    name: ScoreName, order: CalibrationOrder, artefacts: Artefacts, opened: OpenVictim, inputs: Tensor
) -> Settings:
    if name is ScoreName.pate and artefacts.ensemble is not None:
        return vote_settings(artefacts.ensemble.card.teachers, order.rdp_order)
    if name is ScoreName.pknn and artefacts.neighbours is not None:
        return vote_settings(artefacts.neighbours.card.k, order.rdp_order)
    if name is ScoreName.odin_moved:
        return _perturbation(opened, torch.split(inputs[:ODIN_INPUTS], BATCH))
    return {}


def _perturbation(opened: OpenVictim, batches: Sequence[Tensor]) -> Settings:
    """Choose the magnitude of ODIN's perturbation; none for a victim that is not eager, which the score refuses."""
    recorder = opened.victim.recorder
    tap = recorder.tap = find_features(recorder, tuple(batches[0].shape[1:]), opened.device)
    return {} if tap.layer is None else {"magnitude": choose_magnitude(recorder.model, tap, batches)}


def _check_fit(artefacts: Artefacts, folder: PayloadFolder, victim: OpenVictim) -> None:
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
