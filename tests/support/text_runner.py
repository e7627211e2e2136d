"""A victim whose payloads state their costs, for tests of the gate without a model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from calpow.handler.gate import problems
from calpow.handler.gate.interface import PassResult, PricedSamples, Purpose
from calpow.handler.gate.probes import payload_digest
from calpow.handler.identity.credentials import Credentials
from tests.support.calibrations import identity


@dataclass(frozen=True)
class TextRequest:
    """A request whose payload is a text. `digester` returns its digest, `token` is a JSON Web Token."""

    key: str | None
    solution: str | None
    samples: int
    purpose: Purpose
    text: str
    digester: Callable[[], str]
    id: str = "request-1"
    token: str | None = None

    @property
    def credentials(self) -> Credentials:
        """The key and the token."""
        return Credentials(key=self.key or None, token=self.token)

    @property
    def size(self) -> int:
        """Bytes of the text."""
        return len(self.text)

    @property
    def pixels(self) -> int:
        """None: a text has no images."""
        return 0

    @property
    def payload_digest(self) -> str:
        """Digest of the text of a prediction."""
        return payload_digest(self.text.encode()) if self.purpose is Purpose.predict else ""

    @cached_property
    def digest(self) -> str:
        """Digest of the payload and the purpose."""
        return self.digester()


class TextRunner:
    """A victim whose payloads are the costs of their samples.

    `1.5` is one sample of that cost, `1.5#a` another one, `1.5 2.0` are two, an empty payload is none; `?` cannot be
    read, `!` fails after its model was called, `*` is answered and cannot be priced, the cost of `~` is not a number.
    `calls` holds the payloads of every call of `run`, `unpriced` those of `run_unpriced`.
    """

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.unpriced: list[str] = []

    @property
    def passes(self) -> list[str]:
        """The payloads of all passes."""
        return [text for call in list(self.calls) for text in call]

    def run(self, requests: Sequence[TextRequest]) -> list[PassResult[str | None]]:
        """Run the victim."""
        texts = [str(request.text) for request in requests]
        self.calls.append(texts)
        return [_result(text) for text in texts]

    def run_unpriced(self, requests: Sequence[TextRequest]) -> list[str | None]:
        """Run the victim without pricing."""
        texts = [str(request.text) for request in requests]
        self.unpriced += texts
        return [_result(text).answer for text in texts]


def _result(text: str) -> PassResult[str | None]:
    if "?" in text:
        return PassResult(None, None, problems.bad_payload("the model cannot read this payload"))
    if "!" in text:
        return PassResult(f"failure on {text}", None)
    if "*" in text:
        return PassResult(f"answer to {text}", None, problems.PRICING_UNAVAILABLE)
    if "~" in text:
        return PassResult(f"answer to {text}", scored_text("nan"))
    return PassResult(f"answer to {text}", scored_text(text))


def scored_text(text: str) -> PricedSamples:
    """Return the samples of a payload: their costs, and identities that are equal for equal words."""
    words = text.split()
    costs = [[float(word.partition("#")[0])] for word in words]
    return PricedSamples(costs, [0] * len(words), [identity(word) for word in words])
