"""How Fairlead's processes log: one line an event, to standard error, and a flood of one event as one line.

Owns the way out. What a line looks like is `log_lines`' matter, what is a flood `repeats`'.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TextIO

from router.log_lines import FORMATTERS, Format
from router.repeats import WINDOW, Repeats

# Lines a second of one event. A failover cuts thousands of sessions at once: enough to see whose, and no line of
# another event is lost among them.
REPEATS = 100
_started = Format.TEXT.value, str(REPEATS)
_Event = tuple[str, int, str]  # logger, level, the message before its values are put in


class _Lines(logging.StreamHandler[TextIO]):
    """Writes lines; of an event that comes too often, the first ones and then how many more there were."""

    def __init__(self, repeats: int, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(sys.stderr)
        self._repeats = Repeats[_Event](repeats)
        self._clock = clock
        self._timer: asyncio.TimerHandle | None = None

    def emit(self, record: logging.LogRecord) -> None:
        now = self._clock()
        self._tell_ended(now)
        if self._repeats.admit((record.name, record.levelno, str(record.msg)), now):
            super().emit(record)
        else:
            self._wake_later()

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        with self.lock:  # type: ignore[union-attr]
            self._tell_ended(float("inf"))
        super().close()

    def _tell_later(self) -> None:
        self._timer = None
        with self.lock:  # type: ignore[union-attr]
            self._tell_ended(self._clock())
            if self._repeats.holding:  # of a window that began later
                self._wake_later()

    def _wake_later(self) -> None:
        if self._timer is None:
            with suppress(RuntimeError):  # without a loop the next line tells, or the end
                self._timer = asyncio.get_running_loop().call_later(WINDOW, self._tell_later)

    def _tell_ended(self, now: float) -> None:
        for (name, level, event), held in self._repeats.ended(now):
            words = "%d more within %g s of: %s"
            record = logging.LogRecord(name, level, "", 0, words, (held, WINDOW, event), None)
            record.event, record.repeated = event, held
            super().emit(record)


def start(level: str = "INFO", form: Format = Format.TEXT, repeats: int = REPEATS) -> None:
    """Send every event of that level and above to standard error.

    Args:
        level: a name that `logging` knows.
        form: how a line is written.
        repeats: lines a second of one event at most, the rest counted; 0: no limit.
    """
    global _started
    _started = form.value, str(repeats)
    handler = _Lines(repeats)
    handler.setFormatter(FORMATTERS[form]())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.getLogger("asyncio").setLevel(max(logging.WARNING, logging.getLogger().level))


def words() -> list[str]:
    """How this process logs, as arguments for another that is to do the same."""
    return [logging.getLevelName(logging.getLogger().level), *_started]


def start_as(given: Sequence[str]) -> None:
    """Log as the process does whose `words` these are."""
    level, form, repeats = given
    start(level, Format(form), int(repeats))
