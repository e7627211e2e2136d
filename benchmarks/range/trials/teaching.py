"""References and teachers of a domain's victim, fitted to its training data as `calpow teachers` does."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.range.domain import RangeDomain
from benchmarks.range.victims import QUERY_BATCH
from calpow.archiver.data.payloads import Payload, PayloadFolder
from calpow.archiver.progress import track
from calpow.archiver.teachers.accuracy import measure_accuracy
from calpow.archiver.teachers.export import write_ensemble
from calpow.archiver.teachers.heads import fit_heads
from calpow.archiver.teachers.partitions import HELD_BACK, Partition, divide, partition_digests
from calpow.archiver.teachers.references.fitting import fit_references
from calpow.archiver.teachers.references.observations import (
    PAYLOADS,
    Observations,
    TrainingObserver,
    choose_payloads,
    count_tokens,
    join,
    most_samples,
)
from calpow.handler.leakage.model_inputs import ModelInputs
from calpow.handler.leakage.recording import Recorder
from calpow.handler.leakage.references import LAST
from calpow.handler.leakage.specs import OutputKind
from calpow.handler.leakage.tapping import find_depths, find_features
from calpow.handler.leakage.teachers.ensemble import SCHEMA, EnsembleCard
from calpow.handler.leakage.teachers.heads import HeadEnsemble
from calpow.handler.leakage.teachers.trunks import VICTIM, make_trunk

SEED = 0


@dataclass(frozen=True)
class _Features:
    """The last features [n, f] of the training data, and what references are fitted to."""

    values: Tensor
    observations: Observations


@dataclass(frozen=True)
class _Described:
    """Members of an ensemble's card that name the victim's layer, the parts of the training data, and the victim."""

    layer: str
    partition_digests: tuple[str, ...]
    victim_sha256: str


def teach(domain: RangeDomain, recorder: Recorder, victim_sha256: str, output: Path) -> None:
    """Fit references and as many heads as the data allow, and write them to `output`."""
    inputs, labels = domain.training.inputs, domain.training.labels
    digests = [sha256(row.numpy().tobytes()).hexdigest() for row in inputs]
    # Equal inputs are one unit, so that no two teachers share one.
    payloads = tuple(
        Payload(output / digest, label, digest) for digest, label in zip(digests, labels.tolist(), strict=True)
    )
    partition = divide(PayloadFolder(domain.classes, payloads), None, SEED)
    features = _read(domain, recorder, digests)
    references = fit_references(features.observations, len(domain.classes), SEED)
    if references is None:
        raise ValueError(f"the victim of {domain.name} shows nothing that references could be fitted to")
    values = features.values @ references.axes[LAST]
    assert recorder.tap is not None
    blank = _Described(recorder.tap.name, partition_digests(partition, digests), victim_sha256)
    ensemble, card = _vote(domain, values, partition, blank)
    write_ensemble(ensemble, card, references, output)


def _read(domain: RangeDomain, recorder: Recorder, digests: Sequence[str]) -> _Features:
    inputs, labels = domain.training.inputs, domain.training.labels
    example = ModelInputs.of(inputs[:1])
    find_features(recorder, example)
    find_depths(recorder, example)
    shape, classes = tuple(inputs.shape[1:]), len(domain.classes)
    observer = TrainingObserver(OutputKind.logits, classes, shape, frozenset(), QUERY_BATCH)
    most = most_samples(observer.observe([recorder.replay(example)], 0))
    chosen = choose_payloads(digests, labels.tolist(), most, SEED)
    places = {digest: place for place, digest in enumerate(digests) if digest in chosen}
    kept = torch.zeros(len(inputs), dtype=torch.bool)
    kept[list(places.values())] = True
    features, rows, tokens = [], [], []
    batches = torch.split(torch.arange(len(inputs)), QUERY_BATCH)
    for index in track(batches, f"reading {domain.name}", "batch"):
        call = recorder.ask(inputs[index])
        assert call.features is not None
        features.append(call.features)
        tokens.append(observer.tokens([call]))
        observed = observer.observe([call], 0) | {PAYLOADS: index}
        rows.append({name: values[kept[index]] for name, values in observed.items()})
    return _Features(torch.cat(features), Observations.of(join(rows), count_tokens(tokens), labels, shape))


def _vote(
    domain: RangeDomain, values: Tensor, partition: Partition, described: _Described
) -> tuple[HeadEnsemble, EnsembleCard]:
    """Return heads on features `values` [n, d], and their card."""
    owners, labels, shape = torch.tensor(partition.owners), domain.training.labels, domain.training.inputs.shape[1:]
    classes = len(domain.classes)
    heads = fit_heads(values, labels, owners, partition.teachers, classes)
    ensemble = HeadEnsemble(make_trunk(VICTIM, tuple(shape), SEED), heads, classes).eval()
    held_back = owners == HELD_BACK
    accuracy = measure_accuracy(ensemble, values[held_back], labels[held_back])
    card = EnsembleCard(
        schema=SCHEMA,
        classes=classes,
        class_names=domain.classes,
        input_shape=tuple(shape),
        layer=described.layer,
        width=values.shape[1],
        torch="",
        teachers=partition.teachers,
        trunk=VICTIM,
        network="ridge",
        epochs=0,
        weights_sha256="",
        seed=SEED,
        partition_sizes=tuple(torch.bincount(owners[~held_back], minlength=partition.teachers).tolist()),
        partition_digests=described.partition_digests,
        measured_on=accuracy.samples,
        teacher_accuracy=accuracy.mean,
        worst_teacher_accuracy=accuracy.worst,
        vote_accuracy=accuracy.vote,
        share_at_ceiling=accuracy.ceiling,
        victim_sha256=described.victim_sha256,
    )
    return ensemble, card
