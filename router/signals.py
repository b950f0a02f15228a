"""Signals to the main process: what each asks for, and how it is told what came of it, in the log and to systemd.

Must not know how a change is made.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from router.handover import hear_signals
from router.notify import Notifier
from router.settings import SettingsError

if TYPE_CHECKING:
    from router.service import Router

log = logging.getLogger("fairlead.router")

ENDING = (signal.SIGTERM, signal.SIGINT)


def hear(router: Router, notifier: Notifier, tasks: asyncio.TaskGroup) -> None:
    """Have a router obey signals from now on, those included that were held back.

    Args:
        router: who obeys.
        notifier: tells systemd of changes.
        tasks: owns the changes.
    """
    loop = asyncio.get_running_loop()
    for signum in ENDING:
        loop.add_signal_handler(signum, router.stop)

    async def reload() -> str:
        return "; ".join((await router.reload()).lines()) or "nothing is different"

    async def upgrade() -> str:
        await router.hand_over()
        return ""

    def start(change: Callable[[], Awaitable[str]], refused: str) -> None:
        tasks.create_task(_change(change, refused, notifier))

    loop.add_signal_handler(signal.SIGHUP, start, reload, "reload: nothing is changed")
    loop.add_signal_handler(signal.SIGUSR2, start, upgrade, "upgrade: everything stays as it is")
    hear_signals()


def deafen() -> None:
    """Leave signals to their defaults again."""
    loop = asyncio.get_running_loop()
    for signum in (*ENDING, signal.SIGHUP, signal.SIGUSR2):
        loop.remove_signal_handler(signum)


async def _change(change: Callable[[], Awaitable[str]], refused: str, notifier: Notifier) -> None:
    what = refused.partition(":")[0]
    notifier.reloading()
    try:
        done = await change()
    except SettingsError as exc:
        log.error("%s: %s", refused, "; ".join(str(exc).splitlines()))
    except Exception:  # a fault here must not end the router
        log.exception("%s: a fault of the router", what)
    else:
        if done:
            log.info("%s: %s", what, done)
    notifier.ready()
