"""Passes of the victim over requests: each is run once, held back, and priced."""

import copy
import logging
from collections.abc import Mapping, Sequence

from calpow.handler.errors import BadPayload, PricingUnavailable, VictimError
from calpow.handler.gate import problems
from calpow.handler.gate.interface import PassResult, PricedSamples, Purpose
from calpow.handler.gate.problems import Problem
from calpow.handler.leakage.meter import Meter
from calpow.handler.leakage.recording import Call
from calpow.handler.leakage.sample_identity import SampleIdentifier
from calpow.handler.logs.rate_limited_log import RateLimitedLog
from calpow.handler.policy.calibrated_policy import BatchRows
from calpow.handler.torchserve_request import TorchServeRequest
from calpow.handler.victim import HeldAnswer, Pass, Victim
from calpow.handler.victim_failures import classify_failure

log = RateLimitedLog(logging.getLogger(__name__), "calpow: ")

DESCRIPTION_WITH_INPUT = problems.bad_payload("a description takes no input")


class PassRunner:
    """Runs the victim, on several requests together if their rows can be told apart, and prices its model's calls."""

    def __init__(self, victim: Victim, meter: Meter, identifier: SampleIdentifier, rows: BatchRows) -> None:
        self._victim = victim
        self._meter = meter
        self._identifier = identifier
        self._rows = rows

    def run(self, requests: Sequence[TorchServeRequest]) -> list[PassResult[HeldAnswer]]:
        """Run the victim on each request once and return the results in order, with what the victim raised in them."""
        if len(requests) == 1:
            return [self._run_alone(requests[0])]
        shared = [index for index, request in enumerate(requests) if self._can_share(request)]
        results: dict[int, PassResult[HeldAnswer]] = {}
        if len(shared) > 1:
            group = [requests[index] for index in shared]
            together = self._run_together(group) or [self._run_again(request) for request in group]
            results = dict(zip(shared, together, strict=True))
        return [results.get(index) or self._run_alone(request) for index, request in enumerate(requests)]

    def run_unpriced(self, requests: Sequence[TorchServeRequest]) -> list[HeldAnswer]:
        """Run the victim on a batch as TorchServe does without the gate; return the answers in order.

        There a failure is that of the whole batch, and what is streamed goes to all its requests. A batch of several
        that streams is run again one by one here, because each request would be sent all messages of the others, too.
        """
        if len(requests) == 1:
            return _held_of(self._run_at_once(requests), 1)
        with self._victim.effects.trial() as trial:
            done = self._run_at_once(requests)
            if not done.sent:
                trial.keep()
                return _held_of(done, len(requests))
        return [answer for request in requests for answer in self.run_unpriced([request])]

    def _can_share(self, request: TorchServeRequest) -> bool:
        """Return whether a request holds exactly one sample, so that its row of a batch is known. Decision 0008."""
        is_ordinary = not (request.says_explain or request.says_describe)
        return self._rows.in_order and is_ordinary and request.holds_one_file

    def _run_together(self, requests: Sequence[TorchServeRequest]) -> list[PassResult[HeldAnswer]] | None:
        """Run requests as one batch. Return None when it failed or its rows cannot be told apart.

        Such a batch leaves nothing behind: its requests are run again one by one, and what the handler keeps of one of
        them must not reach the answer to another. Decision 0038.
        """
        with self._victim.effects.trial() as trial:
            results = self._try_together(requests)
            if results is not None:
                trial.keep()
        return results

    def _try_together(self, requests: Sequence[TorchServeRequest]) -> list[PassResult[HeldAnswer]] | None:
        done = self._run_at_once(requests)
        answers = done.serialised(len(requests))
        calls = done.recording.calls
        failed = isinstance(answers, Exception) or any(done.status(index) >= 400 for index in range(len(requests)))
        # Each request can hold but one sample; a sample is a row of the model's arguments and of its output.
        count = calls[0].rows if len(calls) == 1 else None
        if failed or done.sent or count != len(requests):
            return None
        # Of one model, in one version, and all predictions: what they are for is the same for all of them.
        samples = self._price(calls, requests[0])
        if isinstance(samples, Problem):
            return None
        return [PassResult(done.held(index, answers), samples.only(index)) for index in range(len(requests))]

    def _run_at_once(self, requests: Sequence[TorchServeRequest]) -> Pass:
        # Copies, because a handler may change what it is given in place.
        rows = [_copied(request.row) for request in requests]
        return self._victim.run(rows, [(request.id, _copied(request.properties)) for request in requests])

    def _run_again(self, request: TorchServeRequest) -> PassResult[HeldAnswer]:
        """Run one request of a batch that failed. If it fails alone, too, it leaves nothing to the others."""
        with self._victim.effects.trial() as trial:
            result = self._run_alone(request)
            if result.samples is not None:
                trial.keep()
        return result

    def _run_alone(self, request: TorchServeRequest) -> PassResult[HeldAnswer]:
        explaining = request.purpose is Purpose.explain
        done = self._victim.run([request.row], [(request.id, request.properties)], explaining=explaining)
        answers = done.serialised(1)
        if request.purpose is Purpose.describe:
            return _described(done, answers)
        held = done.held(0, answers)
        problem = _unseen(done, request)
        if problem is not None:
            return PassResult(held, None, problem)
        # What was streamed before a status of 5xx is an answer; an exception drops it.
        if isinstance(answers, Exception) or (done.status(0) >= 500 and not done.sent):
            return PassResult(held, None)
        samples = (
            self._price_explanation(done.preprocessed, request)
            if explaining
            else self._price(done.recording.calls, request)
        )
        return PassResult(held, None, samples) if isinstance(samples, Problem) else PassResult(held, samples)

    def _price_explanation(self, preprocessed: object, request: TorchServeRequest) -> PricedSamples | Problem:
        """Price an explanation by what `preprocess` returned: the calls that explaining makes are not the user's."""
        if preprocessed is None:
            return problems.EXPLANATION_REFUSED
        try:
            with self._victim.effects.trial():
                calls = self._victim.predict(preprocessed).calls
        except Exception as error:
            log.error("an explanation cannot be priced", f"request {request.id}: {type(error).__name__}")
            return problems.PRICING_UNAVAILABLE
        return self._price(calls, request)

    def _price(self, calls: Sequence[Call], request: TorchServeRequest) -> PricedSamples | Problem:
        """Return the samples of a pass, or why it has none. An unexpected exception concerns this pass alone."""
        if not calls:
            return problems.PRICING_UNAVAILABLE
        try:
            scored = self._meter.price_calls(calls)
            counts = [len(scored.labels)] if len(calls) == 1 else [self._meter.samples(call) for call in calls]
            identities = self._identifier.identities(calls, counts, request.purpose_and_version)
            return PricedSamples(scored.costs.tolist(), scored.labels.tolist(), identities)
        except BadPayload as error:
            return problems.bad_payload(str(error))
        except (VictimError, PricingUnavailable) as error:
            log.error("pricing unavailable, refusing", f"request {request.id}: {error}")
        except Exception as error:
            log.error("pricing unavailable, refusing", f"request {request.id}: {type(error).__name__}")
        return problems.PRICING_UNAVAILABLE


def _copied(entries: Mapping[str, object]) -> dict[str, object]:
    """Return a deep copy. Nearly all values are text or bytes, which cannot be changed and take no time."""
    return {name: value if isinstance(value, str | bytes) else copy.deepcopy(value) for name, value in entries.items()}


def _held_of(done: Pass, expected: int) -> list[HeldAnswer]:
    answers = done.serialised(expected)
    return [done.held(index, answers) for index in range(expected)]


def _described(done: Pass, answers: Sequence[object] | Exception) -> PassResult[HeldAnswer]:
    """Return a description of the model, which is none when the model was called."""
    if done.recording.begun:
        return PassResult(done.held(0, None), None, DESCRIPTION_WITH_INPUT)
    return PassResult(done.held(0, answers), None)


def _unseen(done: Pass, request: TorchServeRequest) -> Problem | None:
    """Return why an answer must not leave because no call of the model was seen, or None when one was.

    An explanation is priced by a call of ours on what `preprocess` returned, so that it needs no other. Decision 0007.
    """
    if done.recording.begun or (request.purpose is Purpose.explain and done.preprocessed is not None):
        return None
    if done.error is not None:
        failure = classify_failure(done.error, "read")
        if isinstance(failure, BadPayload):
            return problems.bad_payload(str(failure))
        log.error("out of resources, refusing", f"request {request.id}: {failure}")
        return problems.PRICING_UNAVAILABLE
    status = done.status(0)
    if request.says_describe:
        return DESCRIPTION_WITH_INPUT
    if 400 <= status < 500:
        return problems.bad_payload(f"the model refuses this payload, with its own status {status}")
    log.error("refusing", f"request {request.id}: the victim answered without a call of its model that could be seen")
    return problems.PRICING_UNAVAILABLE
