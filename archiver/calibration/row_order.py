"""How the samples that the victim's model is asked map to the requests of a batch, as payloads show it."""

import copy
import random
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from calpow.archiver.payloads import Payload, row
from calpow.handler.incoming import count_entries
from calpow.handler.policy.calibration_file import Rows
from calpow.handler.victim import Victim

# Payloads that are run, alone and in one batch.
MOST_TRIED = 16


def some_rows(payloads: Sequence[Payload], seed: int) -> list[dict[str, object]]:
    """The rows of up to MOST_TRIED payloads, chosen at random. Raises FolderError."""
    chosen = random.Random(seed).sample(payloads, min(MOST_TRIED, len(payloads)))  # noqa: S311
    return [row(payload) for payload in chosen]


def find_rows(victim: Victim, rows: Sequence[Mapping[str, object]]) -> Rows:
    """Run payloads alone and as one batch, in both orders, and tell how their samples map to requests.

    What cannot be shown is False.
    """
    alone = [_inputs(victim, [each]) for each in rows]
    in_order = _are_in_order(victim, rows, alone) and not _can_hold_several(victim, rows)
    return Rows(in_order=in_order, counted=_are_counted(rows, alone))


def _are_in_order(victim: Victim, rows: Sequence[Mapping[str, object]], alone: Sequence[Tensor | None]) -> bool:
    """Whether batches became one call of the model, with the one row that each request had alone, in their order."""
    single = [each for each in alone if each is not None and len(each) == 1]
    # Payloads that the model is asked the same for show no order.
    if len(single) < max(2, len(rows)) or all(torch.equal(each, single[0]) for each in single):
        return False
    for step in (1, -1):
        together, expected = _inputs(victim, rows[::step]), single[::step]
        if together is None or len(together) != len(expected):
            return False
        if not all(torch.equal(one, other) for one, other in zip(torch.split(together, 1), expected, strict=True)):
            return False
    return True


def _can_hold_several(victim: Victim, rows: Sequence[Mapping[str, object]]) -> bool:
    """Whether two payloads in one file are read as several samples, as lines of numbers or of text are.

    A thief could share his rows out among the requests of a batch then: as many rows as requests would prove nothing.
    """
    bodies = [value for each in rows[:2] for value in each.values() if isinstance(value, bytes)]
    if len(bodies) < len(rows[:2]):
        return False
    for between in (b"", b"\n", b" "):
        inputs = _inputs(victim, [{"body": between.join(bodies)}])
        if inputs is not None and len(inputs) != 1:
            return True
    return False


def _are_counted(rows: Sequence[Mapping[str, object]], alone: Sequence[Tensor | None]) -> bool:
    """Whether there are lists, and each became as many samples as it has entries."""
    entries = [count_entries(each) for each in rows]
    pairs = [(count, inputs) for count, inputs in zip(entries, alone, strict=True) if count is not None]
    return bool(pairs) and all(inputs is not None and len(inputs) == count for count, inputs in pairs)


def _inputs(victim: Victim, rows: Sequence[Mapping[str, object]]) -> Tensor | None:
    """What the model was asked for a batch in one call; None where the batch failed or took more calls, or none."""
    # Copies: a handler may change its rows in place.
    done = victim.run(copy.deepcopy(list(rows)), [(f"calibration-{index}", {}) for index in range(len(rows))])
    calls = done.recording.calls
    answered = isinstance(done.answers, list) and len(done.answers) == len(rows)
    if done.error is not None or not answered or done.recording.begun != 1 or len(calls) != 1:
        return None
    return calls[0].inputs
