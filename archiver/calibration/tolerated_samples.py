"""The tolerated changes of a calibration: which there are, and the samples after them."""

import math
from collections.abc import Callable, Mapping, Sequence

import torch

from calpow.archiver.calibration.order import CalibrationOrder
from calpow.archiver.calibration.samples import ArgumentsChange, PricedFolder
from calpow.archiver.calibration.score_setup import ScoreSetup
from calpow.archiver.calibration.synthetic_inputs.legitimate_values import LegitimateInputs
from calpow.archiver.calibration.synthetic_inputs.tolerances import (
    FLIP_LOST,
    MOST_LOST,
    TOLERANCES,
    check_tolerances,
    default_tolerances,
    is_harmless,
)
from calpow.archiver.calibration.victim_pace import arranged
from calpow.handler.leakage.model_inputs import ModelInputs
from calpow.handler.leakage.recording import Call
from calpow.handler.leakage.score import ScoredSamples

# The chance that a change is given up that all samples would have shown to be harmless, at each look.
MISTAKEN = 1e-4
_MOST_LOST = {"flip": FLIP_LOST}


def tolerated_changes(order: CalibrationOrder, calls: Sequence[Call], setup: ScoreSetup) -> dict[str, ArgumentsChange]:
    """Return the changes that an order tolerates, or those that suit the input, by name.

    `kept_tolerances` leaves out those of the latter that cost the victim right answers. Raises OrderError for a change
    that does not suit the input.
    """
    names = _chosen(order, calls, setup)
    if not names:
        return {}
    shape = setup.shape.input_shape
    known = LegitimateInputs.of([_with_batch_axis(call.arguments, shape) for call in calls])
    generator = torch.Generator().manual_seed(order.seed)

    def change(name: str) -> ArgumentsChange:
        def changed(inputs: ModelInputs) -> ModelInputs:
            whole = known.changed(_with_batch_axis(inputs, shape), TOLERANCES[name].change, generator)
            pairs = zip(whole.tensors, inputs.tensors, strict=True)
            changed = inputs.replaced([tensor.reshape(original.shape) for tensor, original in pairs])
            return arranged(changed, setup.layout)

        return changed

    return {name: change(name) for name in names}


def _chosen(order: CalibrationOrder, calls: Sequence[Call], setup: ScoreSetup) -> tuple[str, ...]:
    """Return the names of the changes that an order tolerates, or of those that suit the input."""
    shape, tensor = setup.shape.input_shape, calls[0].arguments.only_tensor
    is_one = tensor is not None and bool(setup.shape.input_dtype)
    dtype = tensor.dtype if tensor is not None and is_one else torch.float32
    if order.tolerate is not None:
        check_tolerances(order.tolerate, shape, dtype)
        return order.tolerate
    return default_tolerances(shape, dtype) if is_one else ()


def _with_batch_axis(inputs: ModelInputs, shape: tuple[int, ...] | None) -> ModelInputs:
    """Return the arguments with the axis of a batch where a model takes one sample `[*shape]` without it."""
    tensor = inputs.only_tensor
    if tensor is None or shape is None or tensor.dim() != len(shape):
        return inputs
    return inputs.replaced([tensor.unsqueeze(0)])


def is_hopeless(name: str, samples: int, lost: int, share: float) -> bool:
    """Return whether the first samples, in random order, show that a change costs the victim too many right answers.

    After the change, `lost` fewer of so many samples are answered rightly; they are this share of all. The loss of a
    sample lies between -1 and 1, and the mean of all is less than that of the first by the margin of Serfling (1974,
    "Probability inequalities for the sum in sampling without replacement") in one case of MISTAKEN at most.
    """
    margin = math.sqrt(2 * math.log(1 / MISTAKEN) * (1 - share) / samples)
    return lost / samples - margin >= _MOST_LOST.get(name, MOST_LOST)


def kept_tolerances(
    order: CalibrationOrder, priced: PricedFolder, log: Callable[[str], None]
) -> Mapping[str, ScoredSamples]:
    """Return the samples after each tolerated change; `log` is called with the reason for those that are left out."""
    if order.tolerate is not None:
        return priced.changed
    answers, classes = priced.samples.labels.numpy(), priced.samples.classes.numpy()
    kept = {}
    for name, scored in {**priced.changed, **priced.given_up}.items():
        changed = scored.labels.numpy()
        tried = len(changed)
        if name in priced.changed and is_harmless(name, answers, changed, classes):
            kept[name] = scored
        else:
            before = float((answers[:tried] == classes[:tried]).mean())
            after = float((changed == classes[:tried]).mean())
            log(
                f"note: {name} is not tolerated, since the model is right in {after:.0%} of samples so changed and in"
                f" {before:.0%} of the same {tried:,} unchanged: --tolerate {name} tolerates it all the same"
            )
    return kept
