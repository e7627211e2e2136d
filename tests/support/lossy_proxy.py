"""A proxy on loopback that passes commands on to a server, and loses a reply when it is told to."""

import contextlib
import selectors
import socket
import threading
from collections.abc import Iterator

PIECE = 65_536


class LossyProxy:
    """A proxy in front of a port. `lose` holds what a command must contain for its reply to be lost, or is empty."""

    def __init__(self, port: int) -> None:
        self._server = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.lose = b""
        self.lost = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._pass, args=(client,), daemon=True).start()

    def _pass(self, client: socket.socket) -> None:
        """Pass bytes in both directions until one side closes, or until a reply is lost: then close both."""
        with client, socket.create_connection(("127.0.0.1", self._server)) as server:
            selector = selectors.DefaultSelector()
            selector.register(client, selectors.EVENT_READ, server)
            selector.register(server, selectors.EVENT_READ, client)
            loses = False
            while True:
                for key, _ in selector.select():
                    data = key.fileobj.recv(PIECE)  # type: ignore[union-attr]  # they are sockets
                    if key.fileobj is client and self.lose and self.lose in data:
                        loses = True
                    if not data or (loses and key.fileobj is server):
                        self.lost += loses
                        return
                    key.data.sendall(data)


@contextlib.contextmanager
def lossy_proxy(port: int) -> Iterator[LossyProxy]:
    """Run a proxy in front of a port until the end of the block."""
    proxy = LossyProxy(port)
    try:
        yield proxy
    finally:
        proxy.close()
