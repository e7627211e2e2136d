"""The raw output of a victim: its kind, and the logarithms of its probabilities."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from calpow.handler.errors import BareClass, NoDistribution, VictimError
from calpow.handler.leakage.score import Array, array_of
from calpow.handler.leakage.specs import OutputKind

# Half precision and many classes leave sums this far from one.
SUM_TOLERANCE = 5e-3


def recognise(outputs: Sequence[Tensor], classes: int, *, graded: bool = True) -> OutputKind:
    """Return the kind of a victim's raw outputs, one for each call of its model, on 2 or more samples in all.

    Raises NoDistribution, whose text describes the output in one line, or BareClass for a class without
    probabilities, which counts as a certain one unless `graded`. Logarithms of independent (multi-label) sigmoids
    cannot be told from logits.
    """
    if not outputs:
        raise NoDistribution(_refusal("no tensor", "it must be floating-point numbers [samples, classes]"))
    if _are_binary(outputs, classes):
        return _recognise_numbers(torch.cat([output.reshape(-1) for output in outputs]), graded=graded)
    rows = [output.reshape(1, -1) if output.dim() < 2 else output for output in outputs]
    shapes = sorted({tuple(output.shape[1:]) for output in rows})
    if len(shapes) > 1:
        form = f"of several shapes, {shapes[0]} and {shapes[1]} a sample"
        raise NoDistribution(_refusal(form, "it must be one number a class for every sample"))
    return _recognise_rows(torch.cat(rows), classes, graded=graded)


def as_rows(output: Tensor | None, kind: OutputKind, classes: int) -> Tensor:
    """Return a raw output as rows `[n, classes]`, or `[n, 1]` of a binary kind.

    Raises VictimError when it has another form.
    """
    width = 1 if kind.is_binary else classes
    if output is not None:
        if output.dim() == 2 and output.shape[1] == width:
            return output
        if kind.is_binary and output.dim() < 2:
            return output.reshape(-1, 1)
        if output.dim() == 1 and len(output) == width:
            return output.unsqueeze(0)
    answer = "no tensor" if output is None else f"numbers of shape {tuple(output.shape)}"
    raise VictimError(f"the victim answered with {answer}: it must give one row of {width} numbers a sample")


def _are_binary(outputs: Sequence[Tensor], classes: int) -> bool:
    """Return whether each sample of a two-class model has a single number."""
    if classes != 2:
        return False
    return all(
        output.is_floating_point() and (output.dim() == 0 or output.shape[1:] == (1,) or output.dim() == 1)
        for output in outputs
    ) and any(output.dim() != 1 or len(output) != classes for output in outputs)


def _recognise_numbers(numbers: Tensor, *, graded: bool) -> OutputKind:
    """Return the kind of a two-class model's single numbers `[n]`."""
    values = numbers.detach().to("cpu", torch.float64)
    _check_numbers(values.reshape(-1, 1))
    if not values.isfinite().all():
        raise NoDistribution(_refusal("infinity for some inputs", "repair it before protecting it"))
    if not bool(((values >= 0) & (values <= 1)).all()):
        return OutputKind.binary_logit
    _check_graded(values, graded=graded)
    return OutputKind.binary_probability


def _recognise_rows(output: Tensor, classes: int, *, graded: bool) -> OutputKind:
    _check_form(output, classes)
    numbers = output.detach().to("cpu", torch.float64)
    _check_numbers(numbers)
    if bool((numbers >= 0).all() & (numbers <= 1).all()):
        return _recognise_shares(numbers, graded=graded)
    if bool((numbers <= SUM_TOLERANCE).all()) and _sum_to_one(numbers.exp()):
        return OutputKind.log_probabilities
    if bool(numbers.isinf().any()):
        raise NoDistribution(_refusal("minus infinity for some inputs", "repair it before protecting it"))
    return OutputKind.logits


def output_numbers(output: Tensor) -> Array:
    """Return raw output as an array, of the same type where numpy has it and of float32 where not."""
    return array_of(output.float() if output.dtype is torch.bfloat16 else output)


def answers(numbers: Array, kind: OutputKind) -> Array:
    """Return the likeliest class of each row of raw output `[n, classes]` or `[n, 1]`: int64 `[n]`.

    Of a tie, it is the first class.
    """
    if kind.is_binary:
        return (numbers[:, 0] > (0.5 if kind is OutputKind.binary_probability else 0.0)).astype(np.int64)
    likeliest: Array = numbers.argmax(axis=1)
    return likeliest


def log_distribution(output: Tensor, kind: OutputKind) -> Tensor:
    """Return normalised log-probabilities, float64 `[n, classes]` on the CPU, of raw output `[n, classes]` or `[n, 1]`.

    A row that gives no distribution (NaN, infinity, nothing above zero) becomes the uniform one: it is priced as the
    least certain answer, never as a free one, and does not change the rest of its batch.
    """
    numbers = output.detach().to("cpu", torch.float64)
    if kind is OutputKind.binary_probability:
        numbers = torch.cat([1 - numbers, numbers], dim=-1)
    elif kind is OutputKind.binary_logit:
        # Of one number, minus infinity would be certain where infinity is not.
        numbers = numbers.masked_fill(numbers.isinf(), torch.nan)
        numbers = torch.cat([torch.zeros_like(numbers), numbers], dim=-1)
    if kind in (OutputKind.probabilities, OutputKind.binary_probability):
        numbers = numbers.clamp(min=0.0).log()
    logs = numbers.log_softmax(dim=-1)
    missing = logs.isnan().any(dim=-1, keepdim=True)
    if not missing.any():
        return logs
    return torch.where(missing, torch.full_like(logs, 1 / logs.shape[-1]).log(), logs)


def _check_numbers(numbers: Tensor) -> None:
    if numbers.isnan().any() or (numbers == torch.inf).any():
        raise NoDistribution(_refusal("NaN or infinity for some inputs", "repair it before protecting it"))
    if bool((numbers == numbers[0]).all()):
        raise NoDistribution(_refusal("the same for every input", "give it the weights and data it was trained for"))


def _check_form(output: Tensor, classes: int) -> None:
    if output.dim() != 2 or not output.is_floating_point():
        form = f"of shape {tuple(output.shape)} and type {output.dtype}".replace("torch.", "")
        raise NoDistribution(_refusal(form, "it must be floating-point numbers [samples, classes]"))
    if len(output) < 2:
        raise NoDistribution(
            _refusal(f"{len(output)} rows in all", "it must give one row of numbers a sample, of two samples at least")
        )
    if output.shape[1] == 1:
        raise NoDistribution(_refusal("one number a sample", "a two-class model must answer with both classes"))
    if output.shape[1] != classes:
        raise NoDistribution(
            _refusal(f"{output.shape[1]} numbers a sample for {classes} classes", "give data of the victim's classes")
        )


def _recognise_shares(shares: Tensor, *, graded: bool) -> OutputKind:
    if not _sum_to_one(shares):
        raise NoDistribution(
            _refusal("numbers from 0 to 1 that do not sum to 1, as of several labels at once", "one label must apply")
        )
    _check_graded(shares, graded=graded)
    return OutputKind.probabilities


def _check_graded(shares: Tensor, *, graded: bool) -> None:
    if graded and bool(((shares == 0) | (shares == 1)).all()):
        raise BareClass(_refusal("a bare class without probabilities", "use --scores pate, which needs none"))


def _sum_to_one(shares: Tensor) -> bool:
    return bool(((shares.sum(dim=-1) - 1).abs() <= SUM_TOLERANCE).all())


def _refusal(form: str, advice: str) -> str:
    return f"the victim's output is no distribution over classes: {form}; {advice}"
