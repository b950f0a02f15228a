"""A bound on how long something may take that is begun thousands of times a second and hardly ever takes so long.

Owns one timer for all of them: who began first is late first, so that a queue in that order does. Must not know what is
waited for.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

LEAST = 0.001
"""Seconds that a timer is set for at least: event loops count in milliseconds and may call a little early."""

Waiting = TypeVar("Waiting", bound=Hashable)


class Patience(Generic[Waiting]):
    """What has begun and is not done.

    Args:
        seconds: that each has. Those that have begun already keep what they had.
        end: called with one that is late.
    """

    def __init__(self, seconds: float, end: Callable[[Waiting], None]) -> None:
        self.seconds = seconds
        self._end = end
        self._until: dict[Waiting, float] = {}  # the first to begin is first
        self._sooner: dict[Waiting, asyncio.TimerHandle] = {}  # those that have less time than the others
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, one: Waiting, left: float) -> None:
        """Let one take its time; no more than it has left, in seconds."""
        if left < self.seconds:
            self._sooner[one] = asyncio.get_running_loop().call_later(left, self._end_sooner, one)
            return
        self._until[one] = time.monotonic() + self.seconds
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self.seconds, self._look)

    def forget(self, one: Waiting) -> None:
        """It is done."""
        if self._until.pop(one, None) is None and one in self._sooner:
            self._sooner.pop(one).cancel()

    def _end_sooner(self, one: Waiting) -> None:
        del self._sooner[one]
        self._end(one)

    def _look(self) -> None:
        self._timer = None
        now = time.monotonic()
        while self._until:
            one, until = next(iter(self._until.items()))
            if until > now:
                self._timer = asyncio.get_running_loop().call_later(max(LEAST, until - now), self._look)
                return
            del self._until[one]
            self._end(one)
