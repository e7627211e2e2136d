"""What goes into the gate and what comes out of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from calpow.handler.errors import BadPayload, PricingUnavailable
from calpow.handler.leakage.base import Priced
from calpow.handler.problems import Problem


@dataclass(frozen=True, slots=True)
class Request:
    """One request, as the gate needs it. `payload` is opaque: only the pricer looks at it."""

    key: str | None
    solution: str | None
    digest: str
    payload: object


@dataclass(frozen=True, slots=True)
class Admitted:
    """The request has been paid for by challenge `id`; `next_hashes` is what the account's next one will take."""

    id: str
    next_hashes: int


@dataclass(frozen=True, slots=True)
class Refused:
    """The request is not answered, and why."""

    problem: Problem


Decision = Admitted | Refused


class Pricer(Protocol):
    """Looks at payloads and says what answering them would give away."""

    def price(self, payloads: Sequence[object]) -> list[Priced | BadPayload | PricingUnavailable]:
        """One entry a payload: its samples' costs and classes, or why it cannot be read or priced."""
