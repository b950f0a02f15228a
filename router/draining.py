"""How workers end: no new connection, what is queued is served, sessions have their time, then they are cut.

Owns the order of that, and being asked a second time. Must not know why the router ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence

from router.crew import Crew
from router.messages import Retire
from router.sockets import SETTLING, ListeningSockets

log = logging.getLogger("fairlead.router")

LAST_PATIENCE = 2.0
"""Seconds for workers to be gone after their time is over; then they are killed."""


class Stop:
    """The wish that the router ends; said twice, that it does so at once."""

    def __init__(self) -> None:
        self._once, self._again = asyncio.Event(), asyncio.Event()

    def ask(self) -> None:
        """Say it."""
        (self._again if self._once.is_set() else self._once).set()

    @property
    def asked(self) -> bool:
        """Whether it was said."""
        return self._once.is_set()

    async def wait(self) -> None:
        """Return when it was said."""
        await self._once.wait()

    async def wait_again(self, timeout: float) -> None:
        """Return when it was said twice, or after that many seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._again.wait()


async def drain(crew: Crew, sockets: ListeningSockets, addresses: Sequence[str], timeout: float, stop: Stop) -> None:
    """End all workers.

    Args:
        crew: the workers.
        sockets: has the listening sockets.
        addresses: those on which nobody is to accept any more.
        timeout: seconds that sessions have to end by themselves.
        stop: said again, it ends the waiting.
    """
    await crew.refresh()
    log.info("draining: %d sessions have %g s to end", sum(one.sessions for one in crew.reports()), timeout)
    if sockets.hush(addresses):
        await stop.wait_again(SETTLING)
    crew.retire_all(Retire(timeout, queued=True))
    sockets.close(addresses)
    gone = asyncio.ensure_future(crew.wait_gone())
    over = asyncio.ensure_future(stop.wait_again(timeout + LAST_PATIENCE))
    await asyncio.wait({gone, over}, return_when=asyncio.FIRST_COMPLETED)
    if not gone.done():
        crew.retire_all(Retire(0.0, queued=False))
        await asyncio.wait({gone}, timeout=LAST_PATIENCE)
    for one in (gone, over):
        one.cancel()
    log.info("drained: %d sessions had to be cut", crew.cut_at_end)


async def end_at_once(crew: Crew) -> None:
    """Kill what is left of the workers, whatever went wrong."""
    crew.close()
    crew.kill_all()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LAST_PATIENCE):
            await crew.wait_gone()
