"""The file sender: as many connections as threads, no more."""

import pytest
import requests

from calpow.client.cli.file_sender import FileSender
from calpow.client.cli.main import main
from calpow.client.errors import FolderGiven
from calpow.client.requests import PowAuth
from tests.support.command_line import json_files
from tests.support.pow_server import PowServer


@pytest.mark.slow
def test_jobs_are_sent_at_once_over_as_many_connections(server: PowServer) -> None:
    server.seconds = 0.05
    assert main(["predict", f"{server.url}/sleepy", *json_files(24), "--jobs", "6", "--output", "o"]) == 0
    assert server.max_concurrent == 6
    assert server.connections <= 6


def test_one_job_sends_one_file_at_a_time_over_one_connection(server: PowServer) -> None:
    assert main(["predict", f"{server.url}/paid", *json_files(6), "--output", "o"]) == 0
    assert (server.max_concurrent, server.connections) == (1, 1)


@pytest.mark.parametrize("url", ["127.0.0.1/x", "localhost:9/x", "http://"])
def test_a_url_that_cannot_be_one_is_refused_before_any_file(url: str) -> None:
    with pytest.raises(requests.RequestException):
        FileSender(url, PowAuth("k"), 1)


def test_a_folder_is_refused_without_a_request(server: PowServer) -> None:
    with FileSender(f"{server.url}/free", PowAuth("k"), 1) as sender, pytest.raises(FolderGiven):
        sender.send(".")
    assert server.requests == []
