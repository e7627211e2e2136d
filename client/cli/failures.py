"""Failures of commands: exit codes, and one line for each error."""

from __future__ import annotations

import ssl
import sys
from typing import TYPE_CHECKING

import click

from calpow.client.reply import one_line
from calpow.puzzle.errors import CalpowError

if TYPE_CHECKING:
    import requests

REFUSED = 1
FAILED = 2
INTERRUPTED = 130  # as shells report SIGINT


def describe(error: Exception) -> str:
    """Return one line that names the failure and, if possible, a remedy."""
    return one_line(_message(error))


def complain(message: str) -> None:
    """Print a message on stderr, after the program's name."""
    print(f"calpow: {message}", file=sys.stderr)


def _message(error: Exception) -> str:
    if isinstance(error, click.UsageError):
        return _usage_message(error)
    if isinstance(error, CalpowError):
        return str(error)
    if isinstance(error, OSError):
        return _os_message(error)
    return f"internal error, {type(error).__name__}: {error} (calpow --debug COMMAND shows the traceback)"


def _usage_message(error: click.UsageError) -> str:
    hint = f" (see {error.ctx.command_path} --help)" if error.ctx is not None else ""
    return error.format_message().rstrip(".") + hint


def _os_message(error: OSError) -> str:
    import requests  # `calpow --help` must not wait for this import

    if isinstance(error, requests.exceptions.SSLError) and error.request is not None:
        return _tls_message(error, str(error.request.url))
    if isinstance(error, requests.ConnectionError) and error.request is not None:
        return f"cannot reach {error.request.url!s}: is the server up, and the URL right?"
    if isinstance(error, requests.Timeout) and error.request is not None:
        return f"no answer from {error.request.url!s} in time: is the model loaded?"
    if isinstance(error, requests.exceptions.InvalidSchema):
        return f"{error}: give a URL that begins with http:// or https://"
    if error.filename is not None:
        return f"{error.filename or repr('')}: {error.strerror}"
    return error.strerror or str(error) or type(error).__name__


def _tls_message(error: requests.exceptions.SSLError, url: str) -> str:
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ssl.SSLError):  # requests and urllib3 wrap it
        cause = cause.__cause__ or cause.__context__
    if isinstance(cause, ssl.SSLCertVerificationError):
        return (
            f"the certificate of {url} is not accepted ({cause.verify_message.rstrip('.')}): REQUESTS_CA_BUNDLE=FILE"
            " names the certificates of an authority of your own"
        )
    return f"no TLS connection to {url} ({error if cause is None else cause.reason}): does the server speak TLS there?"
