"""A small HTTP server that asks for work: it issues challenges and verifies solutions."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from tests.support.pow_routes import ROUTES, ConnectionLost, Response
from tests.support.pow_state import PowServer, ReceivedRequest

__all__ = ["NO_LIMITS", "PowServer", "running"]

# With these, a command takes on work that it cannot finish.
NO_LIMITS = ("--max-hashes", str(2**60), "--max-seconds", "1e9")


@contextmanager
def running(server: PowServer) -> Iterator[PowServer]:
    """Serve on a free port of this machine until the block ends."""
    http = _HttpServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"state": server}))
    server.url = f"http://127.0.0.1:{http.server_port}"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


class _HttpServer(ThreadingHTTPServer):
    request_queue_size = 512
    daemon_threads = True


class _Handler(BaseHTTPRequestHandler):
    state: PowServer
    protocol_version = "HTTP/1.1"  # connections stay open, so that tests can count them
    disable_nagle_algorithm = True

    def setup(self) -> None:
        super().setup()
        self.state.connections += 1

    def do_GET(self) -> None:  # the name that the base class looks for
        self.do_POST()

    def do_PUT(self) -> None:  # what `curl -T` sends
        self.do_POST()

    def do_POST(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = ReceivedRequest(self.path, headers, self._read_body())
        self.state.requests.append(request)
        path = urlsplit(self.path).path  # for a proxy, the target is the whole URL
        with self.state.counting_concurrency():
            try:
                self._send(ROUTES[path](self.state, request))
            except ConnectionLost as lost:
                self._break(within_body=lost.within_body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass

    def _read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _send(self, response: Response) -> None:
        self.send_response_only(response.status)
        if self.state.dated:
            self.send_header("Date", formatdate(self.state.now(), usegmt=True))
        for name, value in response.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(response.body)))
        self.end_headers()
        self.wfile.write(response.body)

    def _break(self, *, within_body: bool) -> None:
        if within_body:
            self.send_response_only(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"5\r\n{")
        self.close_connection = True
