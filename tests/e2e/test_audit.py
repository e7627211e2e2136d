"""The audit of a running TorchServe names each request as TorchServe does, and holds no secret."""

import json
import time
from typing import Any

from tests.support.guarded import Site


def lines_of(site: Site, account: str, at_least: int) -> list[dict[str, Any]]:
    """The lines of an account, once there are so many or five seconds have gone by."""
    deadline = time.monotonic() + 5
    while True:
        lines = [json.loads(line) for line in site.audit.read_text().splitlines()]
        found = [line for line in lines if line["account"] == account]
        if len(found) >= at_least or time.monotonic() > deadline:
            return found
        time.sleep(0.05)


def test_a_charge_bears_the_id_that_the_client_was_told(site: Site) -> None:
    key = site.key("audited")
    answer = site.paid("vector", b"0.1,0.9,0.3,0.2", key)
    solution = str(answer.request.headers["PoW-Solution"])
    refused = site.raw("vector", b"0.9,0.1,0.3,0.2", key, solution)
    charged, spent = lines_of(site, "audited", 2)
    assert (charged["event"], charged["model"], charged["samples"]) == ("charged", "vector", 1)
    assert charged["request"] == answer.headers["x-request-id"]
    assert (spent["event"], spent["problem"]) == ("refused", "challenge-spent")
    assert spent["request"] == refused.headers["x-request-id"]
    text = site.audit.read_text()
    assert not any(part in text for part in (key, *solution.split(), "0.9,0.3"))
