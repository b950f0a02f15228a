"""Leaves new connections to other workers while this one is clearly ahead of them.

All workers wait on the same sockets, and whom the kernel wakes first is often the same one each time. Owns the rhythm
of stepping back; `evenness` has the rule. Must not know sessions.

Nobody waits for it: a worker steps back only for another that is known to accept and to be awake, which it is told
every tenth of a second, and while it is back no other steps back for it. Where the last one falls asleep, it comes
forward again within `AWAKE`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from router.counts import Place
from router.evenness import is_ahead, is_level

log = logging.getLogger("fairlead.router")

AWAKE = 0.3
"""Seconds since its last word for which a worker counts as one that accepts: three ticks."""
FIRST_LOOKS, FIRST_LOOK, LATER_LOOK = 100, 0.001, 0.01
"""While it is back, a worker looks how things stand so many times every millisecond (seconds), since what comes between
two looks is all the other's; after that every hundredth of a second, which costs a thousandth of a core."""


class Yielding:
    """When this worker's listeners accept.

    Args:
        place: where workers tell and are told.
        step_back: accept no more for now.
        step_forward: accept again; raises OSError where that cannot be now.
    """

    def __init__(
        self, place: Place, step_back: Callable[[], None], step_forward: Callable[[], Awaitable[None]]
    ) -> None:
        self._place = place
        self._step_back = step_back
        self._step_forward = step_forward
        self._staying: asyncio.Task[None] | None = None
        self._is_over = False

    def tick(self) -> None:
        """Say every tenth of a second that this worker is awake, if it accepts."""
        if self._staying is None and not self._is_over:
            self._place.tell(time.monotonic())

    def accepted(self) -> None:
        """A connection has come."""
        if self._place.is_alone or self._staying is not None or self._is_over:
            return
        if is_ahead(self._place.own(), self._others()):
            self._place.leave()
            self._staying = asyncio.get_running_loop().create_task(self._stay_back(), name="left to other workers")

    def end(self) -> None:
        """This worker accepts no more."""
        self._is_over = True
        self._place.leave()
        if self._staying is not None:
            self._staying.cancel()

    def _others(self) -> list[int]:
        return self._place.others(time.monotonic() - AWAKE)

    async def _stay_back(self) -> None:
        looks = 0
        self._step_back()
        while not is_level(self._place.own(), self._others()):
            looks += 1
            await asyncio.sleep(FIRST_LOOK if looks < FIRST_LOOKS else LATER_LOOK)
        while True:
            try:
                await self._step_forward()
                break
            except OSError as exc:  # no descriptor is to be had
                log.warning("cannot accept again, which is tried until it can be done: %s", exc)
                await asyncio.sleep(LATER_LOOK)
        self._staying = None
        self.tick()
