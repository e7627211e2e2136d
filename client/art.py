"""A protected model as a black-box classifier of the Adversarial Robustness Toolbox (ART), for attacks on it.

    from art.attacks.extraction import KnockoffNets
    from calpow.client.art import ProtectedClassifier

    victim = ProtectedClassifier(url, key=key, classes=10, input_shape=(1, 8, 8), encode=png, max_hashes=2**34)
    copy = KnockoffNets(victim, nb_stolen=500).extract(images, thieved_classifier=copy)
    print(victim.spent)

docs/research.md has a whole program. Needs the extra `calpow[art]`; it is the one module of the client that does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from calpow.puzzle.installation import install_command

try:
    import numpy as np
    from art.estimators.classification import BlackBoxClassifier
    from numpy.typing import NDArray
except ModuleNotFoundError as error:
    _missing = str(error.name).partition(".")[0]
    raise ModuleNotFoundError(f"calpow.client.art needs {_missing}: {install_command('art')}", name=_missing) from error

from requests import RequestException, Response, Session

from calpow.client.errors import (
    AnswerUnreadable,
    ClientError,
    TimeLimitExceeded,
    WorkLimitExceeded,
    as_library_error,
)
from calpow.client.protocol.budget import DEFAULT_MAX_HASHES, RequestLimits
from calpow.client.requests import PowAuth
from calpow.puzzle.stamp import Stamp
from calpow.puzzle.wire import SOLUTION_HEADER

DEFAULT_MAX_ATTACK_SECONDS = 3600.0
# Seconds in which the server has to begin its response.
_PATIENCE = 60.0

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class QueryCosts:
    """Cost of an attack so far.

    queries: the answers that it got. hashes: the expected hashes of all stamps that were sent for them. seconds: from
    the start of each query to its answer.
    """

    queries: int = 0
    hashes: int = 0
    seconds: float = 0.0


class ProtectedClassifier(BlackBoxClassifier):  # type: ignore[misc]  # art has no types
    """Black-box classifier of ART over the URL of a protected model, which pays for each answer.

    `predict` sends one request a sample, over one connection. It raises WorkLimitExceeded or TimeLimitExceeded where
    the next answer takes more than is left of `max_hashes` or `max_seconds`, AnswerUnreadable where an answer holds no
    scores, any other error of PowAuth, and requests.HTTPError for a response that is no answer. `bought` has all that
    was answered until then.

    url: the address of predictions, for example http://127.0.0.1:8080/predictions/digits.
    key: the API key, or None.
    classes: the number of classes, or their names in the order of the scores.
    input_shape: the shape of one sample.
    encode: a function from one sample, float32 [*input_shape], to its payload: bytes, or a value that is sent as JSON.
    decode: a function from an answer's JSON to the scores of all classes, or to the number of the only class that the
        model tells. By default, an answer is a list of scores, or an object that holds them by class name, as those of
        TorchServe's image_classifier; classes that it leaves out have the score 0.
    max_hashes: the most expected hashes of all answers together.
    max_seconds: the most seconds of all queries together.
    clip_values: the smallest and the largest number of a sample, for attacks of ART that change samples.
    """

    def __init__(
        self,
        url: str,
        *,
        key: str | None,
        classes: int | Sequence[str],
        input_shape: tuple[int, ...],
        encode: Callable[[Floats], object],
        decode: Callable[[Any], Sequence[float] | int] | None = None,
        max_hashes: int = DEFAULT_MAX_HASHES,
        max_seconds: float = DEFAULT_MAX_ATTACK_SECONDS,
        clip_values: tuple[float, float] | None = None,
    ) -> None:
        names = tuple(map(str, range(classes))) if isinstance(classes, int) else tuple(classes)
        super().__init__(self._scores, input_shape, len(names), clip_values=clip_values)
        self._url = url
        self._names = names
        self._encode = encode
        self._decode = decode or self._named_scores
        self._max_hashes = max_hashes
        self._max_seconds = max_seconds
        self._auth = _LimitedAuth(key, max_hashes=max_hashes, max_seconds=max_seconds)
        self._session = Session()
        self._session.auth = self._auth
        self._spent = QueryCosts()
        self._samples: list[Floats] = []
        self._answers: list[Floats] = []

    @property
    def spent(self) -> QueryCosts:
        """The cost of all answers so far."""
        return self._spent

    @property
    def bought(self) -> tuple[Floats, Floats]:
        """All samples that were answered, float32 [n, *input_shape], and the scores float32 [n, classes]."""
        samples = np.array(self._samples, np.float32).reshape(-1, *self.input_shape)
        return samples, np.array(self._answers, np.float32).reshape(-1, len(self._names))

    def _scores(self, samples: Floats) -> Floats:
        """Return the scores [n, classes] of samples [n, *input_shape]."""
        return np.array([self._ask(sample) for sample in samples], np.float32)

    def _ask(self, sample: Floats) -> Floats:
        spent = self._spent
        self._check_limits()
        self._auth.allow(self._max_hashes - spent.hashes, self._max_seconds - spent.seconds)
        payload = self._encode(sample)
        body = {"data": payload} if isinstance(payload, bytes) else {"json": payload}
        began = time.perf_counter()
        response = self._session.post(self._url, timeout=_PATIENCE, **body)
        seconds = spent.seconds + time.perf_counter() - began
        self._spent = replace(spent, hashes=spent.hashes + _work_sent(response), seconds=seconds)
        response.raise_for_status()
        answer = self._read(response)
        self._spent = replace(self._spent, queries=spent.queries + 1)
        self._samples.append(np.array(sample, np.float32))
        self._answers.append(answer)
        return answer

    def _check_limits(self) -> None:
        """Raise where nothing is left: PowAuth sends stamps that it has minted whatever its limits are then."""
        error: ClientError
        if self._spent.hashes >= self._max_hashes:
            error = WorkLimitExceeded(self._spent.hashes, self._max_hashes)
        elif self._spent.seconds >= self._max_seconds:
            error = TimeLimitExceeded(self._spent.seconds, self._max_seconds)
        else:
            return
        raise as_library_error(error, RequestException)

    def _read(self, response: Response) -> Floats:
        try:
            return self._row(self._decode(response.json()))
        except (ValueError, KeyError, TypeError, IndexError, AttributeError) as problem:
            message = f"an answer holds no scores of {len(self._names)} classes: give `decode` ({problem!r})"
            error = AnswerUnreadable(message)
            raise as_library_error(error, RequestException, request=response.request, response=response) from problem

    def _row(self, found: Sequence[float] | int) -> Floats:
        """Return the scores [classes] that were decoded, or those of the only class that was. Raises ValueError."""
        classes = len(self._names)
        if isinstance(found, int):
            if not 0 <= found < classes:
                raise ValueError(f"class {found} of {classes}")
            one_hot: Floats = np.eye(classes, dtype=np.float32)[found]
            return one_hot
        scores = np.array(found, np.float32)
        if scores.shape != (classes,):
            raise ValueError(f"its shape is {scores.shape}")
        return scores

    def _named_scores(self, answer: Any) -> Sequence[float]:
        if not isinstance(answer, Mapping):
            scores: Sequence[float] = answer
            return scores
        if strangers := answer.keys() - set(self._names):
            raise ValueError(f"{min(strangers)!r} is none of the classes")
        return [answer.get(name, 0.0) for name in self._names]


class _LimitedAuth(PowAuth):
    """PowAuth whose limits change from request to request."""

    def allow(self, hashes: int, seconds: float) -> None:
        """Set the limits of the next request."""
        self._limits = RequestLimits(hashes, seconds, self._limits.max_wait)


def _work_sent(answer: Response) -> int:
    """Return the expected hashes of all stamps that were sent for an answer."""
    solutions = [response.request.headers.get(SOLUTION_HEADER) or "" for response in (*answer.history, answer)]
    return sum(1 << Stamp.parse(stamp).bits for solution in solutions for stamp in str(solution).split()[1:])
