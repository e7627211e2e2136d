"""Malformed requests: a corpus of headers, tokens, stamps, bodies and gRPC maps, and changes of what is well-formed.

What they present as work is worth nothing: their stamps have counters that nobody searched for.
"""

import base64
import json
import random
import string
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from calpow.puzzle.prepaid import prepaid_resource
from tests.support.grpc_wire import field

Body = tuple[bytes, str]  # and its media type

# TorchServe itself refuses a header of 9 KB, and Netty a line break in one.
_MOST_HEADER_BYTES = 8_000
_VECTOR = b"0.1,0.9,0.3,0.2"
_TEXTS = [
    b"",
    b" ",
    b"\x00",
    b"\xff\xfe",
    "\u202e\U0001f4a9\ud7ff".encode(),
    b"null",
    b"NaN",
    b"-1",
    b"1e999",
    b"9" * 5_000,
    b"%s%n%x",
    b"../../../etc/passwd",
    b"'; DROP TABLE accounts; --",
    b"${jndi:ldap://127.0.0.1/a}",
    b"<script>alert(1)</script>",
    b"a" * 7_900,
    b"prepaid",
    b"Bearer x",
    b"TRUE",
]
_BODIES: list[Body] = [
    (b"", ""),
    (_VECTOR, ""),
    (b"\x00" * 50_000, ""),
    (b"[" * 100_000, "application/json"),
    (b"[" * 990 + b"]" * 990, "application/json"),
    (b'{"instances": [[1, 2, 3, 4]]}', "application/json"),
    (b'{"instances": ' + b"[1]," * 20_000 + b"}", "application/json"),
    (b'{"data": NaN}', "application/json"),
    (b'{"data": ' + b"9" * 6_000 + b"}", "application/json"),
    (b'{"data": "\\ud800"}', "application/json"),
    (b'{"data": 1, "data": 2}', "application/json"),
    (b"\xef\xbb\xbf{}", "application/json"),
    (b"{}", "application/json; charset=utf-16"),
    (b"null", "application/json"),
    (b"--x\r\n", "multipart/form-data; boundary=x"),
    (b'--x\r\nContent-Disposition: form-data; name="data"\r\n\r\n1\r\n--x--\r\n', "multipart/form-data; boundary=x"),
    (
        b'--x\r\nContent-Disposition: form-data; name="X-Api-Key"\r\n\r\n1\r\n--x--\r\n',
        "multipart/form-data; boundary=x",
    ),
    (b"--x", "multipart/form-data"),
    (b"a=1&a=2&%zz=%", "application/x-www-form-urlencoded"),
    (b"", "application/x-www-form-urlencoded"),
    (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x7f\xff\xff\xff\x7f\xff\xff\xff\x08\x06\x00\x00\x00", "image/png"),
    (b'{"data": "iVBORw0KGgo' + b"A" * 999 + b'"}', "application/json"),
    (b"GIF89a\xff\xff\xff\xff", "image/gif"),
    (b"II*\x00\xff\xff\xff\xff", "image/tiff"),
    (b"RIFF\xff\xff\xff\xffWEBPVP8X", "image/webp"),
    (b"x", "text/plain; charset=nonsense"),
]
_PATHS = [
    "/predictions/{model}",
    "/predictions/{model}",
    "/predictions/{model}",
    "/predictions/{model}/1.0",
    "/predictions/{model}/1.0/a%20b/%ff",
    "/predictions/{model}?data=%00&describe=True",
    "/explanations/{model}",
    "/invocations?model_name={model}",
    "/v1/models/{model}:predict",
    "/v2/models/{model}/infer",
]
_NAMES = ["X-Api-Key", "x-api-key", "X-API-KEY", "PoW-Solution", "pow-solution", "describe", "explain", "PoW-Next"]
_NAMES += ["PoW-Reply", "Content-Encoding", "Accept", "Origin", "Cookie", "X-Vector", "url_path", "body", "data"]
_ENTRIES = [*_NAMES, "", "\u00e9", "a" * 3_000, "\x00"]


@dataclass(frozen=True)
class Offer:
    """Knowledge of a client that has asked a model once: its key, and the challenge that it got."""

    model: str
    host: str
    key: str
    token: str
    challenge_id: str
    realm: str


class Malformer:
    """Makes one malformed request after another, the same ones for the same seed."""

    def __init__(self, offer: Offer, seed: int) -> None:
        self._offer = offer
        self._random = random.Random(seed)

    def http(self) -> bytes:
        """Return a request by HTTP, whose length is as it says."""
        body, kind = self._body()
        headers = [(b"Host", self._offer.host.encode()), (b"Content-Length", str(len(body)).encode())]
        if kind:
            headers.append((b"Content-Type", kind.encode()))
        headers += [(name.encode(), self._header(value)) for name, value in self._fields(_NAMES)]
        self._random.shuffle(headers)
        path = self._random.choice(_PATHS).format(model=self._offer.model)
        lines = [f"POST {path} HTTP/1.1".encode(), *(name + b": " + value for name, value in headers), b"", b""]
        return b"\r\n".join(lines) + body

    def grpc(self) -> bytes:
        """Return a PredictionsRequest, as bytes."""
        fields = [*self._fields(_ENTRIES), (self._random.choice(("data", "body", "")), self._body()[0])]
        entries = [(name.encode(), value) for name, value in fields]
        if self._random.random() < 0.05:
            entries.append((b"\xff\xfe", b"no UTF-8"))
        message = field(1, self._offer.model.encode())
        message += b"".join(field(3, field(1, name) + field(2, value)) for name, value in entries)
        return self._changed(message) if self._random.random() < 0.05 else message

    def _fields(self, names: Sequence[str]) -> list[tuple[str, bytes]]:
        """Return key, solution and others, some of them twice, some not at all."""
        fields = [("X-Api-Key", self._key()), ("PoW-Solution", self._solution())]
        fields += [(self._random.choice(names), self._text()) for _ in range(self._random.randrange(3))]
        return [field for field in fields if self._random.random() < 0.93]

    def _header(self, value: bytes) -> bytes:
        """Return a value without line breaks, and mostly without what Netty itself refuses in a header."""
        if self._random.random() < 0.97:
            value = bytes(byte if byte > 0x1F and byte != 0x7F else 0x3F for byte in value)
        return value.replace(b"\r", b" ").replace(b"\n", b" ")[:_MOST_HEADER_BYTES]

    def _key(self) -> bytes:
        key = self._offer.key.encode()
        return key if self._random.random() < 0.85 else self._random.choice((self._changed(key), self._text()))

    def _solution(self) -> bytes:
        choices: tuple[Callable[[], bytes], ...] = (
            lambda: self._token() + b" " + self._stamps(self._offer.challenge_id),
            lambda: b"prepaid " + self._stamps(prepaid_resource(self._offer.realm, self._offer.key)),
            lambda: self._changed(self._offer.token.encode() + b" " + self._stamps(self._offer.challenge_id)),
            lambda: self._changed(b"prepaid " + self._stamps(prepaid_resource(self._offer.realm, self._offer.key))),
            self._text,
        )
        return self._random.choice(choices)()

    def _token(self) -> bytes:
        """Return the token with other claims or another header, or itself."""
        token = self._offer.token
        header, claims, signature = token.split(".")
        document = json.loads(base64.urlsafe_b64decode(claims + "=="))
        name = self._random.choice([*document, "rest", "ids", "work", "until", "withheld", "digest"])
        document[name] = self._random.choice((0, -1, 2**70, 1.5, True, None, "", "x", [], {}, [[]], ["x"] * 99))
        altered = _encoded(json.dumps(document).encode())
        none = _encoded(b'{"alg":"none"}')
        choices = (
            f"{header}.{altered}.{signature}",
            f"{none}.{claims}.",
            f"{none}.{altered}.{signature}",
            f"{header}.{claims}.{signature}=",
            f"{header}.{claims}",
            f"{header}.{_encoded(self._text())}.{signature}",
            token,
        )
        return self._random.choice(choices).encode()

    def _stamps(self, resource: str) -> bytes:
        count = self._random.choice((0, 1, 4, 16, 20, 31, 64, 65, 99))
        return b" ".join(self._stamp(resource, index) for index in range(count))

    def _stamp(self, resource: str, index: int) -> bytes:
        date = time.strftime(self._random.choice(("%y%m%d%H%M%S", "%y%m%d", "999999", "")), time.gmtime())
        bits = self._random.choice((5, 12, 20, 20, 20, 64, 160, 161, -1, 10**30))
        counter = "".join(self._random.choices(string.ascii_letters, k=8))
        version = self._random.choice((1, 1, 1, 1, 1, 1, 0, 2))
        return f"{version}:{bits}:{date}:{resource}:{index}:rand:{counter}".encode()

    def _body(self) -> Body:
        body, kind = self._random.choice(_BODIES)
        return (self._changed(body[:2_000]), kind) if self._random.random() < 0.3 else (body, kind)

    def _text(self) -> bytes:
        if self._random.random() < 0.3:
            return self._random.randbytes(self._random.randrange(200))
        return self._random.choice(_TEXTS)

    def _changed(self, data: bytes) -> bytes:
        """Return data with a part taken out, doubled, or replaced."""
        first, last = sorted(self._random.choices(range(len(data) + 1), k=2))
        part = data[first:last]
        new = self._random.choice((b"", part * 2, self._text(), self._random.randbytes(len(part)), part[::-1]))
        return data[:first] + new + data[last:]


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
