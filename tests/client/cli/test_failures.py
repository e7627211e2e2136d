"""Failures in one printable line, whatever was raised."""

import ssl
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import click
import pytest
import requests

from calpow.client.cli.failures import describe
from calpow.puzzle.errors import CalpowError
from tests.support.certificates import own_certificate

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


def failure(url: str) -> str:
    """Return the line for the failure of a request."""
    with pytest.raises(requests.ConnectionError) as caught:
        requests.post(url, timeout=10)
    return describe(caught.value)


def test_a_certificate_that_is_not_trusted_is_told_from_a_server_that_is_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = own_certificate(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    with (
        HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as plain,
        HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as secure,
    ):
        secure.socket = tls.wrap_socket(secure.socket, server_side=True)
        for server in (plain, secure):
            threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"https://127.0.0.1:{secure.server_port}/"
        line = failure(url)
        assert line.startswith(f"the certificate of {url} is not accepted (self")
        assert "REQUESTS_CA_BUNDLE" in line
        assert "does the server speak TLS there?" in failure(f"https://127.0.0.1:{plain.server_port}/")
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
        assert requests.post(url, timeout=10).status_code == 501
        for server in (plain, secure):
            server.shutdown()
