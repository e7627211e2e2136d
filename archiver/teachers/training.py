"""The training behind `calpow teachers`: payloads -> trunk -> heads or networks, and references -> a file."""

import contextlib
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from calpow.archiver.errors import TrainingError
from calpow.archiver.teachers.accuracy import Accuracy, measure_accuracy
from calpow.archiver.teachers.checkpoints import Checkpoints
from calpow.archiver.teachers.export import write_ensemble
from calpow.archiver.teachers.heads import fit_heads
from calpow.archiver.teachers.independent import train_networks
from calpow.archiver.teachers.partitions import HELD_BACK
from calpow.archiver.teachers.references.fitting import fit_references
from calpow.archiver.teachers.references.observations import (
    Observations,
    TrainingObserver,
    choose_payloads,
    most_samples,
)
from calpow.archiver.teachers.teacher_order import NO_TRUNK, TeacherOrder
from calpow.archiver.teachers.teacher_plan import (
    TeacherData,
    TeacherPlan,
    describe_run,
    describe_values,
    divide_data,
    make_plan,
    training_device,
)
from calpow.archiver.teachers.training_set import TrainingSet, ValueSource, read_training_set
from calpow.archiver.teachers.trunk_advice import MOST_TRIED, TrunkTrial, TrunkTrials, advise, choose_part
from calpow.archiver.victim.recorded_calls import some_calls
from calpow.archiver.victim.victim_archive import OpenVictim, open_victim
from calpow.handler.config import file_sha256
from calpow.handler.errors import GateMisconfigured, TrunkError
from calpow.handler.leakage.references import LAST, References
from calpow.handler.leakage.tapping import find_features
from calpow.handler.leakage.teachers.ensemble import SCHEMA, EnsembleCard
from calpow.handler.leakage.teachers.heads import HeadEnsemble, NetworkEnsemble
from calpow.handler.leakage.teachers.trunks import VICTIM

# Independent teachers take long to vote; a thousand samples tell their accuracy to within 3 %.
MOST_MEASURED = 1000


@dataclass(frozen=True)
class _Samples:
    """The training samples: `values` `[n, ...]`, their classes `labels` `[n]` and their teachers `owners` `[n]`."""

    values: Tensor
    labels: Tensor
    owners: Tensor

    @classmethod
    def of(cls, training_set: TrainingSet, data: TeacherData) -> "_Samples":
        labels = torch.tensor([payload.label for payload in data.folder.payloads])
        owners = torch.tensor(data.partition.owners)
        return cls(training_set.values, labels[training_set.payloads], owners[training_set.payloads])


def train(order: TeacherOrder) -> EnsembleCard:
    """Train an ensemble, write it to `order.output` and return its card.

    An interrupted run continues where it stopped. Raises TrainingError, FolderError, PartitionError, TrunkError,
    NetworkError or VictimError.
    """
    command = order.command
    order = order.checked()
    data = divide_data(order)
    with open_victim(order.victim) as victim:
        plan, trunk = make_plan(order, victim, data)
        checkpoints = Checkpoints(order.output, describe_run(order, plan, victim.fingerprint, data))
        if checkpoints.resumes:
            _log(f"continuing the training of {order.output.name} that was interrupted")
        shape = None if plan.trunk == VICTIM else plan.input_shape
        source = ValueSource(trunk, shape, plan.width, plan.kind, plan.classes)
        values = Checkpoints(order.output, describe_values(order, plan, victim.fingerprint))
        observer = _make_observer(plan, victim, data)
        training_set = read_training_set(victim, data.folder.payloads, data.digests, source, observer, values)
        victim_sha256 = victim.fingerprint
    references = fit_references(_observations(plan, training_set, data), plan.classes, plan.seed)
    samples = _Samples.of(training_set, data)
    if plan.trunk == VICTIM:
        plan, samples = _project(plan, samples, references)
    ensemble, accuracy = _train_ensemble(plan, trunk, samples, checkpoints)
    card = _card(order, plan, data, samples.owners, accuracy, victim_sha256)
    write_ensemble(ensemble.cpu(), card, references, order.output)
    checkpoints.remove()
    values.remove()
    if accuracy.weakness:
        _log(f"warning: {accuracy.weakness}")
        _log(f"note: {_advise(order, command, plan, data, TrunkTrial(plan.trunk, accuracy), references)}")
    return card


def _advise(
    order: TeacherOrder,
    command: str,
    plan: TeacherPlan,
    data: TeacherData,
    trained: TrunkTrial,
    references: References | None,
) -> str:
    """Try the trunks that suit the victim on a part of the data; return what they came to, in a sentence."""
    axes = None if references is None else references.axes.get(LAST)
    trials = TrunkTrials(plan.input_shape, plan.input_dtype, axes, plan.kind, plan.classes, plan.seed)
    chosen, owners = choose_part(data.partition.owners, MOST_TRIED)
    of_part = [data.folder.payloads[place] for place in chosen]
    with open_victim(order.victim) as victim:
        (example, *_) = some_calls(victim, of_part, 1, plan.seed)
        with contextlib.suppress(GateMisconfigured):  # then there are no axes of features either
            find_features(victim.recorder, example.arguments)
        tried = trials.run(victim, of_part, owners)
    own = next((trial for trial in tried if trial.trunk == plan.trunk), trained)
    return advise(own, tried, command)


def _make_observer(plan: TeacherPlan, victim: OpenVictim, data: TeacherData) -> TrainingObserver:
    """Return what takes numbers of the victim for references; their number is bounded, whatever the data."""
    observer = TrainingObserver(plan.kind, plan.classes, plan.input_shape, frozenset(), 1)
    (example, *_) = some_calls(victim, data.folder.payloads, 1, plan.seed)
    samples = most_samples(observer.observe([example], 0))
    labels = [payload.label for payload in data.folder.payloads]
    chosen = choose_payloads(data.digests, labels, samples, plan.seed)
    return replace(observer, chosen=chosen, samples_each=samples // len(chosen))


def _observations(plan: TeacherPlan, training_set: TrainingSet, data: TeacherData) -> Observations:
    labels = torch.tensor([payload.label for payload in data.folder.payloads])
    return Observations.of(training_set.observed, training_set.tokens, labels, plan.input_shape)


def _project(plan: TeacherPlan, samples: _Samples, references: References | None) -> tuple[TeacherPlan, _Samples]:
    """Return the plan and the samples of teachers on the axes of the victim's features."""
    axes = None if references is None else references.axes.get(LAST)
    if axes is None:
        raise TrunkError("the victim's model shows no features of the payloads: take another --trunk")
    return replace(plan, width=axes.shape[1]), replace(samples, values=samples.values @ axes)


def _train_ensemble(
    plan: TeacherPlan, trunk: nn.Module, samples: _Samples, checkpoints: Checkpoints
) -> tuple[nn.Module, Accuracy]:
    """Train on the samples that belong to teachers, and measure on those held back."""
    held_back = (samples.owners == HELD_BACK).nonzero()[:, 0]
    device = training_device()
    ensemble: HeadEnsemble | NetworkEnsemble
    if plan.trunk == NO_TRUNK:
        order = torch.randperm(len(held_back), generator=torch.Generator().manual_seed(plan.seed))
        held_back = held_back[order[:MOST_MEASURED]]
        ensemble = train_networks(
            plan.architecture,
            samples.values,
            samples.labels,
            samples.owners,
            plan.teachers,
            plan.epochs,
            plan.seed,
            checkpoints,
        )
    else:
        values, labels, owners = (tensor.to(device) for tensor in (samples.values, samples.labels, samples.owners))
        heads = fit_heads(values, labels, owners, plan.teachers, plan.classes)
        if not bool(torch.isfinite(heads.weight).all()):
            raise TrainingError("the trunk's features lead to NaN or infinite heads: scale the inputs in the handler")
        ensemble = HeadEnsemble(trunk, heads, plan.classes)
    ensemble = ensemble.to(device).eval()
    values, labels = samples.values[held_back].to(device), samples.labels[held_back].to(device)
    return ensemble, measure_accuracy(ensemble, values, labels)


def _card(
    order: TeacherOrder, plan: TeacherPlan, data: TeacherData, owners: Tensor, accuracy: Accuracy, victim_sha256: str
) -> EnsembleCard:
    return EnsembleCard(
        schema=SCHEMA,
        classes=plan.classes,
        class_names=data.folder.class_names,
        input_shape=plan.input_shape,
        layer=plan.layer,
        width=plan.width,
        torch="",
        teachers=plan.teachers,
        trunk=plan.trunk,
        network=Path(plan.network).name,
        epochs=plan.epochs,
        weights_sha256=file_sha256(order.weights) if order.weights else "",
        seed=plan.seed,
        partition_sizes=tuple(torch.bincount(owners[owners != HELD_BACK], minlength=plan.teachers).tolist()),
        partition_digests=data.partition_digests,
        measured_on=accuracy.samples,
        teacher_accuracy=accuracy.mean,
        worst_teacher_accuracy=accuracy.worst,
        vote_accuracy=accuracy.vote,
        share_at_ceiling=accuracy.ceiling,
        victim_sha256=victim_sha256,
    )


def _log(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
