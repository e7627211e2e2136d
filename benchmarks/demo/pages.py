"""The web site of the demo page: another origin than the model's server, as in real use."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CLIENT_FOLDER = ROOT / "client" / "js"
PAGE_FOLDER = Path(__file__).resolve().parent / "page"
# Only scripts of this site run, requests may go to any model, and no other page may show this one in a frame.
POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; style-src 'self'; "
    "img-src 'self' blob: data:; connect-src *; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
PREFERRED_PORT = 8090


@contextmanager
def pages(documents: Mapping[str, bytes], port: int = PREFERRED_PORT) -> Iterator[str]:
    """Serve the demo page and the browser client on loopback until the block ends; yields the base URL.

    Both folders are served as one, and so are the JSON documents, by their paths. If the port is taken, another one is
    used.
    """
    handler = type("Handler", (_Handler,), {"documents": documents})
    server = _listen(handler, port)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _listen(handler: type[SimpleHTTPRequestHandler], port: int) -> ThreadingHTTPServer:
    with suppress(OSError):
        return ThreadingHTTPServer(("127.0.0.1", port), handler)
    return ThreadingHTTPServer(("127.0.0.1", 0), handler)


class _Handler(SimpleHTTPRequestHandler):
    documents: Mapping[str, bytes]

    def translate_path(self, path: str) -> str:
        """Return the file of a path: the client's if it has one, else the page's."""
        self.directory = str(CLIENT_FOLDER)
        file = super().translate_path(path)
        if os.path.isfile(file):
            return file
        self.directory = str(PAGE_FOLDER)
        return super().translate_path(path)

    def guess_type(self, path: str | os.PathLike[str]) -> str:
        # Some systems register scripts as text/plain, and browsers then refuse to run modules.
        return "text/javascript" if str(path).endswith(".js") else super().guess_type(path)

    def do_GET(self) -> None:  # the name the base class looks for
        document = self.documents.get(self.path)
        if document is None:
            super().do_GET()
            return
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(document)))
        self.end_headers()
        self.wfile.write(document)

    def end_headers(self) -> None:
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Security-Policy", POLICY)
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass
