"""What went wrong, in the words of the command line."""

from __future__ import annotations

import requests

from calpow.client.protocol.problems import one_line
from calpow.puzzle.errors import CalpowError


def describe(error: Exception) -> str:
    """Say in one line what was wrong and what to do."""
    return one_line(_describe(error))


def _describe(error: Exception) -> str:
    if isinstance(error, CalpowError):
        return str(error)
    if isinstance(error, requests.ConnectionError) and error.request is not None:
        return f"cannot reach {error.request.url!s}: is the server up, and the URL right?"
    if isinstance(error, requests.Timeout) and error.request is not None:
        return f"no answer from {error.request.url!s} in time: is the model loaded?"
    if isinstance(error, requests.exceptions.InvalidSchema):
        return f"{error}: give a URL that begins with http:// or https://"
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename or repr('')}: {error.strerror}"
    return str(error) or type(error).__name__
