"""The browser client's folder as a web site of its own: another origin than the model's, as in real use."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "client" / "js"
# Only this site's scripts run, requests may go to any model, and no other page may frame it.
POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; style-src 'self'; "
    "img-src 'self' blob: data:; connect-src *; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
PREFERRED_PORT = 8090


@contextmanager
def pages(documents: Mapping[str, bytes], folder: Path = FOLDER, port: int = PREFERRED_PORT) -> Iterator[str]:
    """Serve a folder, and JSON documents beside it by path, on loopback until the block ends; gives the base URL.

    Where the port is taken, another one is used.
    """
    served = type("Handler", (_Handler,), {"documents": documents, "folder": folder})
    http = _listen(served, port)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{http.server_port}"
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


def _listen(handler: type[SimpleHTTPRequestHandler], port: int) -> ThreadingHTTPServer:
    with suppress(OSError):
        return ThreadingHTTPServer(("127.0.0.1", port), handler)
    return ThreadingHTTPServer(("127.0.0.1", 0), handler)


class _Handler(SimpleHTTPRequestHandler):
    documents: Mapping[str, bytes]
    folder: Path

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments, directory=str(self.folder))  # type: ignore[arg-type]

    def guess_type(self, path: str | os.PathLike[str]) -> str:
        # Some machines' registries call scripts text/plain, and browsers then run no module.
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
