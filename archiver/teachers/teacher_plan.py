"""Plan of an ensemble: an order completed by its data and by what its victim's inputs suit."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
from torch import nn

from calpow.archiver.data.class_order import compare_with_victim
from calpow.archiver.data.data_source import DataSource
from calpow.archiver.data.payloads import PayloadFolder
from calpow.archiver.progress import log_notes
from calpow.archiver.teachers.backbone import make_backbone
from calpow.archiver.teachers.export import export
from calpow.archiver.teachers.networks import MNISTNET, Architecture, source_file, try_network
from calpow.archiver.teachers.partitions import (
    Partition,
    divide,
    keep_copies_together,
    partition_digests,
    payload_digests,
)
from calpow.archiver.teachers.teacher_order import NO_TRUNK, TeacherOrder
from calpow.archiver.victim.examination import Examination, examine
from calpow.archiver.victim.recorded_calls import is_index, joined_inputs, some_calls
from calpow.archiver.victim.victim_archive import OpenVictim
from calpow.handler.config import file_sha256
from calpow.handler.errors import TrunkError
from calpow.handler.leakage.specs import OutputKind
from calpow.handler.leakage.teachers.ensemble import SCHEMA
from calpow.handler.leakage.teachers.trunks import TRUNKS, VICTIM, is_image, make_trunk

RIDGE_HEADS = "ridge"
# For MnistNet on 216 samples; more epochs hardly improve the vote.
EPOCHS = 20


@dataclass(frozen=True)
class TeacherPlan:
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
        """The network of each teacher."""
        return Architecture(self.network, self.classes, self.input_shape or ())


@dataclass(frozen=True)
class TeacherData:
    """The training data on disk: payloads with their digests, and the partition that divides them."""

    folder: PayloadFolder
    digests: Sequence[str]
    partition: Partition
    partition_digests: tuple[str, ...]


def divide_data(order: TeacherOrder) -> TeacherData:
    """Read the payloads of an order, and divide them among its teachers."""
    folder = DataSource(order.data, order.part, order.classes).read(order.victim)
    log_notes(folder.notes)
    digests = payload_digests(folder)
    together = keep_copies_together(folder, digests)
    copies = len(digests) - len(set(digests))
    if copies:
        log_notes([f"{copies} of {len(digests)} payloads are copies of others: each stays with its original"])
    partition = divide(together, order.teachers, order.seed)
    return TeacherData(folder, digests, partition, partition_digests(partition, digests))


def make_plan(order: TeacherOrder, victim: OpenVictim, data: TeacherData) -> tuple[TeacherPlan, nn.Module]:
    """Examine the victim; return the complete settings, chosen for its inputs, and the trunk."""
    found = examine(victim, data.folder, order.seed)
    warning = compare_with_victim(victim, data.folder, order.output, order.classes)
    log_notes((*found.remarks, *([warning] if warning else [])))
    name = order.trunk or default_trunk(found)
    independent = name == NO_TRUNK
    plan = TeacherPlan(
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


def _make_trunk(order: TeacherOrder, plan: TeacherPlan, victim: OpenVictim, folder: PayloadFolder) -> nn.Module:
    name, shape = plan.trunk, plan.input_shape
    if name in TRUNKS:
        return make_trunk(name, shape, order.seed).to(training_device())
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
    return backbone.to(training_device())


def describe_values(order: TeacherOrder, plan: TeacherPlan, victim_sha256: str) -> dict[str, object]:
    """Return everything but the payloads that determines the trunk's features of them."""
    return {
        "schema": SCHEMA,
        "trunk": [plan.trunk, plan.layer, plan.width, plan.input_shape, plan.classes, plan.kind.value, plan.seed],
        "cuda": torch.cuda.is_available(),
        "victim": victim_sha256,
        "files": [file_sha256(order.weights)] if order.weights else [],
        "torch": torch.__version__,
    }


def describe_run(order: TeacherOrder, plan: TeacherPlan, victim_sha256: str, data: TeacherData) -> dict[str, object]:
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


def training_device() -> torch.device:
    """Return the device to train on."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
