"""The examination of a victim on some payloads: what its handler makes of them, and what stands against protection.

`calpow check` prints it; `calpow teachers` does the same before it trains.
"""

import copy
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from calpow.archiver.data.payloads import BadPayloads, Payload, PayloadFolder, read_row
from calpow.archiver.victim.recorded_calls import output_kind, recorded_calls, shared_dtype, shared_shape
from calpow.archiver.victim.row_order import find_rows, some_rows
from calpow.archiver.victim.victim_archive import OpenVictim
from calpow.handler.errors import GateMisconfigured
from calpow.handler.leakage.batches import features_of
from calpow.handler.leakage.output import as_rows
from calpow.handler.leakage.recording import Call
from calpow.handler.leakage.specs import OutputKind
from calpow.handler.leakage.tapping import find_depths, find_features
from calpow.handler.policy.calibrated_policy import BatchRows

# Payloads that are run, spread over the classes.
TRIED = 64
# Payloads that are run again, to see what the ones between have changed.
REPEATED = 4
# A container of a handler that grows with each of this many requests or more holds on to them.
GROWING = 8
# Answers of one payload may differ by rounding where the machine shares the work out in another way.
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Depth:
    """An inner layer that scores look into: the name of a module, and how many numbers it shows of a sample."""

    name: str
    width: int


@dataclass(frozen=True)
class ModelFacts:
    """The class of a model, the number and the type of its weights, its device, and the version of torch."""

    name: str
    weights: int
    weights_dtype: str
    device: str
    torch: str


@dataclass(frozen=True)
class Examination:
    """Facts about a victim, seen on `payloads` payloads.

    inputs_shape: the shape of one input; None where inputs differ in shape or are several tensors, each described in
        `tensors`.
    calls_per_payload: the fewest and the most calls of the model for one payload; `samples_per_payload` likewise.
    layer, width: the module whose input are the features (empty where the output stands for them), and their number.
    remembers: attributes of the handler that grow with each request.
    repeatable: whether a payload gets the same answer after others.
    seconds: the median time of a pass over one payload, without a server.
    bad: payloads among these that the victim cannot read; all else is about the others.
    """

    payloads: int
    model: ModelFacts
    input_shape: tuple[int, ...] | None
    input_dtype: str
    tensors: tuple[str, ...]
    kind: OutputKind
    classes: int
    calls_per_payload: tuple[int, int]
    samples_per_payload: tuple[int, int]
    layer: str
    width: int
    depths: tuple[Depth, ...]
    rows: BatchRows
    remembers: tuple[str, ...]
    repeatable: bool
    explains: bool
    seconds: float
    bad: BadPayloads

    @property
    def remarks(self) -> tuple[str, ...]:
        """Sentences about properties that do not stand against protection, with the way to change them."""
        found = []
        if self.remembers:
            found.append(
                f"the handler keeps something of each request ({', '.join(self.remembers)} grows): its memory fills up,"
                " with and without protection; empty it in each request"
            )
        if not self.repeatable:
            found.append(
                "the same payload gets different answers: the handler draws random numbers or depends on the requests"
                " before; what is priced is still what is answered, but calibration sees other answers than users do"
            )
        if not self.rows.in_order:
            found.append(
                "requests of a batch run one by one, since a batch is not one call of the model with one row a request"
                " in order, each as it is alone (padding to the longest changes it): batchSize above 1 makes nothing"
                " faster"
            )
        if not self.explains:
            found.append("explanations are refused: the handler has none that can be priced")
        return tuple(found)


def examine(victim: OpenVictim, folder: PayloadFolder, seed: int) -> Examination:
    """Run the victim's handler on some payloads of a folder, alone, repeatedly and in batches of both orders.

    The recorder has taps on the features and the depths afterwards, where there are any. Takes seconds and trains
    nothing. Raises the CalpowError that stands against protection: FolderError where no payload can be read,
    VictimError for a model whose calls cannot be followed, NoDistribution for an output that is no distribution over
    the folder's classes.
    """
    payloads = _spread(folder.payloads, TRIED, seed)
    bad = BadPayloads()
    runs, seconds, before = _run(victim, payloads, bad)
    after = _sizes(victim)
    calls = [call for _, of_payload in runs for call in of_payload]
    classes = len(folder.class_names)
    kind = output_kind(calls, classes, graded=False)
    samples = [sum(len(as_rows(call.output, kind, classes)) for call in of_payload) for _, of_payload in runs]
    layer, width = _features(victim, calls[0], kind, classes)
    return Examination(
        payloads=len(payloads),
        model=_model_facts(victim),
        input_shape=shared_shape(calls, kind, classes),
        input_dtype=shared_dtype(calls),
        tensors=_tensors(calls),
        kind=kind,
        classes=classes,
        calls_per_payload=_extremes([len(of_payload) for _, of_payload in runs]),
        samples_per_payload=_extremes(samples),
        layer=layer,
        width=width,
        depths=_depths(victim, calls[0]),
        rows=find_rows(victim.victim, some_rows([payload for payload, _ in runs], seed)),
        remembers=_growing(before, after, len(runs) - 1),
        repeatable=_is_repeatable(victim, runs),
        explains=victim.victim.explains,
        seconds=statistics.median(seconds),
        bad=bad,
    )


def _spread(payloads: Sequence[Payload], most: int, seed: int) -> list[Payload]:
    """Return up to `most` payloads of all classes, the same number of each class as far as there are so many."""
    rng = np.random.default_rng(seed)
    of_class: dict[int, list[Payload]] = {}
    for index in rng.permutation(len(payloads)):
        of_class.setdefault(payloads[index].label, []).append(payloads[index])
    chosen: list[Payload] = []
    while len(chosen) < min(most, len(payloads)):
        chosen += [left.pop() for left in of_class.values() if left]
    return chosen[:most]


def _run(
    victim: OpenVictim, payloads: Sequence[Payload], bad: BadPayloads
) -> tuple[list[tuple[Payload, Sequence[Call]]], list[float], Mapping[str, int]]:
    """Return the model's calls for each payload, the seconds of each pass, and `_sizes` after the first.

    Not before it: a handler may load its names of classes with the first request.
    """
    runs, seconds = [], []
    sizes: Mapping[str, int] = {}
    begun = time.perf_counter()
    for payload, calls in recorded_calls(victim, payloads, bad=bad):
        now = time.perf_counter()
        runs.append((payload, calls))
        seconds.append(now - begun)
        if len(runs) == 1:
            sizes = _sizes(victim)
        begun = time.perf_counter()
    return runs, seconds, sizes


def _model_facts(victim: OpenVictim) -> ModelFacts:
    model = victim.recorder.model
    weights = list(model.parameters())
    return ModelFacts(
        name=type(getattr(model, "followed", model)).__name__,
        weights=sum(tensor.numel() for tensor in weights),
        weights_dtype=str(weights[0].dtype).removeprefix("torch.") if weights else "",
        device=str(victim.device),
        torch=str(torch.__version__),
    )


def _features(victim: OpenVictim, call: Call, kind: OutputKind, classes: int) -> tuple[str, int]:
    """Return the layer whose input are the victim's features, and how many these are; ("", 0) where none can be had."""
    try:
        tap = find_features(victim.recorder, call.arguments)
        replayed = victim.recorder.replay(call.arguments)
    except (GateMisconfigured, RuntimeError):
        return "", 0
    return tap.name, features_of(replayed, len(as_rows(replayed.output, kind, classes))).shape[1]


def _depths(victim: OpenVictim, call: Call) -> tuple[Depth, ...]:
    """Return the inner layers that scores look into; none where the model cannot be looked into."""
    try:
        names = find_depths(victim.recorder, call.arguments)
        shown = victim.recorder.replay(call.arguments).depths
    except (GateMisconfigured, RuntimeError):
        return ()
    return tuple(Depth(name, shown[name].shape[1]) for name in names if name in shown)


def _tensors(calls: Sequence[Call]) -> tuple[str, ...]:
    """Describe each tensor of the model's arguments: its type, and its shape with `?` where calls differ."""
    places: dict[int, list[Tensor]] = {}
    for call in calls:
        for index, tensor in enumerate(call.arguments.tensors):
            places.setdefault(index, []).append(tensor)
    return tuple(_described(tensors) for tensors in places.values())


def _described(tensors: Sequence[Tensor]) -> str:
    dtype = str(tensors[0].dtype).removeprefix("torch.")
    if len({tensor.dim() for tensor in tensors}) > 1:
        return f"{dtype} of several shapes"
    axes = zip(*[tensor.shape for tensor in tensors], strict=True)
    lengths = ["?" if len(set(axis)) > 1 else str(axis[0]) for axis in axes]
    return f"{dtype} [{', '.join(lengths)}]"


def _extremes(counts: Sequence[int]) -> tuple[int, int]:
    return min(counts), max(counts)


def _sizes(victim: OpenVictim) -> Mapping[str, int]:
    """Return the lengths of the containers that the handler, and the module that defines it, hold by name."""
    sizes = {}
    for owner, prefix in victim.victim.holders():
        for name, value in owner.items():
            if isinstance(value, list | dict | set) and not name.startswith("__"):
                sizes[f"{prefix}{name}"] = len(value)
    return sizes


def _growing(before: Mapping[str, int], after: Mapping[str, int], passes: int) -> tuple[str, ...]:
    """Return the names of the containers that grew with each pass, of which there were `passes` between."""
    least = min(GROWING, passes)
    return tuple(name for name, size in after.items() if passes and size - before.get(name, 0) >= least)


def _is_repeatable(victim: OpenVictim, runs: Sequence[tuple[Payload, Sequence[Call]]]) -> bool:
    """Return whether the first payloads get the same answers of the model again, after all the others."""
    for payload, calls in runs[:REPEATED]:
        again = victim.calls(copy.deepcopy(read_row(payload)))
        if len(again) != len(calls):
            return False
        for one, other in zip(calls, again, strict=True):
            if one.output is None or other.output is None or one.output.shape != other.output.shape:
                return False
            if not torch.allclose(one.output.float(), other.output.float(), rtol=TOLERANCE, atol=TOLERANCE):
                return False
    return True
