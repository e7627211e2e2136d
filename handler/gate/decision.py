"""What goes into the gate and what comes out of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from calpow.handler.gate.problems import Problem
from calpow.handler.leakage.score import Priced


@dataclass(frozen=True)
class Request:
    """One request, as far as the gate looks at it.

    samples: how many it holds, where that can be counted before the victim runs; else 1.
    explains: whether an explanation is asked for.
    payload: opaque; the gate hands it to whoever runs the victim.
    digester: computes `digest`; it may raise RecursionError or ValueError for a payload that is nested too deep.
    """

    key: str | None
    solution: str | None
    samples: int
    explains: bool
    payload: object
    digester: Callable[[], str]

    @cached_property
    def digest(self) -> str:
        """Exact digest of everything that the victim may read, empty where it is nested too deep.

        Computed once, and only for a request whose work is looked at and is enough.
        """
        try:
            return self.digester()
        except (RecursionError, ValueError):
            return ""


@dataclass(frozen=True, slots=True)
class Ran:
    """Result of the victim's pass over one request, held back until the gate releases it.

    answer: the victim's, opaque to the gate; its own failure where it failed.
    priced: the samples that its model was asked; None where nothing is charged: the victim failed, or `problem` says
        why the answer cannot be priced and must not leave.
    """

    answer: object
    priced: Priced | None
    problem: Problem | None = None


Run = Callable[[Sequence[Request]], list[Ran]]


@dataclass(frozen=True, slots=True)
class Released:
    """The victim's answer may leave; `next_hashes` is what the account's next sample takes, None after a failure."""

    answer: object
    next_hashes: int | None


@dataclass(frozen=True, slots=True)
class Refused:
    """The request is not answered, and why."""

    problem: Problem


Decision = Released | Refused
