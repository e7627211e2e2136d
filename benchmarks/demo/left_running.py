"""The demo's model, left running, with a page to draw on and lines to paste."""

import json
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from benchmarks.demo.pages import pages
from benchmarks.demo.protected_model import CONFIG, MODEL, STORE, heading
from calpow.archiver.server import free_ports, served
from calpow.handler.ledger.uri import open_ledger

DEFAULT_PORTS = (8080, 8081, 8082, 7070)
# What pages of another origin need to ask: docs/operating.md.
CORS = {"cors_allowed_methods": "POST", "cors_allowed_headers": "X-Api-Key, PoW-Solution, Content-Type"}


def serve(users: Path) -> None:
    """Serve the protected model and a page that queries it until Ctrl-C, and print how to use them."""
    ledger = open_ledger(os.environ["CALPOW_LEDGER"])
    key = ledger.add_key("demo")
    example = sorted(users.rglob("*.png"))[0]
    archives = {MODEL: STORE / f"{MODEL}.mar"}
    documents: dict[str, bytes] = {}
    with pages(documents) as site:
        properties = {**CORS, "cors_allowed_origin": site}
        with served(archives, config=CONFIG, properties=properties, ports=usable_ports()) as server:
            url = server.url(MODEL)
            documents["/demo.json"] = json.dumps({"url": url, "key": key}).encode()
            heading(f"3. The protected model is up at {url}; Ctrl-C stops it")
            print(instructions(url, key, str(example), site), flush=True)
            with suppress(KeyboardInterrupt):
                server.process.wait()
    print("stopped")


def instructions(url: str, key: str, example: str, site: str) -> str:
    """Return what to open in a browser, and lines to paste into a terminal in the project's folder."""
    return f"""
Draw a digit in a browser, with the key {key}, which the page already has:
  {site}/demo.html
Ask without work, and keep the challenge:
  curl -m 10 -s -H 'X-Api-Key: {key}' -T {example} {url} -o challenge.json; cat challenge.json
Solve it and ask again:
  curl -m 10 -s -H 'X-Api-Key: {key}' -H "$(.venv/bin/calpow solve challenge.json)" -T {example} {url}
Or both at once:
  .venv/bin/calpow predict --key {key} {url} {example}
"""


def usable_ports() -> Sequence[int]:
    """Return the ports of config.properties if they are free, else others."""
    with suppress(OSError), occupied(DEFAULT_PORTS):
        return DEFAULT_PORTS
    return free_ports(len(DEFAULT_PORTS))


@contextmanager
def occupied(ports: Sequence[int]) -> Iterator[None]:
    """Context manager that holds ports. Raises OSError when one is taken."""
    sockets = [socket.socket() for _ in ports]
    try:
        for listener, port in zip(sockets, ports, strict=True):
            listener.bind(("127.0.0.1", port))
        yield
    finally:
        for listener in sockets:
            listener.close()
