"""The scores of a calibration: their settings, chosen on the victim, and the meter that a worker will have."""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from calpow.archiver.calibration.order import CalibrationOrder
from calpow.archiver.calibration.samples import BATCH, price_calls, split_batch
from calpow.archiver.calibration.synthetic_inputs.attackers import ATTACKS, attackers_for
from calpow.archiver.calibration.synthetic_inputs.legitimate_values import LegitimateInputs
from calpow.archiver.calibration.victim_pace import arranged, choose_layout
from calpow.archiver.data.payloads import PayloadFolder
from calpow.archiver.progress import track
from calpow.archiver.teachers.partitions import are_parts_of
from calpow.archiver.teachers.vote_noise import vote_settings
from calpow.archiver.victim.recorded_calls import joined_inputs, output_kind, shared_dtype, shared_shape
from calpow.archiver.victim.victim_archive import OpenVictim
from calpow.handler.errors import CalibrationError
from calpow.handler.leakage.input_range import measure_range, measure_shared_range
from calpow.handler.leakage.meter import Artefacts, Meter, make_meter
from calpow.handler.leakage.model_inputs import ModelInputs
from calpow.handler.leakage.neighbours import Neighbours, NeighboursCard
from calpow.handler.leakage.recording import Call, Recorder
from calpow.handler.leakage.score import ScoredSamples
from calpow.handler.leakage.scores.odin import choose_magnitude
from calpow.handler.leakage.specs import (
    ON_LAYERS,
    ON_PROBABILITIES,
    ON_VOTES,
    InputRange,
    OutputKind,
    ScoreName,
    ScoreSpec,
    Settings,
    VictimShape,
)
from calpow.handler.leakage.tapping import find_features, tap_depths
from calpow.handler.leakage.teachers.ensemble import Ensemble, EnsembleCard

# Legitimate inputs on which the magnitude of ODIN's perturbation is chosen.
ODIN_INPUTS = 256
# Seconds for the queries of all reference attackers, unless the victim takes longer for LEAST_ATTACKED of each.
ATTACK_SECONDS = 30.0
LEAST_ATTACKED = 100
TIMED_SAMPLES = 16
LAYOUT_SAMPLES = 4


@dataclass(frozen=True)
class ScoreSetup:
    """The scores as a calibration stores them, the meter that computes them, and everything that the meter needs.

    `layout` is that of images in which the victim answers calibration's own queries.
    """

    shape: VictimShape
    output: OutputKind
    scores: tuple[ScoreSpec, ...]
    artefacts: Artefacts
    input_range: InputRange
    meter: Meter
    layout: torch.memory_format = torch.contiguous_format

    @property
    def highest(self) -> NDArray[np.float64]:
        """The largest possible cost of a sample by each score, `[scores]`."""
        return np.array([score.highest for score in self.meter.scores])


def load_artefacts(order: CalibrationOrder, opened: OpenVictim, folder: PayloadFolder) -> Artefacts:
    """Load the files that an order names. Raises the CalpowError of one that does not fit the victim or the data."""
    artefacts = Artefacts(
        ensemble=None if order.ensemble is None else Ensemble.load(order.ensemble, opened.device),
        neighbours=None if order.neighbours is None else Neighbours.load(order.neighbours, opened.device),
    )
    _check_fit(artefacts, folder, opened)
    if artefacts.ensemble and order.records is None:
        _check_held_out(artefacts.ensemble.card, folder)
    return artefacts


def tap_model(recorder: Recorder, artefacts: Artefacts, example: Call) -> None:
    """Put the taps on a model that any of its scores needs, so that later calls can be priced."""
    find_features(recorder, example.arguments)
    if artefacts.references:
        tap_depths(recorder, artefacts.references.layers)


def set_up_scores(
    order: CalibrationOrder, opened: OpenVictim, folder: PayloadFolder, calls: Sequence[Call], artefacts: Artefacts
) -> ScoreSetup:
    """Set up the scores that an order names, or all that the victim shows; the form of its inputs is that of `calls`.

    PATE comes first where there are teachers: the paper's policy sums it. Raises the CalpowError of whichever part does
    not fit.
    """
    classes = len(folder.class_names)
    graded = not {name.value for name in ON_PROBABILITIES}.isdisjoint(order.scores)
    output = output_kind(calls, classes, graded=graded)
    shape = VictimShape(
        classes,
        shared_shape(calls, output, classes),
        shared_dtype(calls),
        find_features(opened.recorder, calls[0].arguments).name,
    )
    inputs = None if shape.input_shape is None else joined_inputs(calls, output, classes)
    labels = order.scores or shown_scores(shape, output, artefacts)
    scores = score_specs(labels, artefacts, lambda name: _settings(name, order, artefacts, opened, inputs))
    input_range = measure_range(inputs) if inputs is not None else _shared_range(calls)
    meter = make_meter(opened.recorder, shape, output, scores, input_range, artefacts)
    setup = ScoreSetup(shape, output, scores, artefacts, input_range, meter)
    (few, *others) = _batched(_spread(calls, LAYOUT_SAMPLES), setup)
    return setup if others else replace(setup, layout=choose_layout(opened.recorder, few))


def score_specs(
    labels: Sequence[str], artefacts: Artefacts, settings: Callable[[ScoreName], Settings]
) -> tuple[ScoreSpec, ...]:
    """Return the scores of these labels, at every layer that is known where a label names none.

    PATE comes first where there are teachers, named or not.
    """
    names = [label.partition("@") for label in labels]
    if artefacts.ensemble is not None:
        names = [("pate", "", ""), *(entry for entry in names if entry[0] != "pate")]
    layers = artefacts.references.prototypes.keys() if artefacts.references else ()
    return tuple(
        ScoreSpec(name, settings(name), place)
        for text, at, layer in names
        for name in [ScoreName(text)]
        for place in (([layer] if at else layers) if name in ON_LAYERS else [""])
    )


def shown_scores(shape: VictimShape, output: OutputKind, artefacts: Artefacts) -> list[str]:
    """Return the names of the scores that can be computed of this victim with these files."""
    names = [ScoreName.energy if output is OutputKind.logits else ScoreName.entropy]
    references = artefacts.references
    if artefacts.ensemble is not None:
        names += [ScoreName.pate, ScoreName.vote_entropy]
    if shape.layer:
        names.append(ScoreName.norm)
    if references is not None:
        names += [ScoreName.prototypes] if references.prototypes else []
        names += [ScoreName.mahalanobis] if references.gaussians else []
        names += [ScoreName.density] if references.mixture is not None else []
        names += [ScoreName.tokens] if references.token_costs is not None else []
    if artefacts.neighbours is not None:
        names.append(ScoreName.pknn)
    return [name.value for name in names]


def calls_for_attackers(calls: Sequence[Call], setup: ScoreSetup) -> list[Call]:
    """Return calls to make attackers' queries of: all, or of a slow victim as many as ATTACK_SECONDS allow.

    They are spread evenly, because calls are in the order of the classes.
    """
    timed = _spread(calls, TIMED_SAMPLES)
    seconds = min(_seconds(timed, setup) for _ in range(2)) / len(timed)
    return _spread(calls, max(LEAST_ATTACKED, int(ATTACK_SECONDS / (len(ATTACKS) * seconds))))


def _spread(calls: Sequence[Call], most: int) -> list[Call]:
    places = np.linspace(0, len(calls) - 1, min(most, len(calls)))
    return [calls[int(place)] for place in places]


def _seconds(calls: Sequence[Call], setup: ScoreSetup) -> float:
    """Return the seconds that the victim takes for the arguments of calls."""
    begun = time.perf_counter()
    for _ in _answered(_batched(calls, setup), setup):
        pass
    return time.perf_counter() - begun


def reference_attacks(calls: Sequence[Call], setup: ScoreSetup, seed: int) -> dict[str, ScoredSamples]:
    """Price the queries of every reference attacker for this kind of inputs, made from `calls`, by attacker's name.

    Queries that the model does not answer or the meter refuses are left out, as no user can have their answers; so is
    an attacker without others.
    """
    generator = torch.Generator().manual_seed(seed)
    legitimate = _batched(calls, setup)
    known = LegitimateInputs.of(legitimate)
    attacks = {}
    for attacker in track(attackers_for(known.kinds), "attackers", "attacker"):
        queries = [known.changed(inputs, attacker.make, generator) for inputs in legitimate]
        answered = list(_answered(queries, setup))
        if answered:
            attacks[attacker.name] = price_calls(answered, setup.meter.price_calls)
    return attacks


def _batched(calls: Sequence[Call], setup: ScoreSetup) -> list[ModelInputs]:
    """Return the arguments of calls: all samples in one where the model takes batches of one tensor of one shape."""
    if not all(_is_batch(call.arguments, setup) for call in calls):
        return [call.arguments for call in calls]
    return [calls[0].arguments.replaced([joined_inputs(calls, setup.output, setup.shape.classes)])]


def _is_batch(arguments: ModelInputs, setup: ScoreSetup) -> bool:
    """Return whether the model takes one tensor of one shape here, with an axis for samples."""
    tensor, shape = arguments.only_tensor, setup.shape.input_shape
    return tensor is not None and shape is not None and tensor.dim() == len(shape) + 1


def _answered(queries: Sequence[ModelInputs], setup: ScoreSetup) -> Iterator[Call]:
    for query in queries:
        parts = [query]
        if _is_batch(query, setup):
            parts = [query.replaced([part]) for part in split_batch(query.tensors[0])]
        for part in parts:
            with contextlib.suppress(Exception):  # the model may refuse what no user would send
                call = setup.meter.recorder.replay(arranged(part, setup.layout))
                setup.meter.check(call)
                yield call


def _settings(
    name: ScoreName, order: CalibrationOrder, artefacts: Artefacts, opened: OpenVictim, inputs: Tensor | None
) -> Settings:
    if name in ON_VOTES and artefacts.ensemble is not None:
        return vote_settings(artefacts.ensemble.card.teachers, order.rdp_order)
    if name is ScoreName.pknn and artefacts.neighbours is not None:
        return vote_settings(artefacts.neighbours.card.k, order.rdp_order)
    if name is ScoreName.odin_moved:
        return _perturbation(opened, inputs)
    return {}


def _perturbation(opened: OpenVictim, inputs: Tensor | None) -> Settings:
    """Choose the magnitude of ODIN's perturbation.

    There is none for a victim that is not eager, which the score refuses. Raises CalibrationError for inputs without
    gradients.
    """
    if inputs is None or not inputs.is_floating_point():
        raise CalibrationError(
            "score odin-moved follows gradients to the input, and the model takes no single tensor of floating-point"
            " numbers: take odin"
        )
    tap = opened.recorder.tap
    if tap is None or tap.layer is None:
        return {}
    batches = torch.split(inputs[:ODIN_INPUTS], BATCH)
    return {"magnitude": choose_magnitude(opened.recorder.model, tap, batches)}


def _shared_range(calls: Sequence[Call]) -> InputRange:
    """Return the range of inputs that differ in shape, or none where the model takes several tensors."""
    tensors = [call.arguments.only_tensor for call in calls]
    numbers = [tensor for tensor in tensors if tensor is not None and tensor.numel()]
    return measure_shared_range(numbers) if len(numbers) == len(tensors) else InputRange((), ())


def _check_fit(artefacts: Artefacts, folder: PayloadFolder, victim: OpenVictim) -> None:
    cards: list[tuple[EnsembleCard | NeighboursCard, str, str]] = []
    if artefacts.ensemble:
        cards.append((artefacts.ensemble.card, "the teachers were trained", "train teachers"))
    if artefacts.neighbours:
        cards.append((artefacts.neighbours.card, "the reference points were taken", "take them"))
    for card, what, again in cards:
        if card.victim_sha256 != victim.fingerprint:
            raise CalibrationError(f"{what} for another victim: {again} for this one")
        if card.class_names != folder.class_names and set(card.class_names) == set(folder.class_names):
            raise CalibrationError(
                f"the data has the classes in the order {_names(folder.class_names)}, {what} on"
                f" {_names(card.class_names)}: give the same --classes here"
            )
        if card.class_names != folder.class_names:
            raise CalibrationError(
                f"the data has classes {_names(folder.class_names)}, {what} on {_names(card.class_names)}:"
                " give held-out data of the same classes"
            )


def _check_held_out(card: EnsembleCard, folder: PayloadFolder) -> None:
    """Raise CalibrationError for the folder that the teachers were trained on: they know its samples too well."""
    if are_parts_of(folder, card.partition_digests, card.seed):
        raise CalibrationError(
            "the data is what the teachers were trained on, in which nothing looks odd to them: users would pay too"
            " much; give held-out data, which neither the victim nor the teachers have seen"
        )


def _names(names: tuple[str, ...]) -> str:
    return ", ".join(names[:5]) + (f" ... ({len(names)})" if len(names) > 5 else "")
