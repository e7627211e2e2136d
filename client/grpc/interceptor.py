"""The interceptor of a channel of gRPC, for threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import grpc

from calpow.client.auth import BasePowAuth
from calpow.client.errors import ClientError
from calpow.client.grpc.failures import PowRpcError
from calpow.client.grpc.prediction import Prediction, is_prediction

_Call = Any  # a grpc.Call that is a future or an iterator; grpc has no types


class PowInterceptor(
    BasePowAuth,
    grpc.UnaryUnaryClientInterceptor,  # type: ignore[misc]  # grpc has no types
    grpc.UnaryStreamClientInterceptor,  # type: ignore[misc]  # as above
):
    """Proof-of-work authentication for gRPC: `grpc.intercept_channel(channel, PowInterceptor(key))`.

    PowInterceptor sends the API key or token with each call of TorchServe's Predictions and StreamPredictions, and does
    the work that the server asks for; other calls pass unchanged. Every answer announces the work of the next one.
    PowInterceptor does it beforehand, which saves a round trip: it mints stamps before it sends a request and, from the
    second request to a model on, in a background thread while the client waits or is idle. Use one PowInterceptor for
    many requests to a server, since it remembers what answers cost; any number of threads can share it.

    A solution may be refused, for example because it expired while it was computed, or be too little work. The server
    then sends another challenge, which is solved as well, until `max_hashes` or `max_seconds` is reached. A request to
    a busy server is sent again after the time that it gives. Every other refusal raises RequestRefused, whose `status`,
    `problem` and message are the server's.

    The `timeout` of a call holds for each sending of it. `future` returns when the answer is there, and a call of
    StreamPredictions when its first message is.

    When a call fails otherwise, PowInterceptor sends nothing again, and the error that gRPC raises has the attribute
    `request`. `stub.Predictions(error.request)` sends it with the same solution: for ten minutes the server repeats the
    outcome that it has settled, so that nothing is paid twice.

    The arguments are those of `calpow.client.PowAuth`. The errors that PowInterceptor raises are ClientErrors: each is
    a grpc.RpcError, with `code()` and `details()`, and a CalpowError.
    """

    _library_error = PowRpcError

    def intercept_unary_unary(
        self, continuation: Callable[[Any, Any], _Call], client_call_details: Any, request: Any
    ) -> _Call:
        """Return the call that was answered, or that failed. Called by grpc."""
        if not is_prediction(client_call_details.method):
            return continuation(client_call_details, request)

        send = _sender(continuation, client_call_details, lambda call: call.result())
        return self._exchange_over(send, Prediction(request))

    def intercept_unary_stream(
        self, continuation: Callable[[Any, Any], _Call], client_call_details: Any, request: Any
    ) -> _Call:
        """Return the messages of the call that was answered, or the call that failed. Called by grpc."""
        if not is_prediction(client_call_details.method):
            return continuation(client_call_details, request)

        prediction = Prediction(request)
        send = _sender(continuation, client_call_details, lambda call: next(call, None))
        call = self._exchange_over(send, prediction)
        return call if prediction.message is None else _AnsweredStream(prediction.message, call)

    def _exchange_over(self, send: Callable[[Any], tuple[_Call, Any]], prediction: Prediction) -> _Call:
        """Send a request until it is answered; return the call that brought the answer, or that failed.

        send: sends a request; returns the call and its first message, None if it failed.
        """
        actions = self._exchange(prediction.url).run(prediction.solution)
        try:
            action = self._next_send(actions)
            while action is not None:
                prediction.message = None
                call, message = send(prediction.next_request(action.headers))
                if message is None:
                    if isinstance(call, grpc.RpcError):
                        call.request = prediction.sent
                    return call
                action = self._next_send(actions, prediction.receive(message))
            prediction.check_answer()
        except ClientError as error:
            raise self._as_library_error(error, prediction.sent, prediction.message) from error.__cause__
        return call


def _sender(
    continuation: Callable[[Any, Any], _Call], details: Any, first_message: Callable[[_Call], Any]
) -> Callable[[Any], tuple[_Call, Any]]:
    """Return a function that sends a request, and returns the call and its first message, None if it failed."""

    def send(message: Any) -> tuple[_Call, Any]:
        call = continuation(details, message)
        try:
            return call, first_message(call)
        except grpc.RpcError:
            return call, None

    return send


class _AnsweredStream:
    """The messages of a call whose first message was read; everything else of it is the call's."""

    def __init__(self, first: Any, call: _Call) -> None:
        self._call = call
        self._messages = _with_first(first, call)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return next(self._messages)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)


def _with_first(first: Any, others: Iterator[Any]) -> Iterator[Any]:
    """Yield the first message and the others; the first only brought headers if it is empty and not the last."""
    if not first.prediction:
        first = next(others, first)
    yield first
    yield from others
