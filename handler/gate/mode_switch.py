"""The mode of a model, which an operator can change in the ledger while workers run."""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from calpow.handler.config import Mode
from calpow.handler.gate.interface import (
    Answer,
    AnswerStrategy,
    AnyRequest,
    Decision,
    Released,
    VictimRunner,
)
from calpow.handler.ledger.ledger import Ledger
from calpow.handler.logs.rate_limited_log import RateLimitedLog
from calpow.puzzle.errors import CalpowError

# A worker follows a change of the mode after this time at the latest.
SECONDS_BETWEEN_READINGS = 2.0

log = logging.getLogger(__name__)
_failures = RateLimitedLog(log, "calpow: ")


class ModeSwitch:
    """Answers in the mode that the ledger names for the model, else in that of the archive.

    While the ledger cannot be read, the last mode stays. In mode `off`, every answer of the victim is released: nothing
    is priced, charged or recorded.
    """

    def __init__(
        self,
        model: str,
        ledger: Ledger,
        packaged: Mode,
        strategies: Mapping[Mode, Callable[[], AnswerStrategy]],
    ) -> None:
        """`packaged` is the archive's mode; `strategies` make that of each other mode than `off` when it is needed."""
        self._model = model
        self._ledger = ledger
        self._packaged = packaged
        self._makers = strategies
        self._made: dict[Mode, AnswerStrategy] = {}
        self._mode = packaged
        self._prepare(packaged)

    def answer(
        self, requests: Sequence[AnyRequest], victim: VictimRunner[AnyRequest, Answer]
    ) -> list[Decision[Answer]]:
        """Return the decisions of the present mode."""
        mode = self._mode
        if mode is Mode.off:
            return [Released(answer, None) for answer in victim.run_unpriced(requests)]
        return self._made[mode].answer(requests, victim.run)

    def follow(self) -> None:
        """Begin to read the mode from the ledger, and to check its store, in a thread that delays no answer."""
        threading.Thread(target=self._follow_forever, name="calpow-mode", daemon=True).start()

    def read(self) -> None:
        """Read the mode once. Where it cannot be read, or is of a later version, the last one stays."""
        try:
            self._ledger.check_store()
            name = self._ledger.mode(self._model)
            mode = self._packaged if name is None else Mode(name)
            self._prepare(mode)
        except (CalpowError, ValueError) as error:
            _failures.warning("the mode is not known, the last one stays", error)
            return
        if mode is not self._mode:
            log.warning("calpow: the mode of %s is %s now", self._model, mode.value)
        self._mode = mode

    def _prepare(self, mode: Mode) -> None:
        if mode is not Mode.off and mode not in self._made:
            self._made[mode] = self._makers[mode]()

    def _follow_forever(self) -> None:
        while True:
            self.read()
            time.sleep(SECONDS_BETWEEN_READINGS)
