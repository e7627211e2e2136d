"""The training set of teachers: the victim's inputs, or the features that a frozen trunk computes from them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from tqdm import tqdm

from calpow.archiver.errors import TrainingError
from calpow.archiver.payloads import Payload, Preprocessor, model_inputs
from calpow.archiver.teachers.checkpoints import Checkpoints
from calpow.handler.leakage.ensemble import LARGEST_BATCH

# Payloads between two checkpoints.
PART = 512


@dataclass(frozen=True)
class TrainingSet:
    """The trunk's features of each sample, `values` float32 `[n, ...]`, and its payload, `payloads` int64 `[n]`."""

    values: Tensor
    payloads: Tensor


def read_training_set(
    victim: Preprocessor,
    payloads: Sequence[Payload],
    trunk: nn.Module,
    shape: tuple[int, ...],
    checkpoints: Checkpoints,
) -> TrainingSet:
    """Run every payload through the victim's handler and the trunk, in parts; those in `checkpoints` are done.

    `shape` is that of one input. Raises FolderError, and TrainingError for values that teachers cannot learn from.
    """
    values, counts = [], []
    with tqdm(total=len(payloads), desc="payloads", unit="payload", disable=None) as progress:
        for start in range(0, len(payloads), PART):
            name = f"samples-{start:08d}"
            part = payloads[start : start + PART]
            saved = checkpoints.load(name)
            if saved is None:
                saved = _read_part(victim, part, trunk, shape)
                checkpoints.save(name, saved)
            values.append(saved["values"])
            counts.append(saved["counts"])
            progress.update(len(part))
    joined = torch.cat(values)
    if bool((joined == joined[:1]).all()):
        raise TrainingError(
            "the victim's handler and the trunk make the same numbers of every payload: teachers cannot tell them"
            " apart; mend the handler, or take another --trunk"
        )
    return TrainingSet(joined, torch.arange(len(payloads)).repeat_interleave(torch.cat(counts)))


def _read_part(
    victim: Preprocessor, payloads: Sequence[Payload], trunk: nn.Module, shape: tuple[int, ...]
) -> dict[str, Tensor]:
    parts = []
    for payload, inputs in zip(payloads, model_inputs(victim, payloads), strict=True):
        if tuple(inputs.shape[1:]) != shape:
            raise TrainingError(
                f"{payload.path}: the victim's handler makes an input of shape {tuple(inputs.shape[1:])} of it and"
                f" of {shape} of others: teachers need one shape"
            )
        if not bool(torch.isfinite(inputs).all()):
            raise TrainingError(
                f"{payload.path}: the victim's handler makes NaN or infinite numbers of it: mend or remove it"
            )
        parts.append(inputs.cpu())
    values = torch.cat([trunk_values(trunk, batch) for batch in torch.split(torch.cat(parts), LARGEST_BATCH)])
    if not bool(torch.isfinite(values).all()):
        raise TrainingError("the trunk makes NaN or infinite features of the payloads: take another --trunk")
    return {"values": values, "counts": torch.tensor([len(inputs) for inputs in parts])}


def trunk_values(trunk: nn.Module, inputs: Tensor) -> Tensor:
    """Return the trunk's features of a batch, on the CPU."""
    device = next((tensor.device for tensor in _tensors(trunk)), torch.device("cpu"))
    with torch.inference_mode():
        values: Tensor = trunk(inputs.to(device, torch.float32)).cpu()
    return values


def _tensors(module: nn.Module) -> Iterable[Tensor]:
    yield from module.parameters()
    yield from module.buffers()
