"""The work behind `calpow check`: an examination of a victim, in words."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from calpow.archiver.data.class_folders import list_names
from calpow.archiver.data.class_order import compare_with_victim
from calpow.archiver.data.data_source import DataSource
from calpow.archiver.data.payloads import PayloadFolder
from calpow.archiver.teachers.partitions import divide
from calpow.archiver.teachers.teacher_plan import default_trunk
from calpow.archiver.victim.examination import Examination, examine
from calpow.archiver.victim.victim_archive import open_victim


@dataclass(frozen=True)
class Checkup:
    """Results of an examination in words: named facts, and remarks for the owner."""

    facts: tuple[tuple[str, str], ...]
    remarks: tuple[str, ...]


def check_victim(victim: Path, data: Path, *, part: str, classes: Path | None, seed: int) -> Checkup:
    """Examine a victim on a folder of payloads. Paths are absolute.

    Raises the CalpowError that stands against protection, whose text says what to do.
    """
    folder = DataSource(data, part, classes).read(victim)
    # While the victim is open, the working directory is its own, which is removed afterwards.
    beside = Path(victim.name).resolve()
    with open_victim(victim) as opened:
        examination = examine(opened, folder, seed)
        examination.bad.check(examination.payloads)
        warning = compare_with_victim(opened, folder, beside, classes)
    remarks = [*folder.notes, *examination.remarks, *([warning] if warning else [])]
    return Checkup(tuple(_facts(examination, folder)), tuple(remarks))


def _facts(found: Examination, folder: PayloadFolder) -> Iterator[tuple[str, str]]:
    model = found.model
    weights = f"{model.weights:,} weights of {model.weights_dtype}" if model.weights else "no weights that show"
    yield "model", f"{model.name}, {weights}, on {model.device}, torch {model.torch}"
    tried = f"{found.payloads:,} of {len(folder.payloads):,} tried, all answered"
    yield "payloads", f"{tried}; {list_names(folder.class_names, 'class')}"
    yield "inputs", _inputs(found)
    yield "output", f"{found.kind.value.replace('_', ' ')} of {found.classes} classes"
    source = f"the input of its layer {found.layer}" if found.layer else "its output, since no last linear layer shows"
    yield "features", f"{found.width:,} numbers: {source}"
    depths = ", ".join(f"{depth.width:,} numbers of {depth.name}" for depth in found.depths)
    yield "depths", depths or "none besides the features"
    together = "one call of the model, one row a request, in order: requests run together"
    yield "batches", together if found.rows.in_order else "requests run one by one"
    yield "lists", "one sample an entry: priced before they run" if found.rows.counted else "not counted beforehand"
    yield "state", f"grows: {', '.join(found.remembers)}" if found.remembers else "none found"
    yield "time", f"{found.seconds * 1000:.1f} ms a payload in the median, without a server"
    trunk = default_trunk(found)
    yield "teachers", f"{divide(folder, None, 0).teachers} by default, on trunk {trunk}"


def _inputs(found: Examination) -> str:
    tensors = " and ".join(found.tensors) or "no tensors"
    calls, samples = found.calls_per_payload, found.samples_per_payload
    return f"{tensors}; {_range(calls)} of the model and {_range(samples, 'sample')} a payload"


def _range(counts: tuple[int, int], unit: str = "call") -> str:
    low, high = counts
    return f"{low} {unit}{'' if low == 1 else 's'}" if low == high else f"{low} to {high} {unit}s"
