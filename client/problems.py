"""What a server says when it does not answer: RFC 9457 problems and TorchServe's own error documents."""

from __future__ import annotations

from collections.abc import Mapping

from requests import Response

_LONGEST_REASON = 300


def problem_in(response: Response) -> Mapping[str, object]:
    """Return the JSON object in the body, empty if there is none; reads the body to its end."""
    try:
        document: object = response.json()
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def reason_in(response: Response) -> str:
    """Return the server's reason as one printable line: detail, TorchServe's message, title or phrase."""
    problem = problem_in(response)
    for name in ("detail", "message", "title"):
        text = problem.get(name)
        if isinstance(text, str) and text.strip():
            line = one_line(text)
            return line if len(line) <= _LONGEST_REASON else line[:_LONGEST_REASON] + "..."
    return one_line(response.reason or "no reason given")


def one_line(text: str) -> str:
    """Fold white space and replace what a terminal must not get to see."""
    return "".join(character if character.isprintable() else "?" for character in " ".join(text.split()))
