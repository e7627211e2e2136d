"""Advice on a better trunk where the vote on the chosen one is weak: trials of the others on a part of the data."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from calpow.archiver.data.payloads import Payload
from calpow.archiver.teachers.accuracy import Accuracy, measure_accuracy
from calpow.archiver.teachers.heads import fit_heads
from calpow.archiver.teachers.partitions import HELD_BACK
from calpow.archiver.teachers.training_set import ValueSource, trunk_values
from calpow.archiver.victim.recorded_calls import is_index, recorded_calls
from calpow.archiver.victim.victim_archive import OpenVictim
from calpow.handler.leakage.output import as_rows
from calpow.handler.leakage.specs import OutputKind
from calpow.handler.leakage.teachers.heads import HeadEnsemble
from calpow.handler.leakage.teachers.trunks import VICTIM, is_image, make_trunk

MOST_TRIED = 3000
# The part of them that teachers are trained on; the others are held back.
TRAINED_ON = 0.9
# Shares of a few hundred samples that differ by less may be equal.
CLEARLY = 0.02


@dataclass(frozen=True)
class TrunkTrial:
    """A trunk, and how the vote on it did on a part of the data."""

    trunk: str
    accuracy: Accuracy

    @property
    def merit(self) -> float:
        """The share of right votes less the share of votes at the ceiling of the cost."""
        return self.accuracy.vote - self.accuracy.ceiling

    def __str__(self) -> str:
        return (
            f"{self.trunk}: the vote right in {self.accuracy.vote:.1%}, {self.accuracy.ceiling:.1%} at the highest cost"
        )


@dataclass(frozen=True)
class TrunkTrials:
    """Trials of trunks on one victim.

    shape, dtype: of one input; `shape` is None where inputs differ in shape or are several tensors.
    axes: those of the victim's features, float32 `[f, d]`; None where it shows none.
    kind, classes: how to read the model's output. `seed` is that of random trunks.
    """

    shape: tuple[int, ...] | None
    dtype: str
    axes: Tensor | None
    kind: OutputKind
    classes: int
    seed: int

    @property
    def trunks(self) -> list[str]:
        """The trunks that suit the victim and need no further files."""
        names = []
        if self.shape is not None and not is_index(self.dtype):
            names += ["scattering", "random"] if is_image(self.shape) else ["random"]
        return names if self.axes is None else [*names, VICTIM]

    def run(self, victim: OpenVictim, payloads: Sequence[Payload], owners: Sequence[int]) -> list[TrunkTrial]:
        """Train heads on each trunk with payloads whose teachers are `owners`, and measure them on those held back.

        The victim's features must have a tap.
        """
        sources = {trunk: self._source(trunk) for trunk in self.trunks}
        features: dict[str, list[Tensor]] = {trunk: [] for trunk in sources}
        places = list[int]()
        place_of = {payload.path: place for place, payload in enumerate(payloads)}
        for payload, calls in recorded_calls(victim, payloads, "trying trunks"):
            for call in calls:
                for trunk, source in sources.items():
                    features[trunk].append(trunk_values(source.trunk, source.values(call, payload)))
                places += [place_of[payload.path]] * len(as_rows(call.output, self.kind, self.classes))
        labels = torch.tensor([payload.label for payload in payloads])[places]
        of_samples = torch.tensor(owners)[places]
        return [TrunkTrial(trunk, self._measure(torch.cat(features[trunk]), labels, of_samples)) for trunk in sources]

    def _source(self, trunk: str) -> ValueSource:
        if trunk == VICTIM and self.axes is not None:
            return ValueSource(_Projection(self.axes), None, len(self.axes), self.kind, self.classes)
        return ValueSource(make_trunk(trunk, self.shape, self.seed), self.shape, 0, self.kind, self.classes)

    def _measure(self, features: Tensor, labels: Tensor, owners: Tensor) -> Accuracy:
        heads = fit_heads(features, labels, owners, int(owners.max()) + 1, self.classes)
        held_back = owners == HELD_BACK
        ensemble = HeadEnsemble(nn.Identity(), heads, self.classes)
        return measure_accuracy(ensemble, features[held_back], labels[held_back])


class _Projection(nn.Module):
    """Projects features `[n, f]` on axes `[f, d]`."""

    axes: Tensor

    def __init__(self, axes: Tensor) -> None:
        super().__init__()
        self.register_buffer("axes", axes)

    def forward(self, features: Tensor) -> Tensor:
        """Return the projections `[n, d]`."""
        return features @ self.axes


def choose_part(owners: Sequence[int], most: int) -> tuple[list[int], list[int]]:
    """Return places of `most` payloads at most, and their teachers, renumbered from 0; HELD_BACK stays as it is.

    Teachers are taken as a whole, so that those of the trial are as good as those of the ensemble; two at least.
    """
    of_teacher: dict[int, list[int]] = {}
    for place, owner in enumerate(owners):
        of_teacher.setdefault(owner, []).append(place)
    held_back = of_teacher.pop(HELD_BACK, [])
    budget = int(TRAINED_ON * most)
    largest = max(len(places) for places in of_teacher.values())
    count = max(2, min(len(of_teacher), budget // largest))
    chosen, renumbered = list[int](), list[int]()
    for number, teacher in enumerate(sorted(of_teacher)[:count]):
        places = of_teacher[teacher][: budget // count]
        chosen += places
        renumbered += [number] * len(places)
    rest = held_back[: most - len(chosen)]
    return chosen + rest, renumbered + [HELD_BACK] * len(rest)


def advise(own: TrunkTrial, trials: Sequence[TrunkTrial], command: str) -> str:
    """Return a sentence that names the best of other trunks with its figures, or says that none is better.

    `command` trains again on the trunk that follows it.
    """
    others = [trial for trial in trials if trial.trunk != own.trunk]
    if not others:
        return "no other trunk suits the victim's inputs"
    best = max(others, key=lambda trial: trial.merit)
    if best.merit <= own.merit + CLEARLY:
        return f"no other trunk does better ({'; '.join(map(str, [own, *others]))})"
    return f"trunk {best}; {own}, both on {best.accuracy.samples} samples held back: {command} --trunk {best.trunk}"
