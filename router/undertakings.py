"""Work that goes on to its end although who asked for it has left.

Owns the tasks, and that nothing which goes wrong in them is lost. Must not know what the work is.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

log = logging.getLogger("fairlead.router")

T = TypeVar("T")


class Undertakings:
    """What is under way.

    Args:
        refusal: the error that is no fault: the work was not done, for a reason that its message tells.
    """

    def __init__(self, refusal: type[Exception]) -> None:
        self._refusal = refusal
        self._tasks: set[asyncio.Task[Any]] = set()  # an event loop itself keeps no task alive

    async def see_through(self, work: Coroutine[Any, Any, T], name: str) -> T:
        """Do it, and wait for it. A caller that is cancelled stops waiting; the log then has what goes wrong.

        Raises:
            Exception: what the work raises.
        """
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(self._tell)
            raise

    def _tell(self, task: asyncio.Task[Any]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is None:
            return
        if isinstance(error, self._refusal):
            log.error("%s, whose asker left: %s", task.get_name(), "; ".join(str(error).splitlines()))
        else:
            log.error("%s, whose asker left: a fault of the router", task.get_name(), exc_info=error)
