"""Passes of the victim over requests that are paid for: run once, held back, priced."""

import copy
import logging
from collections.abc import Sequence

from calpow.handler.errors import BadPayload, PricingUnavailable, VictimError
from calpow.handler.gate import problems
from calpow.handler.gate.decision import Ran, Request
from calpow.handler.gate.problems import Problem
from calpow.handler.incoming import Incoming
from calpow.handler.leakage.meter import Meter
from calpow.handler.leakage.score import Priced
from calpow.handler.policy.calibration_file import Rows
from calpow.handler.recording import Call
from calpow.handler.victim import Pass, Victim, blame

log = logging.getLogger(__name__)


class Passes:
    """Runs the victim, in batches where their rows can be told apart, and prices what its model was asked."""

    def __init__(self, victim: Victim, meter: Meter, rows: Rows) -> None:
        self._victim = victim
        self._meter = meter
        self._rows = rows

    def run(self, requests: Sequence[Request]) -> list[Ran]:
        """Run requests whose payloads are Incoming. What the victim raises is in the results."""
        incoming = [each for request in requests if isinstance(each := request.payload, Incoming)]
        shared = [index for index, each in enumerate(incoming) if self._can_share(each)]
        results = self._run_together([incoming[index] for index in shared]) if len(shared) > 1 else None
        found = {} if results is None else dict(zip(shared, results, strict=True))
        return [found.get(index) or self._run_alone(each) for index, each in enumerate(incoming)]

    def describe(self, incoming: Incoming) -> Ran:
        """Run a request for a description of the model. With a call of the model it is none."""
        done = self._run([incoming], [incoming.row])
        if done.recording.begun:
            return Ran(done.held(0, None), None, problems.bad_payload("a description takes no input"))
        return Ran(done.held(0, done.written(1)), None)

    def _can_share(self, incoming: Incoming) -> bool:
        """Whether a request can hold but one sample, so that its row of a batch is known."""
        ordinary = not (incoming.explains or incoming.says_describe)
        return self._rows.in_order and ordinary and incoming.holds_one_file

    def _run(self, batch: Sequence[Incoming], rows: Sequence[object], *, explaining: bool = False) -> Pass:
        requests = [(each.id, each.properties) for each in batch]
        return self._victim.run(rows, requests, explaining=explaining)  # type: ignore[arg-type]  # copies of rows

    def _run_together(self, batch: Sequence[Incoming]) -> list[Ran] | None:
        """Run requests as one batch; None where it failed or its rows cannot be told apart."""
        # Copies: a handler may change its rows in place, and a batch that fails is run again one by one.
        done = self._run(batch, copy.deepcopy([each.row for each in batch]))
        answers = done.written(len(batch))
        calls = done.recording.calls
        failed = isinstance(answers, Exception) or any(done.status(index) >= 400 for index in range(len(batch)))
        rows = len(calls[0].inputs) if len(calls) == 1 and calls[0].inputs is not None else 0
        if failed or done.sent or rows != len(batch):
            return None
        priced = self._price(calls)
        if not isinstance(priced, Priced):
            return None
        return [
            Ran(done.held(index, answers), Priced(priced.costs[index : index + 1], priced.labels[index : index + 1]))
            for index in range(len(batch))
        ]

    def _run_alone(self, incoming: Incoming) -> Ran:
        done = self._run([incoming], [incoming.row], explaining=incoming.explains)
        answers = done.written(1)
        held = done.held(0, answers)
        problem = _unseen(done, incoming)
        if problem is not None:
            return Ran(held, None, problem)
        if isinstance(answers, Exception) or done.status(0) >= 500:
            return Ran(held, None)
        priced = self._explained(done.preprocessed) if incoming.explains else self._price(done.recording.calls)
        return Ran(held, priced) if isinstance(priced, Priced) else Ran(held, None, priced)

    def _explained(self, preprocessed: object) -> Priced | Problem:
        """Price an explanation by what `preprocess` gave: the calls of explaining itself are not the user's queries."""
        if preprocessed is None:
            return problems.EXPLANATION_REFUSED
        try:
            calls = self._victim.explained(preprocessed).calls
        except Exception as problem:
            log.error("calpow: an explanation cannot be priced: %s", type(problem).__name__)
            return problems.PRICING_UNAVAILABLE
        return self._price(calls)

    def _price(self, calls: Sequence[Call]) -> Priced | Problem:
        if not calls:
            return problems.PRICING_UNAVAILABLE
        try:
            return self._meter.price_calls(calls)
        except BadPayload as problem:
            return problems.bad_payload(str(problem))
        except (VictimError, PricingUnavailable) as problem:
            log.error("calpow: pricing unavailable, refusing: %s", problem)
        except (MemoryError, RuntimeError) as problem:
            log.error("calpow: pricing unavailable, refusing: %s", type(problem).__name__)
        return problems.PRICING_UNAVAILABLE


def _unseen(done: Pass, incoming: Incoming) -> Problem | None:
    """Why an answer may not leave of which no call of the model was seen; None where one was.

    An explanation is priced by a call of our own on what `preprocess` gave.
    """
    if done.recording.begun or (incoming.explains and done.preprocessed is not None):
        return None
    if done.error is not None:
        blamed = blame(done.error, "read")
        if isinstance(blamed, BadPayload):
            return problems.bad_payload(str(blamed))
        log.error("calpow: refusing: %s", blamed)
        return problems.PRICING_UNAVAILABLE
    status = done.status(0)
    if incoming.says_describe:
        return problems.bad_payload("a description takes no input")
    if 400 <= status < 500:
        return problems.bad_payload(f"the model refuses this payload, with its own status {status}")
    log.error("calpow: the victim answered without a call of its model that could be seen: refusing")
    return problems.PRICING_UNAVAILABLE
