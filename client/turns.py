"""Many threads that ask, one at a time that computes."""

from __future__ import annotations

import threading
from typing import Any

from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter


class TurnTakingAdapter(HTTPAdapter):
    """Gives up the caller's turn while it waits for the server, and takes it again with the response.

    The solver uses every core for a puzzle that is worth it, so that puzzles of several threads at once would only
    take the cores from each other. Who sends through this adapter holds `turn`.

    connections: how many are kept open to a server.
    """

    def __init__(self, turn: threading.Lock, connections: int) -> None:
        super().__init__(pool_maxsize=connections)
        self._turn = turn

    def send(self, request: PreparedRequest, *args: Any, **options: Any) -> Response:
        """Send one request and read the response to its end."""
        self._turn.release()
        try:
            response = super().send(request, *args, **options)
            _ = response.content  # else it would be read, and waited for, with the turn taken
            return response
        finally:
            self._turn.acquire()
