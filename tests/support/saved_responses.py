"""Challenges in the forms in which people save them."""

import json
from dataclasses import replace
from datetime import datetime
from email.utils import format_datetime

from calpow.puzzle.wire import Challenge, www_authenticate


def problem_body(challenge: Challenge) -> bytes:
    """Return the body of a 402."""
    return json.dumps({"status": 402, "challenge": challenge.to_document()}, indent=1).encode()


def expiring_body(challenge: Challenge, expires: datetime) -> bytes:
    """Return the body of a 402 whose challenge says that it expires then."""
    return problem_body(replace(challenge, expires=expires.replace(microsecond=0)))


def header_value(challenge: Challenge) -> str:
    """Return the value of a WWW-Authenticate header."""
    return www_authenticate("digits@9f2c41", challenge.token)


def dump(challenge: Challenge, *, body: bytes = b"", date: datetime | None = None, line_end: str = "\r\n") -> bytes:
    """Return what `curl -i` writes of a 402 over HTTP/1.1."""
    headers = ["HTTP/1.1 402 Payment Required", "content-length: 1", f"www-authenticate: {header_value(challenge)}"]
    if date is not None:
        headers.append(f"date: {format_datetime(date, usegmt=True)}")
    return line_end.join([*headers, "", ""]).encode() + body
