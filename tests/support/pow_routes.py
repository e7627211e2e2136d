"""The routes of the tests' PoW server: its response to a request, by the request's path."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from calpow.puzzle.wire import MAX_TOKEN_LENGTH, NEXT_HEADER, PROBLEM_TYPE, SUBJECT_HEADER, Challenge, www_authenticate
from tests.support.pow_issuer import REALM, Refused
from tests.support.pow_state import PowServer, ReceivedRequest


@dataclass(frozen=True)
class Response:
    """A response; header names as they are sent."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


class ConnectionLost(Exception):
    """The connection breaks instead of a response, or within its body."""

    def __init__(self, *, within_body: bool) -> None:
        super().__init__()
        self.within_body = within_body


Route = Callable[[PowServer, ReceivedRequest], Response]
ROUTES: dict[str, Route] = {}


def route(function: Route) -> Route:
    """Serve a path, which is the function's name with hyphens."""
    ROUTES[f"/{function.__name__.replace('_', '-')}"] = function
    return function


# Answers and their prices


@route
def free(server: PowServer, request: ReceivedRequest) -> Response:
    """The request's own body."""
    return Response(200, request.body)


@route
def paid(server: PowServer, request: ReceivedRequest) -> Response:
    """The request's body for `count` stamps of `bits` bits."""
    return unpaid(server, request, server.count << server.bits) or Response(200, request.body)


@route
def priced(server: PowServer, request: ReceivedRequest) -> Response:
    """The request's body for `price` hashes, after `delay`; answers announce the price of the next."""
    time.sleep(server.delay)
    return unpaid(server, request, server.price_in_whole_stamps()) or _announcing_answer(server, request)


@route
def dear(server: PowServer, request: ReceivedRequest) -> Response:
    """As priced, but an answer costs `due` hashes, and is withheld if that is more than twice what was paid."""
    price = server.price_in_whole_stamps()
    return unpaid(server, request, price, server.due) or _announcing_answer(server, request)


@route
def rising(server: PowServer, request: ReceivedRequest) -> Response:
    """As priced, and the price doubles with each of the first `refusals` solutions."""
    if request.solution is not None and server.refuses_once_more():
        server.price *= 2
    return priced(server, request)


@route
def header(server: PowServer, request: ReceivedRequest) -> Response:
    """The challenge is only in WWW-Authenticate, beside another scheme."""
    if request.solution is not None:
        return paid(server, request)
    value = f"Basic, {www_authenticate(REALM, server.challenge().token)}"
    return Response(402, b"pay", {"WWW-Authenticate": value})


@route
def cookie(server: PowServer, request: ReceivedRequest) -> Response:
    """Answers only with the cookie that came with the challenge."""
    if request.solution is None:
        return demand(server.challenge(), headers={"Set-Cookie": "route=a"})
    if "route=a" in request.headers.get("cookie", ""):
        return paid(server, request)
    return Response(400, b"another machine")


@route
def sleepy(server: PowServer, request: ReceivedRequest) -> Response:
    """As paid, and every response takes `seconds`."""
    time.sleep(server.seconds)
    return paid(server, request)


@route
def picky(server: PowServer, request: ReceivedRequest) -> Response:
    """As paid, but 400 for a body with the word bad."""
    if b"bad" in request.body:
        return problem(400, {"detail": "the payload cannot be read"})
    return paid(server, request)


# Solutions that do not help


@route
def late(server: PowServer, request: ReceivedRequest) -> Response:
    """As paid, but the first `refusals` solutions are refused as expired."""
    if request.solution is not None and server.refuses_once_more():
        return demand(server.challenge(), "challenge-expired", "the challenge has expired:\nask again")
    return paid(server, request)


@route
def never(server: PowServer, request: ReceivedRequest) -> Response:
    """Every solution is refused, after `seconds`; the challenges are the smallest."""
    if request.solution is None:
        return demand(server.challenge(1, 1))
    time.sleep(server.seconds)
    return demand(server.challenge(1, 1), "invalid-solution", "no stamps are\ngood enough")


@route
def deaf(server: PowServer, request: ReceivedRequest) -> Response:
    """No solution arrives."""
    return demand(server.challenge())


# Challenges that cannot be solved


@route
def bare(server: PowServer, request: ReceivedRequest) -> Response:
    """Another server's 402, without a challenge."""
    return Response(402, b"subscribe first")


@route
def hollow(server: PowServer, request: ReceivedRequest) -> Response:
    """A 402 of the protocol that has lost its challenge."""
    document = {"type": "urn:calpow:problem:pow-required", "status": 402, "title": "Proof of work required"}
    return problem(402, document)


@route
def heavy(server: PowServer, request: ReceivedRequest) -> Response:
    """A challenge that is more work than anyone allows."""
    return demand(server.challenge(bits=40))


@route
def slow(server: PowServer, request: ReceivedRequest) -> Response:
    """A challenge that takes a minute or more."""
    return demand(server.challenge(bits=30, count=16))


@route
def brief(server: PowServer, request: ReceivedRequest) -> Response:
    """The same, with a second or two to solve it."""
    server.lifetime = 2.0
    return slow(server, request)


@route
def foreign(server: PowServer, request: ReceivedRequest) -> Response:
    """A challenge of an unknown algorithm."""
    return problem(402, {"challenge": {**server.challenge().to_document(), "algorithm": "argon2id"}})


@route
def broken(server: PowServer, request: ReceivedRequest) -> Response:
    """A challenge that lacks most of its members."""
    return problem(402, {"challenge": {"bits": 4}})


@route
def absurd(server: PowServer, request: ReceivedRequest) -> Response:
    """A challenge that asks for a stamp of 60 bits."""
    return problem(402, {"challenge": {**server.challenge().to_document(), "bits": 60, "count": 1}})


@route
def unsigned(server: PowServer, request: ReceivedRequest) -> Response:
    """A challenge whose token is no JWT."""
    return problem(402, {"challenge": {**server.challenge().to_document(), "token": "no.token"}})


@route
def lengthy(server: PowServer, request: ReceivedRequest) -> Response:
    """A challenge whose token is longer than is read."""
    document = server.challenge().to_document()
    return problem(402, {"challenge": {**document, "token": f"{document['token']:x<{MAX_TOKEN_LENGTH + 1}}"}})


# Redirects, refusals, and connections that break


@route
def moved(server: PowServer, request: ReceivedRequest) -> Response:
    """A redirect to `target`."""
    return Response(307, b"", {"Location": server.target})


@route
def paid_moved(server: PowServer, request: ReceivedRequest) -> Response:
    """A redirect to `target`, for a solution."""
    return demand(server.challenge()) if request.solution is None else moved(server, request)


@route
def fault(server: PowServer, request: ReceivedRequest) -> Response:
    """TorchServe's own 404."""
    text = b'{"code": 404, "type": "ModelNotFoundException", "message": "Model not found:\\n echo\\u001b"}'
    return Response(404, text, {"Content-Type": "application/json"})


@route
def named(server: PowServer, request: ReceivedRequest) -> Response:
    """As priced, for accounts without a key: every response announces the `subject`."""
    response = priced(server, request)
    return replace(response, headers={**response.headers, SUBJECT_HEADER: server.subject or ""})


@route
def rename(server: PowServer, request: ReceivedRequest) -> Response:
    """Changes the `subject` to the request's body."""
    server.subject = request.body.decode()
    return Response(200, b"")


@route
def large(server: PowServer, request: ReceivedRequest) -> Response:
    """Too many samples."""
    return problem(413, {"type": "urn:calpow:problem:too-large", "status": 413, "detail": "send at most 256 samples"})


@route
def unexplained(server: PowServer, request: ReceivedRequest) -> Response:
    """A server that gives no explanations."""
    kind = "urn:calpow:problem:explanation-refused"
    return problem(403, {"type": kind, "status": 403, "detail": "ask for predictions"})


@route
def denied(server: PowServer, request: ReceivedRequest) -> Response:
    """A 401 for an unknown key."""
    return problem(401, {"type": "urn:calpow:problem:identity-unknown", "detail": "unknown or revoked key"})


@route
def keyless(server: PowServer, request: ReceivedRequest) -> Response:
    """No key arrives."""
    return Response(401, b'{"type": "urn:calpow:problem:identity-missing", "status": 401}')


@route
def busy(server: PowServer, request: ReceivedRequest) -> Response:
    """As paid, but the first `refusals` requests get the status `busy`, with `retry_after`."""
    if not server.refuses_once_more():
        return paid(server, request)
    headers = {} if server.retry_after is None else {"Retry-After": server.retry_after}
    return Response(server.busy, b'{"code": 503, "message": "no room"}', headers)


@route
def lost(server: PowServer, request: ReceivedRequest) -> Response:
    """As priced, but the connection breaks before the first `refusals` answers, which are settled."""
    return _breaking(server, request, within_body=False)


@route
def torn(server: PowServer, request: ReceivedRequest) -> Response:
    """As priced, but the connection breaks within the first `refusals` answers, which are settled."""
    return _breaking(server, request, within_body=True)


def _breaking(server: PowServer, request: ReceivedRequest, *, within_body: bool) -> Response:
    if request.solution is None or not server.refuses_once_more():
        return priced(server, request)
    assert unpaid(server, request, server.price_in_whole_stamps()) is None
    raise ConnectionLost(within_body=within_body)


# Parts of the routes


def _announcing_answer(server: PowServer, request: ReceivedRequest) -> Response:
    announced = server.price if server.announced is None else server.announced
    return Response(200, request.body, {NEXT_HEADER: str(announced)})


def unpaid(server: PowServer, request: ReceivedRequest, price: int, due: int = 0) -> Response | None:
    """Settle the request's solution; return None if it pays for the answer, else the 402."""
    if request.solution is None:
        return demand(server.challenge_for(price))
    try:
        rest = server.settle(server.present(request.solution, request.key), request.body, price, due)
    except Refused as refused:
        return demand(server.challenge_for(price), refused.problem, str(refused))
    return None if rest is None else demand(rest, "more-required", "Find more stamps.")


def demand(
    challenge: Challenge,
    kind: str = "pow-required",
    detail: str = "Find stamps.",
    headers: Mapping[str, str] | None = None,
) -> Response:
    """A 402 with a challenge."""
    document = {
        "type": f"urn:calpow:problem:{kind}",
        "title": "Proof of work required",
        "status": 402,
        "detail": detail,
        "challenge": challenge.to_document(),
    }
    return problem(402, document, {"WWW-Authenticate": www_authenticate(REALM, challenge.token), **(headers or {})})


def problem(status: int, document: Mapping[str, object], headers: Mapping[str, str] | None = None) -> Response:
    """A response whose body is an RFC 9457 document."""
    return Response(status, json.dumps(document).encode(), {"Content-Type": PROBLEM_TYPE, **(headers or {})})
