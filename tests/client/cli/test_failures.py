"""Failures in one printable line, whatever was raised."""

import click
import pytest
import requests

from calpow.client.cli.failures import describe
from calpow.puzzle.errors import CalpowError

REQUEST = requests.Request("POST", "http://x/predictions/m").prepare()


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (CalpowError("too\nmany \x1b lines"), "too many ? lines"),
        (click.UsageError("Missing option '--data'."), "Missing option '--data'"),
        (
            requests.ConnectionError(request=REQUEST),
            "cannot reach http://x/predictions/m: is the server up, and the URL right?",
        ),
        (
            requests.ReadTimeout(request=REQUEST),
            "no answer from http://x/predictions/m in time: is the model loaded?",
        ),
        (FileNotFoundError(2, "No such file or directory", "a"), "a: No such file or directory"),
        (FileNotFoundError(2, "No such file or directory", ""), "'': No such file or directory"),
        (BrokenPipeError(32, "Broken pipe"), "Broken pipe"),
        (OSError(), "OSError"),
        (KeyError("k"), "internal error, KeyError: 'k' (calpow --debug COMMAND shows the traceback)"),
    ],
)
def test_an_error_is_one_line(error: Exception, line: str) -> None:
    assert describe(error) == line
