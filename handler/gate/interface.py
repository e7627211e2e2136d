"""Interface between the gate and its surroundings: requests come in, passes of the victim are run, decisions go out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Generic, Protocol, TypeVar

from calpow.handler.gate.problems import Problem
from calpow.handler.identity.credentials import Credentials
from calpow.handler.ledger.history import SampleIdentity


class Purpose(Enum):
    """Kind of answer that a request asks for."""

    predict = "predict"
    explain = "explain"
    describe = "describe"
    """A description of the model, which takes no input and costs nothing."""


class Request(Protocol):
    """The part of a request that the gate reads."""

    @property
    def id(self) -> str:
        """The server's own name for it, for logs."""

    @property
    def credentials(self) -> Credentials:
        """The headers that state its identity."""

    @property
    def solution(self) -> str | None:
        """The text of the PoW-Solution header, or None."""

    @property
    def purpose(self) -> Purpose:
        """The kind of answer that it asks for."""

    @property
    def samples(self) -> int:
        """Number of samples, or 1 when it cannot be counted before the victim runs."""

    @property
    def size(self) -> int:
        """Bytes of the body."""

    @property
    def pixels(self) -> int:
        """Pixels of the images in the body together, as far as their headers can be read without decoding them."""

    @property
    def payload_digest(self) -> str:
        """Digest of the payload of a prediction, as `calpow.handler.gate.probes` takes it.

        It is empty where the victim may read anything but the payload. The gate reads it only for a probe key.
        """

    @property
    def digest(self) -> str:
        """Exact digest of everything that the victim may read; empty when the payload is nested too deep.

        The gate reads it only for a request whose work is sufficient, or whose solution is spent.
        """


AnyRequest = TypeVar("AnyRequest", bound=Request)
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class PricedSamples:
    """Samples that the victim's model was called on in a pass, in order: scores, class and identity of each.

    `scores` are finite numbers, `[n, k]` by k scores.
    """

    scores: Sequence[Sequence[float]]
    labels: Sequence[int]
    identities: Sequence[SampleIdentity]

    def only(self, index: int) -> "PricedSamples":
        """Return the sample at a position, alone."""
        return PricedSamples([self.scores[index]], [self.labels[index]], [self.identities[index]])


@dataclass(frozen=True, slots=True)
class PassResult(Generic[Answer]):
    """Result of the victim's pass over one request, held back until the gate releases it.

    answer: the victim's answer or its own failure; opaque to the gate.
    samples: the samples that its model was called on; None when nothing is charged, because the victim failed or
        because of `problem`.
    problem: the problem to send instead of the answer, or None.
    """

    answer: Answer
    samples: PricedSamples | None
    problem: Problem | None = None


RunVictim = Callable[[Sequence[AnyRequest]], Sequence[PassResult[Answer]]]
_Request = TypeVar("_Request", bound=Request, contravariant=True)


class VictimRunner(Protocol[_Request, Answer]):
    """Runs the victim on requests, with pricing or without."""

    def run(self, requests: Sequence[_Request]) -> Sequence[PassResult[Answer]]:
        """Run the victim on each request once and price it; return the results in order."""

    def run_unpriced(self, requests: Sequence[_Request]) -> Sequence[Answer]:
        """Run the victim on a batch as TorchServe does without the gate; return the answers in order."""


@dataclass(frozen=True, slots=True)
class Released(Generic[Answer]):
    """Decision to send the victim's answer.

    `next_hashes` is the work for the account's next sample, or None when the answer does not state it. `subject` is the
    name that prepaid stamps have to bear, or None where they name an API key.
    """

    answer: Answer
    next_hashes: int | None
    subject: str | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """Decision not to answer.

    `problem` is sent to the client. `reason` is for the operator's log; it holds no key, payload, stamp or token.
    """

    problem: Problem
    reason: str


Decision = Released[Answer] | Refused


@dataclass(frozen=True, slots=True)
class Allowance:
    """The owner's limits.

    samples: the most samples in a request.
    explanation_factor: the factor of an explanation's price; 0 refuses explanations.
    size, pixels: the most bytes in a request, and the most pixels of its images together; 0 is no limit.
    """

    samples: int
    explanation_factor: float
    size: int = 0
    pixels: int = 0

    def price_factor(self, purpose: Purpose) -> float:
        """Return the factor by which the price of a request's samples is multiplied."""
        return self.explanation_factor if purpose is Purpose.explain else 1.0


class AnswerStrategy(Protocol):
    """Treatment of requests by a worker: `Gate` enforces payment, `Observer` only accounts for what is answered."""

    def answer(self, requests: Sequence[AnyRequest], run: RunVictim[AnyRequest, Answer]) -> list[Decision[Answer]]:
        """Return a decision for each request of a batch; `run` is called for those that the victim is to answer."""
