"""Numbers of a sample of the training data, kept while the payloads pass the victim; references are fitted to them."""

import contextlib
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  # the customary name

from calpow.handler.errors import VictimError
from calpow.handler.leakage.batches import features_of, id_rows, input_rows
from calpow.handler.leakage.output import as_rows
from calpow.handler.leakage.recording import Call
from calpow.handler.leakage.references import LAST
from calpow.handler.leakage.specs import OutputKind
from calpow.handler.leakage.teachers.trunks import is_image

MOST_SAMPLES, FEWEST_SAMPLES = 20_000, 1000
# Numbers of all samples together, 400 MB: samples of many numbers are fewer.
MOST_NUMBERS = 100_000_000
# Inputs of more numbers, after pooling, have no mixture.
MOST_INPUTS = 1024
# Images are averaged until their longer side has this many pixels or fewer.
POOLED_SIDE = 16
# Whole numbers from this one on are no indices of words.
LARGEST_VOCABULARY = 1 << 20
# Names of the tensors of a part; LAYER begins those of layers.
PAYLOADS, LAYER, INPUTS, TOKENS, COUNTS = "observed", "layer:", "inputs", "tokens", "token counts"


@dataclass(frozen=True)
class Observations:
    """Numbers of m samples of the training data, and the counts of the whole numbers in all of its inputs.

    labels: int64 `[m]`, the samples' classes.
    layers: float32 `[m, f]` by the layer's name; LAST for the victim's features.
    inputs: float32 `[m, p]`, pooled over squares of side `pool` and flattened; None where inputs are no small images or
        tables.
    token_counts: int64 `[vocabulary]`; None where inputs are no whole numbers.
    """

    labels: Tensor
    layers: Mapping[str, Tensor]
    inputs: Tensor | None
    pool: int
    is_image: bool
    token_counts: Tensor | None

    @classmethod
    def of(
        cls,
        rows: Mapping[str, Tensor],
        tokens: Mapping[str, Tensor],
        labels: Tensor,
        shape: tuple[int, ...] | None,
    ) -> "Observations":
        """Return the observations `rows` and `tokens` with the classes `labels` of all payloads, int64 `[n]`."""
        return cls(
            labels=labels[rows[PAYLOADS]] if rows else torch.empty(0, dtype=torch.int64),
            layers={name.removeprefix(LAYER): values for name, values in rows.items() if name.startswith(LAYER)},
            inputs=rows.get(INPUTS),
            pool=pool_side(shape) or 1,
            is_image=shape is not None and is_image(shape),
            token_counts=sum_tokens(tokens[TOKENS], tokens[COUNTS]),
        )


@dataclass(frozen=True)
class TrainingObserver:
    """Takes from the model's calls what references are fitted to.

    kind, classes: how to read the model's output.
    shape: that of one input; None where inputs differ in shape or are several tensors.
    chosen: digests of the payloads that are observed, of which each gives `samples_each` samples at most.
    """

    kind: OutputKind
    classes: int
    shape: tuple[int, ...] | None
    chosen: frozenset[str]
    samples_each: int

    @property
    def pool(self) -> int | None:
        """The side of the squares that images are averaged over, 1 for other inputs; None where there is no mixture."""
        return pool_side(self.shape)

    def observe(self, calls: Sequence[Call], payload: int) -> dict[str, Tensor]:
        """Return the numbers of a payload's samples, evenly spread over them: tensors `[m, ...]` by their names.

        `payload` is its number, which is repeated for each sample as PAYLOADS.
        """
        rows = join([self._rows(call) for call in calls])
        samples = sum(self._samples(call) for call in calls)
        chosen = torch.linspace(0, samples - 1, min(samples, self.samples_each)).long()
        return {PAYLOADS: torch.full_like(chosen, payload)} | {name: values[chosen] for name, values in rows.items()}

    def tokens(self, calls: Sequence[Call]) -> Tensor:
        """Return all whole numbers in a payload's inputs, int64 `[t]`; none of inputs that are other numbers."""
        ids = [id_rows(call.arguments, self._samples(call)) for call in calls]
        whole = [rows.reshape(-1).long().cpu() for rows in ids if rows is not None and _is_whole(rows)]
        return torch.cat(whole) if whole else torch.empty(0, dtype=torch.int64)

    def _samples(self, call: Call) -> int:
        return len(as_rows(call.output, self.kind, self.classes))

    def _rows(self, call: Call) -> dict[str, Tensor]:
        samples = self._samples(call)
        rows = {f"{LAYER}{name}": values for name, values in layers_of(call, samples).items()}
        inputs = input_rows(call.arguments, samples)
        if self.pool is not None and inputs is not None and not _is_whole(inputs):
            rows[INPUTS] = pooled(inputs, self.pool).cpu()
        return rows


def layers_of(call: Call, samples: int) -> dict[str, Tensor]:
    """Return the numbers float32 `[n, f]` on the CPU that each layer shows in a call on n samples."""
    layers = {name: values for name, values in call.depths.items() if len(values) == samples}
    if call.features is not None:
        with contextlib.suppress(VictimError):  # of this call alone: the layer is left out
            layers[LAST] = features_of(call, samples)
    return {name: values.detach().to("cpu", torch.float32) for name, values in layers.items()}


def most_samples(rows: Mapping[str, Tensor]) -> int:
    """Return how many samples are observed at most, if each has as many numbers as a row of these tensors."""
    numbers = sum(values[:1].numel() for values in rows.values())
    return max(FEWEST_SAMPLES, min(MOST_SAMPLES, MOST_NUMBERS // max(1, numbers)))


def choose_payloads(digests: Sequence[str], labels: Sequence[int], most: int, seed: int) -> frozenset[str]:
    """Return the digests of `most` payloads, as many of each class as far as there are so many.

    The choice among a class's payloads does not depend on which others there are.
    """
    of_class: dict[int, list[tuple[str, str]]] = {}
    for digest, label in sorted(set(zip(digests, labels, strict=True))):
        rank = hashlib.sha256(f"{seed} {digest}".encode()).hexdigest()
        of_class.setdefault(label, []).append((rank, digest))
    left, chosen = most, list[str]()
    # The smallest classes first: what they leave is shared among the others.
    for number, ranked in enumerate(sorted(of_class.values(), key=len)):
        taken = [digest for _, digest in sorted(ranked)[: left // (len(of_class) - number)]]
        chosen += taken
        left -= len(taken)
    return frozenset(chosen)


def pool_side(shape: tuple[int, ...] | None) -> int | None:
    """Return the side of the squares that inputs of a shape are averaged over; None for inputs without a mixture."""
    if not shape:
        return None
    pool = -(-max(shape[1:]) // POOLED_SIDE) if is_image(shape) else 1
    lengths = [shape[0], *(length // pool for length in shape[1:])]
    numbers = torch.Size(lengths).numel()
    return pool if 0 < numbers <= MOST_INPUTS else None


def pooled(inputs: Tensor, pool: int) -> Tensor:
    """Return inputs `[n, ...]`, averaged over squares of side `pool`, as float32 `[n, p]`."""
    numbers = inputs.to(torch.float32)
    return (F.avg_pool2d(numbers, pool) if pool > 1 else numbers).flatten(1)


def join(parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Join the tensors of a name that all parts have, and in one form; the others are left out."""
    names = [name for name in parts[0] if all(name in part for part in parts)] if parts else []
    return {
        name: torch.cat([part[name] for part in parts])
        for name in names
        if len({part[name].shape[1:] for part in parts}) == 1
    }


def observed_rows(part: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a stored part that TrainingObserver.observe made."""
    return {name: rows for name, rows in part.items() if name in (PAYLOADS, INPUTS) or name.startswith(LAYER)}


def count_tokens(tokens: Sequence[Tensor]) -> dict[str, Tensor]:
    """Return the different numbers among tokens int64 `[t]`, and how often each occurs, as a part stores them."""
    numbers, counts = torch.cat([torch.empty(0, dtype=torch.int64), *tokens]).unique(return_counts=True)  # type: ignore[no-untyped-call]  # torch
    return {TOKENS: numbers, COUNTS: counts}


def sum_tokens(tokens: Tensor, counts: Tensor) -> Tensor | None:
    """Return the sums of counts by number: int64 `[vocabulary]` of numbers `tokens` and counts, both int64 `[t]`.

    None where there are none, and for negative and very large numbers, which are no indices of words.
    """
    if not len(tokens) or int(tokens.min()) < 0 or int(tokens.max()) >= LARGEST_VOCABULARY:
        return None
    return torch.zeros(int(tokens.max()) + 1, dtype=torch.int64).index_add(0, tokens, counts)


def _is_whole(inputs: Tensor) -> bool:
    """Return whether inputs are numbers of words, say, and not quantities: pictures may be uint8."""
    return inputs.dtype in (torch.int64, torch.int32, torch.int16)
