"""Comparison of the order of the classes with the victim's answers, which shows an order that is not the victim's."""

import contextlib
import itertools
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from calpow.archiver.data.class_folders import list_names
from calpow.archiver.data.payloads import CallSource, Payload, PayloadFolder, read_row
from calpow.archiver.errors import ClassOrderError, FolderError
from calpow.handler.errors import NoDistribution, VictimError
from calpow.handler.leakage.output import as_rows, log_distribution, recognise

# Another order fits far better where it makes at least this share of the answers right that were wrong ...
LEAST_GAIN = 0.1
# ... and that is no chance: the gain is at least this many standard deviations of an even coin.
LEAST_DEVIATIONS = 4.0
# Payloads that are run for the comparison alone: of so many classes, or of all with this many payloads each.
CLASSES_TRIED = 25
PAYLOADS_TRIED = 500
PAYLOADS_OF_EACH = 4

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class BetterOrder:
    """An order of the classes that fits a victim's answers far better than the present one.

    right, right_reordered: the share of answers that name the payload's class, in the present order and in this one.
    places: the index of the victim's output that each class should have.
    """

    right: float
    right_reordered: float
    places: tuple[int, ...]


def compare_with_victim(victim: CallSource, folder: PayloadFolder, output: Path, classes: Path | None) -> str | None:
    """Run some payloads and hold the order of the classes against the victim's answers; see `check_order`.

    Payloads that the victim cannot read are passed over, and so is an output that is no distribution.
    """
    labels = range(len(folder.class_names))
    few = labels[:: max(1, len(labels) // CLASSES_TRIED)]
    answers, truth = _answers(victim, folder, _some_payloads(folder, few, PAYLOADS_TRIED // len(few)))
    if len(few) < len(labels) and find_better_order(answers, truth, len(labels)) is not None:
        answers, truth = _answers(victim, folder, _some_payloads(folder, labels, PAYLOADS_OF_EACH))
    return check_order(answers, truth, folder, output, classes)


def check_order(answers: Ints, labels: Ints, folder: PayloadFolder, output: Path, classes: Path | None) -> str | None:
    """Hold the order of the classes against the victim's answers, and return a warning, if any.

    `answers` and `labels` are the classes of some samples by the victim and by their folders, `[n]`. Where another
    order fits far better, it is written beside `output` and ClassOrderError is raised; the owner's own order, from the
    file `classes`, is only warned of.
    """
    better = find_better_order(answers, labels, len(folder.class_names))
    if better is None:
        return None
    present = f"the order of {classes}" if classes else "the folders' order"
    finding = f"the victim's answers name the payload's class in {better.right:.0%} by {present}"
    if classes is not None:
        return f"{finding}, and in {better.right_reordered:.0%} by another: see whether the file is this victim's"
    names = dict(zip(better.places, folder.class_names, strict=True))
    by_index = {str(index): names[index] for index in range(len(names))}
    text = json.dumps(by_index, indent=2, ensure_ascii=False) + "\n"
    proposed = output.with_name(f"{output.name}.classes.json")
    try:
        proposed = _file_for(text, output)
        proposed.write_text(text, encoding="utf-8")
    except OSError as problem:
        raise ClassOrderError(f"{proposed} cannot be written: {problem.strerror}") from problem
    moved = [f"{index} {name}" for index, name in by_index.items() if folder.class_names[int(index)] != name]
    raise ClassOrderError(
        f"{finding}, and in {better.right_reordered:.0%} by another, which moves {list_names(moved, 'class')}:"
        f" check {proposed}, and give --classes {proposed}"
    )


def _file_for(text: str, output: Path) -> Path:
    """Return the first of `OUTPUT.classes.json`, `OUTPUT.2.classes.json`, ... that is free or holds this text already.

    A file of this name may be another model's, or one that its owner has mended by hand.
    """
    for number in itertools.count(1):
        middle = "" if number == 1 else f".{number}"
        proposed = output.with_name(f"{output.name}{middle}.classes.json")
        if not os.path.lexists(proposed):  # a link to nowhere is not free: what it names would be written
            break
        if proposed.exists() and proposed.read_bytes() == text.encode():
            break
    return proposed


def find_better_order(answers: Ints, labels: Ints, classes: int) -> BetterOrder | None:
    """Return the order of the classes that fits the answers best, if it fits far better than the present one.

    Orders are found on one half of the samples and tried on the other, so that luck with few samples a class counts
    for nothing.
    """
    if not len(answers):
        return None
    half = _ranks(labels) % 2
    right = answers == labels
    right_reordered = np.zeros_like(right)
    for tried in (0, 1):
        places = _best_places(answers[half != tried], labels[half != tried], classes)
        at = half == tried
        right_reordered[at] = answers[at] == places[labels[at]]
    gained, lost = int((right_reordered & ~right).sum()), int((right & ~right_reordered).sum())
    gain = gained - lost
    if gain < LEAST_GAIN * len(answers) or gain < LEAST_DEVIATIONS * (gained + lost) ** 0.5:
        return None
    places = _best_places(answers, labels, classes)
    return BetterOrder(
        float(right.mean()), float((answers == places[labels]).mean()), tuple(int(place) for place in places)
    )


def _best_places(answers: Ints, labels: Ints, classes: int) -> Ints:
    """Return the place of each class with which most answers are right; classes without evidence keep theirs."""
    counts = np.zeros((classes, classes))
    np.add.at(counts, (labels, answers), 1.0)
    # Half an answer for the present place: it wins where places fit equally well.
    places: Ints = linear_sum_assignment(counts + 0.5 * np.eye(classes), maximize=True)[1]
    return places


def _ranks(labels: Ints) -> Ints:
    """Return the number of earlier samples with the same label, for each sample."""
    order = np.argsort(labels, kind="stable")
    starts = np.searchsorted(labels[order], labels[order])
    ranks = np.empty_like(labels)
    ranks[order] = np.arange(len(labels)) - starts
    return ranks


def _some_payloads(folder: PayloadFolder, labels: Sequence[int], most: int) -> list[Payload]:
    """Return up to `most` payloads of each of these classes, spread over the class."""
    of_class: dict[int, list[Payload]] = {label: [] for label in labels}
    for payload in folder.payloads:
        if payload.label in of_class:
            of_class[payload.label].append(payload)
    return [payload for payloads in of_class.values() for payload in payloads[:: -(-len(payloads) // most) or 1]]


def _answers(victim: CallSource, folder: PayloadFolder, payloads: Sequence[Payload]) -> tuple[Ints, Ints]:
    """Return the classes of the payloads' samples by the victim and by their folders, `[n]` each."""
    outputs, labels = [], []
    for payload in payloads:
        with contextlib.suppress(VictimError, FolderError):
            calls = victim.calls(read_row(payload))
            of_payload = [call.output for call in calls if call.output is not None]
            outputs += of_payload
            labels += [payload.label] * len(of_payload)
    classes = len(folder.class_names)
    try:
        kind = recognise(outputs, classes, graded=False)
        rows = [as_rows(output, kind, classes) for output in outputs]
    except (NoDistribution, VictimError, ValueError, RuntimeError):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    answers = [log_distribution(row, kind).argmax(dim=-1).numpy() for row in rows]
    return np.concatenate(answers), np.repeat(np.array(labels), [len(answer) for answer in answers])
