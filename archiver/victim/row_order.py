"""Detection of how the samples that reach the victim's model map to the requests of a batch."""

import copy
import random
from collections.abc import Mapping, Sequence

from calpow.archiver.data.payloads import Payload, read_row
from calpow.archiver.progress import track
from calpow.handler.leakage.recording import Call
from calpow.handler.policy.calibrated_policy import BatchRows
from calpow.handler.torchserve_request import count_entries
from calpow.handler.victim import Victim

# The most payloads that are run, alone and in one batch.
MOST_TRIED = 16


def some_rows(payloads: Sequence[Payload], seed: int) -> list[dict[str, object]]:
    """Return the rows of up to MOST_TRIED payloads, chosen at random. Raises FolderError."""
    chosen = random.Random(seed).sample(payloads, min(MOST_TRIED, len(payloads)))  # noqa: S311
    return [read_row(payload) for payload in chosen]


def find_rows(victim: Victim, rows: Sequence[Mapping[str, object]]) -> BatchRows:
    """Run payloads alone and as one batch, in both orders, and return how their samples map to requests.

    A property that these runs do not show is False. Decision 0008.
    """
    alone = [_only_call(victim, [row]) for row in track(rows, "trying batches", "payload")]
    in_order = _are_in_order(victim, rows, alone) and not _can_hold_several(victim, rows)
    return BatchRows(in_order=in_order, counted=_are_counted(rows, alone))


def _are_in_order(victim: Victim, rows: Sequence[Mapping[str, object]], alone: Sequence[Call | None]) -> bool:
    """Return whether every batch was one call of the model, on one sample a request, in the order of the requests."""
    single = [call.arguments for call in alone if call is not None and call.rows == 1]
    # Payloads that give the model equal inputs show no order.
    if len(single) < max(2, len(rows)) or all(arguments.equals(single[0]) for arguments in single):
        return False
    for step in (1, -1):
        together, expected = _only_call(victim, rows[::step]), single[::step]
        parts = together.arguments.rows(len(expected)) if together is not None else None
        if parts is None or not all(one.equals(other) for one, other in zip(parts, expected, strict=True)):
            return False
    return True


def _can_hold_several(victim: Victim, rows: Sequence[Mapping[str, object]]) -> bool:
    """Return whether two payloads joined into one body are read as several samples, as lines of text may be.

    A thief could then move samples between the requests of a batch: as many samples as requests would prove nothing.
    """
    bodies = [value for row in rows[:2] for value in row.values() if isinstance(value, bytes)]
    if len(bodies) < len(rows[:2]):
        return False
    for between in (b"", b"\n", b" "):
        call = _only_call(victim, [{name: between.join(bodies) for name in rows[0]}])
        if call is not None and call.rows != 1:
            return True
    return False


def _are_counted(rows: Sequence[Mapping[str, object]], alone: Sequence[Call | None]) -> bool:
    """Return whether there are lists, and the handler read from every list as many samples as it has entries."""
    entries = [count_entries(row) for row in rows]
    pairs = [(count, call) for count, call in zip(entries, alone, strict=True) if count is not None]
    return bool(pairs) and all(call is not None and call.rows == count for count, call in pairs)


def _only_call(victim: Victim, rows: Sequence[Mapping[str, object]]) -> Call | None:
    """Return the model's call for a batch; None when the batch failed or did not take exactly one call."""
    # Copies: a handler may change its rows in place.
    done = victim.run(copy.deepcopy(list(rows)), [(f"calibration-{index}", {}) for index in range(len(rows))])
    calls = done.recording.calls
    answered = isinstance(done.answers, list) and len(done.answers) == len(rows)
    if done.error is not None or not answered or done.recording.begun != 1 or len(calls) != 1:
        return None
    return calls[0]
