"""One prediction over TorchServe's gRPC API: its request as it is sent, and its replies as the protocol reads them.

The messages are the user's, of the modules that protoc made; their fields are used by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from calpow.client.caller import IDENTITY_HEADERS
from calpow.client.errors import RequestRefused
from calpow.client.reply import Reply
from calpow.puzzle.http_message import read_message
from calpow.puzzle.wire import REPLY_ENTRY, SOLUTION_HEADER, WHOLE_REPLY

_SERVICE = "/org.pytorch.serve.grpc.inference.InferenceAPIsService"
_METHODS = (f"{_SERVICE}/Predictions", f"{_SERVICE}/StreamPredictions")
_OUR_ENTRIES = tuple(name.lower() for name in (*IDENTITY_HEADERS, SOLUTION_HEADER, REPLY_ENTRY))


def is_prediction(method: str | bytes) -> bool:
    """Return whether a method is one that a gate asks for work: Predictions or StreamPredictions."""
    return (method.decode() if isinstance(method, bytes) else method) in _METHODS


class Prediction:
    """One request on its way, and the last reply to it.

    url: a name for the model and its version, which takes the place of an HTTP request's URL.
    solution: the PoW-Solution that the user's request has already, because it is sent again; None if it has none.
    sent: the request as it was sent last.
    message: the message that came last, without the headers that came with it.
    """

    def __init__(self, request: Any) -> None:
        self._request = request
        entries = {name.lower(): value for name, value in request.input.items()}
        given = entries.get(SOLUTION_HEADER.lower())
        self.url = f"grpc:{quote(request.model_name, safe='')}/{quote(request.model_version, safe='')}"
        self.solution = None if given is None else given.decode("latin-1")
        self.sent = request
        self.message: Any = None
        self._reply: Reply | None = None

    def next_request(self, headers: Mapping[str, str]) -> Any:
        """Return a copy of the request with these headers as entries of its input map, in the place of its own."""
        request = type(self._request)()
        request.CopyFrom(self._request)
        for name in [name for name in request.input if name.lower() in _OUR_ENTRIES]:
            del request.input[name]
        for name, value in {**headers, REPLY_ENTRY: WHOLE_REPLY}.items():
            request.input[name] = value.encode("latin-1")
        self.sent = request
        return request

    def receive(self, message: Any) -> Reply:
        """Return the reply that a message brings, and leave the message the body alone.

        A message of a model that is not protected is the answer as it is.
        """
        found = read_message(message.prediction)
        solution = self.sent.input.get(SOLUTION_HEADER)
        given = None if solution is None else solution.decode("latin-1")
        if found is None:
            reply = Reply(200, {}, solution=given)
        else:
            message.prediction = found.body
            reply = Reply(found.status, found.headers, found.body, found.phrase, given)
        self.message, self._reply = message, reply
        return reply

    def check_answer(self) -> None:
        """Raise RequestRefused unless the last reply is an answer."""
        reply = self._reply
        if reply is not None and reply.status >= 400:
            raise RequestRefused(reply.status, reply.problem, reply.reason)
