"""What a server says when it does not answer: RFC 9457 problems and TorchServe's own error documents."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from requests import Response

_LONGEST_REASON = 300


def problem_of(body: bytes) -> Mapping[str, object]:
    """Return the JSON object in a body, empty if there is none."""
    try:
        document: object = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def reason_of(body: bytes, phrase: str) -> str:
    """Return the server's reason as one printable line: detail, TorchServe's message, title or the status' phrase."""
    problem = problem_of(body)
    for name in ("detail", "message", "title"):
        text = problem.get(name)
        if isinstance(text, str) and text.strip():
            line = one_line(text)
            return line if len(line) <= _LONGEST_REASON else line[:_LONGEST_REASON] + "..."
    return one_line(phrase or "no reason given")


def problem_in(response: Response) -> Mapping[str, object]:
    """Return the JSON object in the body, empty if there is none; reads the body to its end."""
    return problem_of(response.content or b"")


def reason_in(response: Response) -> str:
    """Return the server's reason as one printable line; reads the body to its end."""
    return reason_of(response.content or b"", response.reason or "")


def one_line(text: str) -> str:
    """Fold white space and replace what a terminal must not get to see."""
    return "".join(character if character.isprintable() else "?" for character in " ".join(text.split()))
