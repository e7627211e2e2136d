"""The training behind `calpow teachers`: payloads -> trunk -> heads or networks, and references -> a file."""

import contextlib
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from calpow.archiver.data.class_order import compare_with_victim
from calpow.archiver.data.data_source import DataSource
from calpow.archiver.data.media_types import BODY
from calpow.archiver.data.payloads import PayloadFolder
from calpow.archiver.errors import TrainingError
from calpow.archiver.teachers.accuracy import Accuracy, measure_accuracy
from calpow.archiver.teachers.backbone import PREFIX, make_backbone
from calpow.archiver.teachers.checkpoints import Checkpoints
from calpow.archiver.teachers.export import export, write_ensemble
from calpow.archiver.teachers.heads import fit_heads
from calpow.archiver.teachers.independent import train_networks
from calpow.archiver.teachers.networks import MNISTNET, Architecture, absolute, source_file, try_network
from calpow.archiver.teachers.partitions import (
    HELD_BACK,
    Partition,
    divide,
    keep_copies_together,
    partition_digests,
    payload_digests,
)
from calpow.archiver.teachers.references.fitting import fit_references
from calpow.archiver.teachers.references.observations import (
    Observations,
    TrainingObserver,
    choose_payloads,
    most_samples,
)
from calpow.archiver.teachers.training_set import TrainingSet, ValueSource, read_training_set
from calpow.archiver.teachers.trunk_advice import MOST_TRIED, TrunkTrial, TrunkTrials, advise, choose_part
from calpow.archiver.victim.examination import Examination, examine
from calpow.archiver.victim.recorded_calls import is_index, joined_inputs, some_calls
from calpow.archiver.victim.victim_archive import OpenVictim, open_victim
from calpow.handler.config import file_sha256
from calpow.handler.errors import GateMisconfigured, TrunkError
from calpow.handler.leakage.references import LAST, References
from calpow.handler.leakage.specs import OutputKind
from calpow.handler.leakage.tapping import find_features
from calpow.handler.leakage.teachers.ensemble import SCHEMA, EnsembleCard
from calpow.handler.leakage.teachers.heads import HeadEnsemble, NetworkEnsemble
from calpow.handler.leakage.teachers.trunks import TRUNKS, VICTIM, is_image, make_trunk

NO_TRUNK = "none"
RIDGE_HEADS = "ridge"
# For MnistNet on 216 samples; more epochs hardly improve the vote.
EPOCHS = 20
# Independent teachers take long to vote; a thousand samples tell their accuracy to within 3 %.
MOST_MEASURED = 1000


@dataclass(frozen=True)
class TeacherOrder:
    """An order for an ensemble: data, teachers, and the file to write. Members that are None are chosen by the data.

    `part` carries the payload in a request; `classes` is a file that names the classes in the order of the victim's.
    """

    victim: Path
    data: Path
    output: Path
    teachers: int | None = None
    trunk: str | None = None
    seed: int = 0
    network: str | None = None
    epochs: int | None = None
    weights: Path | None = None
    part: str = BODY
    classes: Path | None = None


@dataclass(frozen=True)
class _Plan:
    """A complete order: all settings that the training depends on besides its data."""

    trunk: str
    network: str
    epochs: int
    seed: int
    teachers: int
    classes: int
    input_shape: tuple[int, ...] | None
    input_dtype: str
    kind: OutputKind
    layer: str
    width: int

    @property
    def architecture(self) -> Architecture:
        return Architecture(self.network, self.classes, self.input_shape or ())


@dataclass(frozen=True)
class _Data:
    """The training data on disk: payloads with their digests, and the partition that divides them."""

    folder: PayloadFolder
    digests: Sequence[str]
    partition: Partition
    partition_digests: tuple[str, ...]


@dataclass(frozen=True)
class _Samples:
    """The training samples: `values` `[n, ...]`, their classes `labels` `[n]` and their teachers `owners` `[n]`."""

    values: Tensor
    labels: Tensor
    owners: Tensor

    @classmethod
    def of(cls, training_set: TrainingSet, data: _Data) -> "_Samples":
        labels = torch.tensor([payload.label for payload in data.folder.payloads])
        owners = torch.tensor(data.partition.owners)
        return cls(training_set.values, labels[training_set.payloads], owners[training_set.payloads])


def train(order: TeacherOrder) -> EnsembleCard:
    """Train an ensemble, write it to `order.output` and return its card.

    An interrupted run continues where it stopped. Raises TrainingError, FolderError, PartitionError, TrunkError,
    NetworkError or VictimError.
    """
    command = _command(order)
    order = _check(order)
    data = _divide_data(order)
    with open_victim(order.victim) as victim:
        plan, trunk = _plan(order, victim, data)
        checkpoints = Checkpoints(order.output, _describe_run(order, plan, victim.fingerprint, data))
        if checkpoints.resumes:
            _log(f"continuing the training of {order.output.name} that was interrupted")
        shape = None if plan.trunk == VICTIM else plan.input_shape
        source = ValueSource(trunk, shape, plan.width, plan.kind, plan.classes)
        values = Checkpoints(order.output, _describe_values(order, plan, victim.fingerprint))
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


def _check(order: TeacherOrder) -> TeacherOrder:
    """Return the order with absolute paths. Raises TrainingError or TrunkError when its members contradict."""
    output = order.output.resolve()
    if output.suffix != ".pt" or not output.parent.is_dir():
        raise TrainingError(f"--output {order.output}: give a .pt file in a folder that exists")
    trunk = order.trunk
    if trunk is not None and trunk not in (NO_TRUNK, *TRUNKS) and not trunk.startswith(PREFIX):
        raise TrunkError(f"there is no trunk {trunk}: take one of {', '.join((NO_TRUNK, *TRUNKS))}, {PREFIX}resnet18")
    if trunk != NO_TRUNK and (order.network is not None or order.epochs is not None):
        raise TrainingError("--network and --epochs are for independent teachers: give --trunk none with them")
    if order.weights and not (trunk or "").startswith(PREFIX):
        raise TrainingError(f"--weights are for a public backbone: give --trunk {PREFIX}resnet18, or its like, with it")
    if order.epochs is not None and order.epochs < 1:
        raise TrainingError(f"there cannot be {order.epochs} epochs: give at least one")
    weights = order.weights.resolve() if order.weights else None
    network = absolute(order.network) if order.network else None
    return replace(
        order,
        victim=order.victim.resolve(),
        data=order.data.resolve(),
        output=output,
        weights=weights,
        network=network,
        classes=order.classes and order.classes.resolve(),
    )


def _divide_data(order: TeacherOrder) -> _Data:
    folder = DataSource(order.data, order.part, order.classes).read(order.victim)
    for note in folder.notes:
        _log(f"note: {note}")
    digests = payload_digests(folder)
    together = keep_copies_together(folder, digests)
    copies = len(digests) - len(set(digests))
    if copies:
        _log(f"{copies} of {len(digests)} payloads are copies of others: each stays with its original")
    partition = divide(together, order.teachers, order.seed)
    return _Data(folder, digests, partition, partition_digests(partition, digests))


def _plan(order: TeacherOrder, victim: OpenVictim, data: _Data) -> tuple[_Plan, nn.Module]:
    """Examine the victim; return the complete settings, chosen for its inputs, and the trunk."""
    found = examine(victim, data.folder, order.seed)
    warning = compare_with_victim(victim, data.folder, order.output, order.classes)
    for remark in (*found.remarks, *([warning] if warning else [])):
        _log(f"note: {remark}")
    name = order.trunk or default_trunk(found)
    independent = name == NO_TRUNK
    plan = _Plan(
        trunk=name,
        network=(order.network or MNISTNET) if independent else RIDGE_HEADS,
        epochs=(order.epochs or EPOCHS) if independent else 0,
        seed=order.seed,
        teachers=data.partition.teachers,
        classes=found.classes,
        input_shape=found.input_shape,
        input_dtype=found.input_dtype,
        kind=found.kind,
        layer=found.layer if name == VICTIM else "",
        width=found.width if name == VICTIM else 0,
    )
    if name == VICTIM and not plan.width:
        raise TrunkError("the victim's model shows no features: take another --trunk")
    return plan, _make_trunk(order, plan, victim, data.folder)


def default_trunk(found: Examination) -> str:
    """Return the trunk for a victim: its own features where it shows some, else one that its inputs suit.

    Where only the output stands for the features, trunks on the inputs know more, if the inputs are one batch of
    quantities.
    """
    if found.layer or found.input_shape is None or is_index(found.input_dtype):
        return VICTIM
    return "scattering" if is_image(found.input_shape) else "random"


def _make_trunk(order: TeacherOrder, plan: _Plan, victim: OpenVictim, folder: PayloadFolder) -> nn.Module:
    name, shape = plan.trunk, plan.input_shape
    if name in TRUNKS:
        return make_trunk(name, shape, order.seed).to(_device())
    if shape is None:
        raise TrunkError(
            f"the model takes inputs of several shapes or several tensors, --trunk {name} takes one:"
            " take --trunk victim"
        )
    if name == NO_TRUNK:
        calls = some_calls(victim, folder.payloads, 1, order.seed)
        inputs = joined_inputs(calls[:1], plan.kind, plan.classes)[:1].to("cpu", torch.float32)
        try_network(plan.architecture, inputs.repeat(2, *[1] * len(shape)))
        # A network that cannot be exported is refused before the training, not after it.
        export(plan.architecture.make().eval(), shape)
        return nn.Identity()
    backbone = make_backbone(name, order.weights, shape)
    export(backbone, shape)
    return backbone.to(_device())


def _command(order: TeacherOrder) -> str:
    """Return the command of an order, without its trunk."""
    words = ["calpow", "teachers", "--victim", str(order.victim), "--data", str(order.data)]
    words += ["--output", str(order.output)]
    words += ["--teachers", str(order.teachers)] if order.teachers else []
    words += ["--seed", str(order.seed)] if order.seed else []
    words += ["--part", order.part] if order.part != BODY else []
    words += ["--classes", str(order.classes)] if order.classes else []
    return shlex.join(words)


def _advise(
    order: TeacherOrder, command: str, plan: _Plan, data: _Data, trained: TrunkTrial, references: References | None
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


def _make_observer(plan: _Plan, victim: OpenVictim, data: _Data) -> TrainingObserver:
    """Return what takes numbers of the victim for references; their number is bounded, whatever the data."""
    observer = TrainingObserver(plan.kind, plan.classes, plan.input_shape, frozenset(), 1)
    (example, *_) = some_calls(victim, data.folder.payloads, 1, plan.seed)
    samples = most_samples(observer.observe([example], 0))
    labels = [payload.label for payload in data.folder.payloads]
    chosen = choose_payloads(data.digests, labels, samples, plan.seed)
    return replace(observer, chosen=chosen, samples_each=samples // len(chosen))


def _observations(plan: _Plan, training_set: TrainingSet, data: _Data) -> Observations:
    labels = torch.tensor([payload.label for payload in data.folder.payloads])
    return Observations.of(training_set.observed, training_set.tokens, labels, plan.input_shape)


def _project(plan: _Plan, samples: _Samples, references: References | None) -> tuple[_Plan, _Samples]:
    """Return the plan and the samples of teachers on the axes of the victim's features."""
    axes = None if references is None else references.axes.get(LAST)
    if axes is None:
        raise TrunkError("the victim's model shows no features of the payloads: take another --trunk")
    return replace(plan, width=axes.shape[1]), replace(samples, values=samples.values @ axes)


def _describe_values(order: TeacherOrder, plan: _Plan, victim_sha256: str) -> dict[str, object]:
    """Return everything but the payloads that determines the trunk's features of them."""
    return {
        "schema": SCHEMA,
        "trunk": [plan.trunk, plan.layer, plan.width, plan.input_shape, plan.classes, plan.kind.value, plan.seed],
        "cuda": torch.cuda.is_available(),
        "victim": victim_sha256,
        "files": [file_sha256(order.weights)] if order.weights else [],
        "torch": torch.__version__,
    }


def _describe_run(order: TeacherOrder, plan: _Plan, victim_sha256: str, data: _Data) -> dict[str, object]:
    """Return everything that determines the output of the run."""
    source = source_file(plan.network) if plan.trunk == NO_TRUNK else None
    return {
        "plan": asdict(plan) | {"kind": plan.kind.value},
        "cuda": torch.cuda.is_available(),
        "victim": victim_sha256,
        "files": [file_sha256(file) for file in (order.weights, source) if file],
        "torch": torch.__version__,
        "names": data.folder.class_names,
        "labels": [payload.label for payload in data.folder.payloads],
        "owners": data.partition.owners,
        "digests": list(data.digests),
    }


def _train_ensemble(
    plan: _Plan, trunk: nn.Module, samples: _Samples, checkpoints: Checkpoints
) -> tuple[nn.Module, Accuracy]:
    """Train on the samples that belong to teachers, and measure on those held back."""
    held_back = (samples.owners == HELD_BACK).nonzero()[:, 0]
    device = _device()
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
    order: TeacherOrder, plan: _Plan, data: _Data, owners: Tensor, accuracy: Accuracy, victim_sha256: str
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


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _log(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
