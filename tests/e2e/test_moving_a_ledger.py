"""A ledger moves from SQLite to Redis while clients query: every answer arrives, and every sample is counted once."""

import contextlib
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
from click.testing import CliRunner

from calpow.archiver.cli.ledger import ledger as command
from calpow.archiver.server import Server, served
from calpow.client import PowAuth
from calpow.handler.ledger.uri import open_ledger
from calpow.puzzle.solving.solver import solve
from calpow.puzzle.wire import Challenge, format_solution
from tests.support.guarded import TIMEOUT, Protected
from tests.support.redis_servers import redis_binary, redis_server

pytestmark = [pytest.mark.server, pytest.mark.long]

MODEL = "vector"
CLIENTS, QUERIES = 4, 60


@contextlib.contextmanager
def serving(protected: Mapping[str, Protected], uri: str) -> Iterator[Server]:
    """Serve the model with two workers and a ledger."""
    properties = {"default_workers_per_model": "2"}
    with served({MODEL: protected[MODEL].guarded}, properties=properties, environment={"CALPOW_LEDGER": uri}) as server:
        yield server


def payload(client: int, number: int) -> bytes:
    return f"{client / 10:.1f},{number / 1000:.4f},0,0".encode()


def solution_for(server: Server, key: str, body: bytes) -> str:
    """Return a solution of the challenge for a payload."""
    asked = requests.post(server.url(MODEL), data=body, headers={"X-Api-Key": key}, timeout=TIMEOUT)
    challenge = Challenge.from_problem(asked.content)
    return format_solution(challenge.token, solve(challenge.puzzle))


def test_clients_that_try_again_lose_no_answer_and_pay_for_each_sample_once(
    protected: Mapping[str, Protected], tmp_path: Path
) -> None:
    old = f"sqlite:///{tmp_path}/ledger.db"
    ledger = open_ledger(old)
    keys = [ledger.add_key(f"client{client}") for client in range(CLIENTS)]
    answered, statuses = [0] * CLIENTS, set()
    with contextlib.ExitStack() as stack:
        redis = stack.enter_context(redis_server(redis_binary(), tmp_path, "--save", "", "--appendonly", "yes"))
        new = redis.uri(timeout="1")
        old_server = stack.enter_context(serving(protected, old))
        balanced = {"server": old_server}

        def ask(client: int) -> None:
            with requests.Session() as session:
                session.auth = PowAuth(keys[client])
                for number in range(QUERIES):
                    status = 0
                    while status != 200:
                        url = balanced["server"].url(MODEL)
                        status = session.post(url, data=payload(client, number), timeout=TIMEOUT).status_code
                        statuses.add(status)
                    answered[client] += 1

        spent = solution_for(old_server, keys[0], b"0.9,0,0,0")
        headers = {"X-Api-Key": keys[0], "PoW-Solution": spent}
        assert requests.post(old_server.url(MODEL), data=b"0.9,0,0,0", headers=headers, timeout=TIMEOUT).ok
        with ThreadPoolExecutor(CLIENTS) as pool:
            asking = [pool.submit(ask, client) for client in range(CLIENTS)]
            while sum(answered) < CLIENTS * QUERIES // 4:
                time.sleep(0.01)
            moved = CliRunner().invoke(command, ["move", new, "--ledger", old])
            assert moved.exit_code == 0, moved.output
            at_move = sum(answered)
            open_solution = solution_for(old_server, keys[1], b"0.8,0,0,0")
            refused = requests.post(
                old_server.url(MODEL),
                data=b"0.8,0,0,0",
                headers={"X-Api-Key": keys[1], "PoW-Solution": open_solution},
                timeout=TIMEOUT,
            )
            assert (refused.status_code, refused.json()["type"]) == (503, "urn:calpow:problem:ledger-unavailable")
            assert int(refused.headers["Retry-After"]) > 0
            new_server = stack.enter_context(serving(protected, new))
            balanced["server"] = new_server
            for future in asking:
                future.result()
        assert answered == [QUERIES] * CLIENTS
        assert at_move < CLIENTS * QUERIES, "all was answered before the move"
        assert statuses <= {200, 503}
        for body, solution, key in ((b"0.7,0,0,0", spent, keys[0]), (b"0.8,0,0,0", open_solution, keys[1])):
            headers = {"X-Api-Key": key, "PoW-Solution": solution}
            again = requests.post(new_server.url(MODEL), data=body, headers=headers, timeout=TIMEOUT)
            assert again.status_code == 402, "work for the old deployment bought an answer of the new one"
        counted = [open_ledger(new).account(MODEL, f"client{client}").history.queries for client in range(CLIENTS)]
        assert counted == [QUERIES + 1] + [QUERIES] * (CLIENTS - 1)
