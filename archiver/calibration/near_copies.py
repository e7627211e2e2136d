"""The largest difference of sketches at which a sample passes for a near-copy of an earlier one."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from calpow.archiver.calibration.samples import Ints
from calpow.archiver.calibration.score_setup import ScoreSetup
from calpow.handler.leakage.batches import id_rows, input_rows
from calpow.handler.leakage.output import as_rows, log_distribution
from calpow.handler.leakage.recording import Call
from calpow.handler.leakage.sketches import Sketcher, distances
from calpow.handler.ledger.history import SKETCH_BITS, SKETCHES

# Of the samples of an honest user who sends one class, the share that may pass for a copy of one of his last SKETCHES.
MISTAKEN = 0.02
# Beyond, sketches are hardly those of copies.
MOST_BITS = SKETCH_BITS // 6
FEWEST = 20


def near_copy_bits(calls: Sequence[Call], setup: ScoreSetup) -> int:
    """Return the largest number of bits in which near-copies may differ, so that honest users lose hardly any credit.

    -1 if there is none: all sketches of a class are too much alike, or none can be made. Equal samples count once: they
    earn nothing in any case.
    """
    sketcher = Sketcher(setup.input_range)
    rows, sketches, answers = list[Tensor](), [], []
    for call in calls:
        outputs = as_rows(call.output, setup.output, setup.shape.classes)
        inputs = input_rows(call.arguments, len(outputs))
        inputs = id_rows(call.arguments, len(outputs)) if inputs is None else inputs
        if inputs is None:
            return -1
        rows += inputs
        sketches.append(sketcher.sketches(inputs))
        answers.append(log_distribution(outputs, setup.output).argmax(dim=1).cpu().numpy())
    if len({part.shape[1] for part in sketches}) > 1 or not sketches[0].shape[1]:
        return -1
    distinct = list({row.double().cpu().numpy().tobytes(): place for place, row in enumerate(rows)}.values())
    whole, classes = np.concatenate(sketches)[distinct], np.concatenate(answers)[distinct]
    mistaken = np.zeros(SKETCH_BITS + 1)
    for answer in np.unique(classes):
        of_class = whole[classes == answer]
        if len(of_class) >= FEWEST:
            mistaken = np.maximum(mistaken, _mistaken(distances(of_class, of_class)))
    fitting = np.flatnonzero(mistaken[: MOST_BITS + 1] <= MISTAKEN)
    return int(fitting[-1]) if len(fitting) else -1


def _mistaken(differences: Ints) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return by number of bits the share of samples that pass for a copy of one of SKETCHES others."""
    np.fill_diagonal(differences, SKETCH_BITS + 1)
    others = len(differences) - 1
    alike = np.stack([np.bincount(row, minlength=SKETCH_BITS + 2)[: SKETCH_BITS + 1] for row in differences])
    within = alike.cumsum(axis=1) / others
    return np.asarray((1 - (1 - within) ** SKETCHES).mean(axis=0), np.float64)
