"""The kinds of raw output a victim may have, and the logarithms of its probabilities from each kind."""

from enum import Enum

import torch
from torch import Tensor

from calpow.handler.errors import BareClass, NoDistribution

# Half precision and many classes leave sums this far from one.
SUM_TOLERANCE = 5e-3


class OutputKind(Enum):
    """Meaning of the numbers that the victim's model returns, one row a sample."""

    probabilities = "probabilities"
    log_probabilities = "log_probabilities"
    logits = "logits"


def recognise(output: Tensor, classes: int) -> OutputKind:
    """Return the kind of a victim's raw output, from a batch of 2 or more different samples.

    Raises NoDistribution, whose text describes the output in one line, or BareClass for a class without
    probabilities. Logarithms of independent (multi-label) sigmoids cannot be told from logits.
    """
    _check_form(output, classes)
    numbers = output.detach().to("cpu", torch.float64)
    if numbers.isnan().any() or (numbers == torch.inf).any():
        raise NoDistribution(_refusal("NaN or infinity for some inputs", "repair it before protecting it"))
    if bool((numbers == numbers[0]).all()):
        raise NoDistribution(_refusal("the same for every input", "give it the weights and data it was trained for"))
    if bool((numbers >= 0).all() & (numbers <= 1).all()):
        return _recognise_shares(numbers)
    if bool((numbers <= SUM_TOLERANCE).all()) and _sum_to_one(numbers.exp()):
        return OutputKind.log_probabilities
    if bool(numbers.isinf().any()):
        raise NoDistribution(_refusal("minus infinity for some inputs", "repair it before protecting it"))
    return OutputKind.logits


def log_distribution(output: Tensor, kind: OutputKind) -> Tensor:
    """Return normalised log-probabilities, float64 `[n, classes]` on the CPU, of raw output `[n, classes]`.

    A row that gives no distribution (NaN, infinity, nothing above zero) becomes the uniform one: it is priced as the
    least certain answer, never as a free one, and does not change the rest of its batch.
    """
    numbers = output.detach().to("cpu", torch.float64)
    if kind is OutputKind.probabilities:
        numbers = numbers.clamp(min=0.0).log()
    logs = numbers.log_softmax(dim=-1)
    missing = logs.isnan().any(dim=-1, keepdim=True)
    if not missing.any():
        return logs
    return torch.where(missing, torch.full_like(logs, 1 / logs.shape[-1]).log(), logs)


def _check_form(output: Tensor, classes: int) -> None:
    if output.dim() != 2 or not output.is_floating_point():
        form = f"of shape {tuple(output.shape)} and type {output.dtype}".replace("torch.", "")
        raise NoDistribution(_refusal(form, "it must be floating-point numbers [samples, classes]"))
    if len(output) < 2:
        raise ValueError("one sample does not show what kind of output a victim has")
    if output.shape[1] == 1:
        raise NoDistribution(_refusal("one number a sample", "a two-class model must answer with both classes"))
    if output.shape[1] != classes:
        raise NoDistribution(
            _refusal(f"{output.shape[1]} numbers a sample for {classes} classes", "give data of the victim's classes")
        )


def _recognise_shares(shares: Tensor) -> OutputKind:
    if not _sum_to_one(shares):
        raise NoDistribution(
            _refusal("numbers from 0 to 1 that do not sum to 1, as of several labels at once", "one label must apply")
        )
    if bool(((shares == 0) | (shares == 1)).all()):
        raise BareClass(_refusal("a bare class without probabilities", "use --metric pate, which needs none"))
    return OutputKind.probabilities


def _sum_to_one(shares: Tensor) -> bool:
    return bool(((shares.sum(dim=-1) - 1).abs() <= SUM_TOLERANCE).all())


def _refusal(form: str, advice: str) -> str:
    return f"the victim's output is no distribution over classes: {form}; {advice}"
