"""What the victim makes of inputs, computed once for all metrics that want to know."""

from collections.abc import Callable

import torch
from torch import Tensor

from calpow.handler.errors import GateMisconfigured, VictimError
from calpow.handler.leakage.base import Need, Seen
from calpow.handler.leakage.features import FeatureTap
from calpow.handler.leakage.output import OutputKind, log_distribution
from calpow.handler.victim import Victim


class Onlooker:
    """Shows inputs to the victim and tells what it makes of them.

    `kind` is what its raw output is, None where it cannot be asked; with `features`, its representation is taken, too,
    of inputs of this shape. Raises GateMisconfigured where it cannot be.
    """

    def __init__(
        self, victim: Victim, kind: OutputKind | None, input_shape: tuple[int, ...], *, features: bool
    ) -> None:
        self._victim = victim
        self._kind = kind
        self.tap = self._find_features(input_shape) if features else None

    def look(self, needs: Need) -> Callable[[Tensor], Seen]:
        """A function that looks at inputs `[n, *input_shape]` as far as `needs` goes. Raises GateMisconfigured."""
        if not needs:
            return Seen
        if self._kind is None:
            raise GateMisconfigured(
                "the victim's handler has no inference that answers with a tensor: take metric pate"
            )
        kind, tap = self._kind, self.tap if Need.FEATURES in needs else None

        def look(inputs: Tensor) -> Seen:
            output, features = tap(lambda: self._ask(inputs)) if tap else (self._ask(inputs), None)
            if output.dim() != 2 or len(output) != len(inputs):
                raise VictimError(
                    f"the victim answered {len(inputs)} samples with numbers of shape {tuple(output.shape)}:"
                    " it must give one row of classes a sample"
                )
            self._victim.remember(inputs, output)
            return Seen(inputs, log_distribution(output, kind), features)

        return look

    def features(self, inputs: Tensor) -> Tensor:
        """The victim's representation of inputs `[n, ...]`, float32 `[n, f]`."""
        assert self.tap is not None
        return self.tap(lambda: self._ask(inputs))[1]

    def _find_features(self, input_shape: tuple[int, ...]) -> FeatureTap:
        blank = torch.rand(2, *input_shape, generator=torch.Generator().manual_seed(0)).to(self._victim.device)
        try:
            tap = FeatureTap(self._victim.model, lambda: self._ask(blank))
            tap(lambda: self._ask(blank))
        except (RuntimeError, VictimError) as problem:
            raise GateMisconfigured(f"the victim's representation cannot be taken: {problem}") from problem
        return tap

    def _ask(self, inputs: Tensor) -> Tensor:
        # A copy: a victim that works on its input in place must not change what is priced and remembered.
        output = self._victim.infer(inputs.clone())
        if output is None:
            raise VictimError("the victim's inference did not answer with a tensor")
        return output
