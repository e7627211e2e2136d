"""The interceptors of a channel of gRPC, for asyncio."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import grpc.aio

from calpow.client.auth import AsyncPowAuth, perform
from calpow.client.errors import ClientError
from calpow.client.grpc.failures import PowRpcError
from calpow.client.grpc.prediction import Prediction, is_prediction
from calpow.client.protocol.exchange import FoundStamps, Solve, Wait

_Call = Any  # a grpc.aio.Call; grpc has no types
_Continuation = Callable[[Any, Any], Awaitable[_Call]]


def aio_interceptors(key: str | None = None, **options: Any) -> list[Any]:
    """Return the interceptors for `grpc.aio.insecure_channel(target, interceptors=...)`.

    grpc.aio has one for each kind of call; together they do what PowInterceptor does, and take its arguments. The work
    is done in a thread, off the event loop, and ends at once when the task is cancelled.
    """
    auth = _AioAuth(key, **options)
    return [_Unary(auth), _ServerStream(auth)]


class _AioAuth(AsyncPowAuth):
    """The exchanges of requests by asyncio, shared by the interceptors of a channel."""

    _library_error = PowRpcError

    async def exchange_over(self, send: Callable[[Any], Awaitable[tuple[_Call, Any]]], prediction: Prediction) -> _Call:
        """Send a request until it is answered; return the call that brought the answer.

        send: sends a request; returns the call and its first message, None if there is none.
        """
        actions = self._exchange(prediction.url).run(prediction.solution)
        try:
            action = await self._next_send_async(actions)
            while action is not None:
                prediction.message = None
                call, message = await send(prediction.next_request(action.headers))
                if message is None:
                    return call
                action = await self._next_send_async(actions, prediction.receive(message))
            prediction.check_answer()
        except ClientError as error:
            raise self._as_library_error(error, prediction.sent, prediction.message) from error.__cause__
        except grpc.RpcError as error:
            error.request = prediction.sent
            raise
        return call

    async def _perform_async(self, action: Solve | Wait) -> FoundStamps | None:
        if isinstance(action, Wait):
            await asyncio.sleep(action.seconds)
            return None
        cancel = threading.Event()
        try:
            return await asyncio.to_thread(perform, action, self._progress, cancel)
        finally:
            cancel.set()


class _Unary(grpc.aio.UnaryUnaryClientInterceptor):  # type: ignore[misc]  # grpc has no types
    """Interceptor of Predictions."""

    def __init__(self, auth: _AioAuth) -> None:
        self._auth = auth

    async def intercept_unary_unary(self, continuation: _Continuation, client_call_details: Any, request: Any) -> _Call:
        """Return the call that was answered. Called by grpc."""
        if not is_prediction(client_call_details.method):
            return await continuation(client_call_details, request)

        async def send(message: Any) -> tuple[_Call, Any]:
            call = await continuation(client_call_details, message)
            return call, await call

        return await self._auth.exchange_over(send, Prediction(request))


class _ServerStream(grpc.aio.UnaryStreamClientInterceptor):  # type: ignore[misc]  # as above
    """Interceptor of StreamPredictions."""

    def __init__(self, auth: _AioAuth) -> None:
        self._auth = auth

    async def intercept_unary_stream(
        self, continuation: _Continuation, client_call_details: Any, request: Any
    ) -> _Call:
        """Return the call that was answered, or the messages of the answer. Called by grpc."""
        if not is_prediction(client_call_details.method):
            return await continuation(client_call_details, request)

        async def send(message: Any) -> tuple[_Call, Any]:
            call = await continuation(client_call_details, message)
            messages = call.__aiter__()
            first: Any = await anext(messages, None)
            return (call, messages), first

        prediction = Prediction(request)
        call, messages = await self._auth.exchange_over(send, prediction)
        return call if prediction.message is None else _with_first(prediction.message, messages)


async def _with_first(first: Any, others: AsyncIterator[Any]) -> AsyncIterator[Any]:
    """Yield the first message and the others; the first only brought headers if it is empty and not the last."""
    if not first.prediction:
        first = await anext(others, first)
    yield first
    async for message in others:
        yield message
