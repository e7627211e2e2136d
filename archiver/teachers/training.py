"""Training of the teacher ensemble: payloads -> trunk -> heads or networks -> an exported program."""

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from calpow.archiver.payloads import Folder, read_folder, samples
from calpow.archiver.teachers.accuracy import Accuracy, measure_accuracy
from calpow.archiver.teachers.backbone import PREFIX, make_backbone
from calpow.archiver.teachers.checkpoints import Checkpoints
from calpow.archiver.teachers.duplicates import keep_copies_together, payload_digests
from calpow.archiver.teachers.export import export, write_ensemble
from calpow.archiver.teachers.heads import VotingTeachers, fit_heads
from calpow.archiver.teachers.independent import IndependentTeachers, train_networks
from calpow.archiver.teachers.networks import MNISTNET, Architecture, absolute, source_file, try_network
from calpow.archiver.teachers.partitions import HELD_BACK, Partition, divide, seal
from calpow.archiver.teachers.training_set import TrainingError, TrainingSet, read_training_set
from calpow.archiver.teachers.trunks import TRUNKS, TrunkError, is_image, make_trunk
from calpow.archiver.victim_archive import OpenVictim, open_victim
from calpow.handler.config import file_sha256
from calpow.handler.leakage.ensemble import SCHEMA, EnsembleCard

NO_TRUNK = "none"
RIDGE_HEADS = "ridge"
# MnistNet on 216 samples: the vote of more epochs is hardly better.
EPOCHS = 20
# Independent teachers are slow to ask; a thousand samples tell their accuracy to 3 %.
MOST_MEASURED = 1000


@dataclass(frozen=True)
class Order:
    """What to train, from what, and where to put it; None leaves the choice to the data."""

    victim: Path
    data: Path
    output: Path
    teachers: int | None = None
    trunk: str | None = None
    seed: int = 0
    network: str | None = None
    epochs: int | None = None
    weights: Path | None = None


@dataclass(frozen=True)
class _Plan:
    """An order with everything chosen: what the training depends on besides its data."""

    trunk: str
    network: str
    epochs: int
    seed: int
    teachers: int
    classes: int
    input_shape: tuple[int, ...]

    @property
    def architecture(self) -> Architecture:
        return Architecture(self.network, self.classes, self.input_shape)


def train(order: Order) -> EnsembleCard:
    """Train an ensemble and write it to `order.output`; its card.

    An interrupted run goes on where it stopped. Raises TrainingError, FolderError, PartitionError, TrunkError,
    NetworkError or VictimError.
    """
    order = _checked(order)
    folder = read_folder(order.data)
    digests = payload_digests(folder)
    together = keep_copies_together(folder, digests)
    copies = len(digests) - len(set(digests))
    if copies:
        _tell(f"{copies} of {len(digests)} payloads are copies of others: each stays with its original")
    partition = divide(together, order.teachers, order.seed)
    sealed = seal(partition, digests)
    with open_victim(order.victim) as victim:
        plan, trunk = _planned(order, victim, folder, partition)
        done = Checkpoints(order.output, _run(order, plan, victim.sha256, folder, partition, digests))
        if done.resumes:
            _tell(f"going on with the training of {order.output.name} that was interrupted")
        data = read_training_set(victim, folder.payloads, trunk, plan.input_shape, done)
        victim_sha256 = victim.sha256
    labels = torch.tensor([payload.label for payload in folder.payloads])[data.payloads]
    owners = torch.tensor(partition.owners)[data.payloads]
    ensemble, accuracy = _trained(plan, trunk, data, labels, owners, done)
    card = EnsembleCard(
        schema=SCHEMA,
        classes=plan.classes,
        class_names=folder.class_names,
        input_shape=plan.input_shape,
        teachers=plan.teachers,
        trunk=plan.trunk,
        network=Path(plan.network).name,
        epochs=plan.epochs,
        weights_sha256=file_sha256(order.weights) if order.weights else "",
        seed=plan.seed,
        partition_sizes=tuple(torch.bincount(owners[owners != HELD_BACK], minlength=plan.teachers).tolist()),
        partition_digests=sealed,
        measured_on=accuracy.samples,
        teacher_accuracy=accuracy.mean,
        worst_teacher_accuracy=accuracy.worst,
        vote_accuracy=accuracy.vote,
        victim_sha256=victim_sha256,
    )
    write_ensemble(ensemble.cpu(), card, order.output)
    done.remove()
    if accuracy.weakness:
        _tell(f"warning: {accuracy.weakness}")
    return card


def _checked(order: Order) -> Order:
    """The order with absolute paths. Raises TrainingError or TrunkError where its parts do not fit each other."""
    output = order.output.resolve()
    if output.suffix != ".pt2" or not output.parent.is_dir():
        raise TrainingError(f"--output {order.output}: give a .pt2 file in a folder that exists")
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
    return replace(order, data=order.data.resolve(), output=output, weights=weights, network=network)


def _planned(order: Order, victim: OpenVictim, folder: Folder, partition: Partition) -> tuple[_Plan, nn.Module]:
    """What to train, once the first payload has shown what inputs are like; and the trunk."""
    first = next(samples(victim, folder.payloads[:1])).to(torch.float32)
    shape = tuple(first.shape[1:])
    classes = len(folder.class_names)
    _compare_classes(victim, first, classes, order.data)
    name = order.trunk or ("scattering" if is_image(shape) else "random")
    alone = name == NO_TRUNK
    network = (order.network or MNISTNET) if alone else RIDGE_HEADS
    epochs = (order.epochs or EPOCHS) if alone else 0
    plan = _Plan(name, network, epochs, order.seed, partition.teachers, classes, shape)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if alone:
        try_network(plan.architecture, first[:1].cpu().repeat(2, *[1] * len(shape)))
        # Whether they can be stored is known before the training, not after it.
        export(plan.architecture.make().eval(), shape)
        return plan, nn.Identity()
    if name.startswith(PREFIX):
        backbone = make_backbone(name, order.weights, shape)
        export(backbone, shape)
        return plan, backbone.to(device)
    return plan, make_trunk(name, shape, order.seed).to(device)


def _compare_classes(victim: OpenVictim, inputs: Tensor, classes: int, data: Path) -> None:
    """Refuse data of other classes than the victim's, as far as its output shows them."""
    try:
        output = victim.infer(inputs.to(victim.device))
    except Exception:  # the owner's code; teachers do without the victim's answers
        return
    # A single output tells two classes apart.
    if output.dim() != 2 or output.shape[1] == 1 or output.shape[1] == classes:
        return
    difference = f"the victim tells {output.shape[1]} classes apart, {data} has {classes} class folders"
    if output.shape[1] < classes:
        raise TrainingError(f"{difference}: give a folder for each of the victim's classes and no others")
    _tell(f"warning: {difference}: teachers never vote for the others")


def _run(
    order: Order, plan: _Plan, victim_sha256: str, folder: Folder, partition: Partition, digests: Sequence[str]
) -> dict[str, object]:
    """Everything that decides what the run makes."""
    source = source_file(plan.network) if plan.trunk == NO_TRUNK else None
    files = [file_sha256(each) for each in (order.weights, source) if each]
    labels = [payload.label for payload in folder.payloads]
    about = {"victim": victim_sha256, "files": files, "torch": torch.__version__}
    data = {"names": folder.class_names, "labels": labels, "owners": partition.owners, "digests": list(digests)}
    return {"plan": asdict(plan), "cuda": torch.cuda.is_available(), **about, **data}


def _trained(
    plan: _Plan, trunk: nn.Module, data: TrainingSet, labels: Tensor, owners: Tensor, done: Checkpoints
) -> tuple[nn.Module, Accuracy]:
    unseen = (owners == HELD_BACK).nonzero()[:, 0]
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    ensemble: VotingTeachers | IndependentTeachers
    if plan.trunk == NO_TRUNK:
        chosen = torch.randperm(len(unseen), generator=torch.Generator().manual_seed(plan.seed))
        unseen = unseen[chosen[:MOST_MEASURED]]
        ensemble = train_networks(
            plan.architecture, data.values, labels, owners, plan.teachers, plan.epochs, plan.seed, done
        )
    else:
        values, owned = data.values.to(device), owners.to(device)
        heads = fit_heads(values, labels.to(device), owned, plan.teachers, plan.classes)
        if not bool(torch.isfinite(heads.weight).all()):
            raise TrainingError("the trunk's features lead to NaN or infinite heads: scale the inputs in the handler")
        ensemble = VotingTeachers(trunk, heads, plan.classes)
    ensemble = ensemble.to(device).eval()
    return ensemble, measure_accuracy(ensemble, data.values[unseen].to(device), labels[unseen].to(device))


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
